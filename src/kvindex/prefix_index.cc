// PrefixIndex's surface: endpoints, speculation, upkeep. Cells are in prefix_shard.cc, the readers' walk in
// prefix_lookup.cc.
#include "kvindex/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/text.h"
#include "kvindex/prefix_index_impl.h"

namespace sluice::kvindex {

HoldingWeights::HoldingWeights(const std::array<float, kHoldings>& weights) : weights_(weights) {
  for (Holding h = 0; h < kHoldings; ++h) order_[h] = h;
  std::sort(order_.begin(), order_.end(),
            [&](Holding a, Holding b) { return weights_[a] != weights_[b] ? weights_[a] > weights_[b] : a < b; });
  for (size_t set = 1; set < best_.size(); ++set) {
    best_[set] = *std::find_if(order_.begin(), order_.end(), [&](Holding h) { return (set >> h & 1) != 0; });
  }
}

std::string_view Name(Trust trust) {
  switch (trust) {
    case Trust::kExact:
      return "exact";
    case Trust::kNoEvents:
      return "no events";
    case Trust::kNotConnected:
      return "not connected";
    case Trust::kCatchingUp:
      return "catching up";
    case Trust::kHistoryLost:
      return "history lost";
    case Trust::kGap:
      return "gap";
    case Trust::kLostParent:
      return "lost parent";
    case Trust::kUnreadable:
      return "unreadable events";
    case Trust::kBlockSize:
      return "block size";
  }
  return "unknown";
}

PrefixIndex::Impl::Impl(const Options& options, MemoryBudget& budget, const Clock& c)
    : clock(c),
      start(c.Now()),
      context(budget, options.endpoints_max, options.readers_max),
      endpoints(options.endpoints_max),
      by_pool_slot(size_t{options.endpoints_max} * 4),
      speculations(options.speculative_blocks_max) {
  for (uint32_t i = 0; i < shards.size(); ++i) shards[i].Open(context, i);
  for (uint32_t slot = options.endpoints_max; slot > 0; --slot) free_slots.push_back(static_cast<Slot>(slot - 1));
}

uint32_t PrefixIndex::Impl::NowTicks() const {
  return static_cast<uint32_t>((clock.Now() - start) / std::chrono::seconds(cells::kTickSeconds)) & cells::kStampMask;
}

uint32_t PrefixIndex::Impl::NowMs() const {
  return static_cast<uint32_t>((clock.Now() - start) / std::chrono::milliseconds(1));
}

PrefixIndex::Slot PrefixIndex::Impl::SlotOf(model::EndpointId endpoint) const {
  if (endpoint.slot >= by_pool_slot.size()) return Speculations::kNoSlot;
  const uint16_t place = by_pool_slot[endpoint.slot].load();
  if (place == 0 || endpoints[place - 1u].id.load() != Pack(endpoint)) return Speculations::kNoSlot;
  return static_cast<Slot>(place - 1);
}

template <class Each>
void PrefixIndex::Impl::ForEach(std::span<const uint64_t> chain, Each&& each) {
  for (const uint64_t key : chain) {
    const cells::Hash hash(key);
    Shard& shard = At(hash);
    const std::lock_guard lock(shard.mutex);
    each(shard, key, hash);
  }
}

size_t PrefixIndex::FixedBytes(const Options& options) {
  return Speculations::Bytes(options.speculative_blocks_max) + sizeof(Impl) + options.endpoints_max * size_t{32} +
         options.readers_max * size_t{64} + cells::kShards * Shard::kBytesMin;
}

PrefixIndex::PrefixIndex(const Options& options, const Clock& clock) : options_(options) {
  SLUICE_CHECK(options.endpoints_max > 0 && options.endpoints_max <= cells::kSlotsMax, "endpoints_max: 1 to 8191");
  SLUICE_CHECK(options.readers_max > 0 && options.speculative_blocks_max > 0, "at least one reader and one block");
  const size_t speculative = Speculations::Bytes(options.speculative_blocks_max);
  SLUICE_CHECK(options.bytes_max >= kBytesMin + speculative, "bytes_max is below the index's minimum");
  budget_ = std::make_unique<MemoryBudget>(options.bytes_max, options.whole, FixedBytes(options));
  impl_ = std::make_unique<Impl>(options, *budget_, clock);
}

PrefixIndex::~PrefixIndex() = default;

Result<PrefixIndex::Slot> PrefixIndex::AddEndpoint(model::EndpointId endpoint) {
  {
    const std::lock_guard forgetting(impl_->forget_mutex);
    impl_->FreeSlots();
  }
  const std::lock_guard lock(impl_->endpoints_mutex);
  if (const Slot slot = impl_->SlotOf(endpoint); slot != Speculations::kNoSlot) return slot;
  if (impl_->free_slots.empty() || endpoint.slot >= impl_->by_pool_slot.size()) {
    return Fail(Code::kResourceExhausted, "prefix index: " + std::to_string(options_.endpoints_max) +
                                              " endpoints are there already, or leaving; raise its endpoints_max");
  }
  const Slot slot = impl_->free_slots.back();
  impl_->free_slots.pop_back();
  impl_->endpoints[slot].trust.store(Trust::kNotConnected);
  impl_->endpoints[slot].id.store(Impl::Pack(endpoint));
  impl_->by_pool_slot[endpoint.slot].store(static_cast<uint16_t>(slot + 1));
  return slot;
}

void PrefixIndex::SetTrust(Slot slot, Trust trust) { impl_->endpoints[slot].trust.store(trust); }

Trust PrefixIndex::TrustOf(model::EndpointId endpoint) const {
  const Slot slot = impl_->SlotOf(endpoint);
  return slot == Speculations::kNoSlot ? Trust::kNoEvents : impl_->endpoints[slot].trust.load();
}

PrefixIndex::Stored PrefixIndex::Add(Slot slot, Holding holding, uint64_t key) {
  const cells::Hash hash(key);
  Shard& shard = impl_->At(hash);
  const uint32_t now = impl_->NowTicks();
  const std::lock_guard lock(shard.mutex);
  return shard.Add(slot, holding, key, hash, now);
}

uint8_t PrefixIndex::Remove(Slot slot, uint8_t set, uint64_t key) {
  const cells::Hash hash(key);
  Shard& shard = impl_->At(hash);
  const std::lock_guard lock(shard.mutex);
  return shard.Remove(slot, set, key, hash);
}

std::optional<uint32_t> PrefixIndex::AgeSeconds(Slot slot, uint64_t key) const {
  const cells::Hash hash(key);
  Shard& shard = impl_->At(hash);
  const uint32_t now = impl_->NowTicks();
  const std::lock_guard lock(shard.mutex);
  const auto ticks = shard.AgeTicks(slot, key, hash, now);
  if (!ticks.has_value()) return std::nullopt;
  return *ticks * cells::kTickSeconds;
}

void PrefixIndex::Impl::EndSpeculations(uint32_t now_ms, bool make_room) {
  Speculations::Pair pair;
  bool last = false;
  while (speculations.Pop(now_ms, make_room && speculations.Full(), pair, last)) {
    if (make_room) speculations_cut.fetch_add(1, std::memory_order_relaxed);
    make_room = false;
    if (!last || pair.slot == Speculations::kNoSlot) continue;
    const cells::Hash hash(pair.key);
    Shard& shard = At(hash);
    const std::lock_guard lock(shard.mutex);
    shard.Remove(pair.slot, 1u << kSpeculative, pair.key, hash);
  }
}

void PrefixIndex::SpeculativeInsert(model::EndpointId endpoint, std::span<const uint64_t> chain) {
  const uint32_t now = impl_->NowTicks();
  const uint32_t now_ms = impl_->NowMs();
  const auto ttl_ms = static_cast<uint32_t>(options_.speculative_ttl / std::chrono::milliseconds(1));
  const std::lock_guard lock(impl_->speculations_mutex);
  const Slot slot = impl_->SlotOf(endpoint);
  if (slot == Speculations::kNoSlot) return;
  impl_->EndSpeculations(now_ms, false);
  // More than the ring holds would end itself: the leading blocks matter.
  chain = chain.first(std::min<size_t>(chain.size(), options_.speculative_blocks_max));
  impl_->ForEach(chain, [&](Shard& shard, uint64_t key, const cells::Hash& hash) {
    shard.Add(slot, kSpeculative, key, hash, now);
  });
  for (const uint64_t key : chain) {
    if (impl_->speculations.Full()) impl_->EndSpeculations(now_ms, true);
    impl_->speculations.Push({key, slot}, now_ms + ttl_ms);
  }
  impl_->speculated.fetch_add(chain.size(), std::memory_order_relaxed);
}

void PrefixIndex::InsertHistory(model::EndpointId endpoint, std::span<const uint64_t> chain) {
  const uint32_t now = impl_->NowTicks();
  // Held against RemoveEndpoint, as speculation is.
  const std::lock_guard lock(impl_->speculations_mutex);
  const Slot slot = impl_->SlotOf(endpoint);
  if (slot == Speculations::kNoSlot) return;
  impl_->ForEach(
      chain, [&](Shard& shard, uint64_t key, const cells::Hash& hash) { shard.Add(slot, kHistory, key, hash, now); });
}

void PrefixIndex::Touch(model::EndpointId endpoint, std::span<const uint64_t> chain) {
  const Slot slot = impl_->SlotOf(endpoint);
  if (slot == Speculations::kNoSlot) return;
  const uint32_t now = impl_->NowTicks();
  impl_->ForEach(chain,
                 [&](Shard& shard, uint64_t key, const cells::Hash& hash) { shard.Touch(slot, key, hash, now); });
}

void PrefixIndex::Maintain() {
  {
    const std::lock_guard lock(impl_->speculations_mutex);
    impl_->EndSpeculations(impl_->NowMs(), false);
  }
  const uint32_t now = impl_->NowTicks();
  const uint32_t clamped = impl_->next_shard++ % impl_->shards.size();
  for (uint32_t i = 0; i < impl_->shards.size(); ++i) {
    const std::lock_guard lock(impl_->shards[i].mutex);
    impl_->shards[i].Reclaim();
    if (i == clamped) impl_->shards[i].ClampAges(now);
  }
  ForgetSome(impl_->context.tables[0].load().Buckets());
}

Holding PrefixIndex::Tier(std::string_view medium) {
  const std::string name = AsciiLower(medium);
  if (name.empty() || name == "gpu") return kGpu;
  if (name == "cpu" || name == "cpu_pinned" || name == "cpu_tier1") return kCpu;
  if (name == "disk" || name == "fs" || name == "storage" || name == "cpu_tier2") return kDisk;
  if (name == "shared" || name == "obj" || name == "object_store" || name == "shared_storage" || name == "external") {
    return kShared;
  }
  const std::lock_guard lock(impl_->tiers_mutex);
  auto& named = impl_->named_tiers;
  const auto it = std::find(named.begin(), named.end(), name);
  const auto at = static_cast<size_t>(it - named.begin());
  if (it == named.end() && named.size() < kTiersMax - 4 && name.size() <= 64) named.push_back(name);
  return static_cast<Holding>(std::min<size_t>(4 + at, kTiersMax - 1));
}

std::string PrefixIndex::HoldingName(Holding holding) const {
  static constexpr std::string_view kNames[] = {"gpu", "cpu", "disk", "shared"};
  if (holding < 4) return std::string(kNames[holding]);
  if (holding == kSpeculative) return "speculative";
  if (holding == kHistory) return "history";
  const std::lock_guard lock(impl_->tiers_mutex);
  return holding - 4u < impl_->named_tiers.size() ? impl_->named_tiers[holding - 4u] : "other";
}

PrefixIndex::Stats PrefixIndex::Read() const {
  Stats stats;
  stats.bytes = budget_->Used();
  stats.bytes_max = budget_->Max();
  for (const auto& holders : impl_->context.holders) stats.holders += holders.load(std::memory_order_relaxed);
  stats.evicted = impl_->context.evicted.load(std::memory_order_relaxed);
  stats.refused = impl_->context.refused.load(std::memory_order_relaxed);
  stats.speculated = impl_->speculated.load(std::memory_order_relaxed);
  stats.speculations_cut = impl_->speculations_cut.load(std::memory_order_relaxed);
  for (const auto& word : impl_->context.leaving) stats.leaving += static_cast<uint32_t>(std::popcount(word.load()));
  return stats;
}

std::vector<PrefixIndex::HoldingCounts> PrefixIndex::CountHoldings(size_t cells_max) const {
  std::vector<std::array<uint64_t, kHoldings>> by_slot(options_.endpoints_max);
  size_t seen = 0;
  uint64_t walked = 0;
  for (Shard& shard : impl_->shards) {
    if (seen >= cells_max) break;
    const std::lock_guard lock(shard.mutex);
    seen += shard.CountHoldings(by_slot);
    ++walked;
  }
  std::vector<HoldingCounts> out;
  for (size_t slot = 0; slot < by_slot.size() && walked > 0; ++slot) {
    const uint64_t id = impl_->endpoints[slot].id.load();
    if (id == Impl::kNobody) continue;
    for (uint64_t& count : by_slot[slot]) count = count * cells::kShards / walked;
    out.push_back({{static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32)}, by_slot[slot]});
  }
  return out;
}

uint32_t PrefixIndex::HoldersOf(Slot slot) const {
  return impl_->context.holders[slot].load(std::memory_order_relaxed);
}

}  // namespace sluice::kvindex
