// PrefixIndex's own state. Internal to the index.
#pragma once

#include <array>
#include <mutex>
#include <string>

#include "kvindex/prefix_shard.h"
#include "kvindex/speculations.h"

namespace sluice::kvindex {

struct PrefixIndex::Impl {
  Impl(const Options& options, MemoryBudget& budget, const Clock& c);

  uint32_t NowTicks() const;
  uint32_t NowMs() const;
  // The slot of an endpoint, or Speculations::kNoSlot.
  Slot SlotOf(model::EndpointId endpoint) const;
  void EndSpeculations(uint32_t now_ms, bool make_room);
  Shard& At(const cells::Hash& hash) { return shards[hash.Shard()]; }
  // Calls each(shard, key, hash) with the key's shard locked, for every key, fetching memory some keys ahead.
  template <class Each>
  void ForEach(std::span<const uint64_t> chain, Each&& each);

  static uint64_t Pack(model::EndpointId id) { return uint64_t{id.generation} << 32 | id.slot; }
  static constexpr uint64_t kNobody = ~uint64_t{0};
  struct Endpoint {
    std::atomic<uint64_t> id{kNobody};
    std::atomic<Trust> trust{Trust::kNoEvents};
  };

  const Clock& clock;
  const TimePoint start;
  ShardContext context;
  std::array<Shard, cells::kShards> shards;
  std::vector<Endpoint> endpoints;  // by slot

  std::mutex endpoints_mutex;
  std::vector<Slot> free_slots;
  // Pool slot -> slot + 1, for ids whose pool slot is below endpoints_max x 4; 0: none. The id is checked afterwards.
  std::vector<std::atomic<uint16_t>> by_pool_slot;

  std::mutex speculations_mutex;
  Speculations speculations;
  std::atomic<uint64_t> speculated{0}, speculations_cut{0};

  mutable std::mutex tiers_mutex;
  std::vector<std::string> named_tiers;
  uint32_t next_shard = 0;  // of Maintain

  // --- forgetting (prefix_forget.cc)
  struct Forget {
    Slot slot;
    bool history;  // only what own history says; else the endpoint has left
  };
  struct Released {
    Slot slot;
    uint64_t epoch;
  };
  void Hide(Slot slot);
  void Release(Slot slot);
  void FreeSlots();
  void EndPass();
  std::mutex forget_mutex;                      // taken after speculations_mutex, before a shard's and endpoints_mutex
  std::vector<Forget> forget_now, forget_next;  // of this pass; for the next
  uint32_t forget_shard = 0, forget_bucket = 0;
  std::vector<Released> released;
};

}  // namespace sluice::kvindex
