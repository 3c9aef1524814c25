// PrefixIndex at the size it is meant for: 10 million (block, endpoint) pairs over 1,000 endpoints, as conversations of
// 8k tokens (512 blocks of 16) that share a system prompt. Prints the four figures that the index is held to: ingest on
// one core, lookup while ingest goes on, memory, and the same lookup for a prompt that every endpoint holds. About 20
// s.
#include "kvindex/prefix_index.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <memory>
#include <thread>

#include "base/rng.h"
#include "kvindex/engine_block_map.h"

namespace sluice::kvindex {
namespace {

constexpr uint32_t kEndpoints = 1000;
constexpr size_t kPairs = 10'000'000;
constexpr size_t kChain = 512;
constexpr size_t kSystem = 64;  // blocks of system prompt, on every endpoint
using Chain = std::vector<uint64_t>;

// An index with its engine maps, written as events write it: hash -> key first, then the block.
class Fleet {
 public:
  explicit Fleet(size_t bytes_max)
      : index_({.bytes_max = bytes_max, .endpoints_max = kEndpoints, .speculative_blocks_max = 1 << 12}, clock_) {
    before_ = index_.Read().bytes;
    for (uint32_t e = 0; e < kEndpoints; ++e) {
      slots_.push_back(*index_.AddEndpoint({e, 1}));
      maps_.push_back(std::make_unique<EngineBlockMap>(index_.Budget(), bytes_max / kEndpoints));
    }
  }

  void Store(uint32_t e, std::span<const uint64_t> chain) {
    for (size_t i = 0; i < chain.size(); ++i) {
      if (i + 8 < chain.size()) {
        index_.Prefetch(chain[i + 8]);
        maps_[e]->Prefetch(~chain[i + 8]);
      }
      maps_[e]->Put(
          ~chain[i], chain[i], [&](uint64_t key) { return uint64_t{index_.AgeSeconds(slots_[e], key).value_or(~0u)}; },
          [&](uint64_t, uint64_t key) { index_.Remove(slots_[e], kEventHoldings, key); });
      index_.Add(slots_[e], kGpu, chain[i]);
    }
  }

  void Remove(uint32_t e, std::span<const uint64_t> chain) {
    for (size_t i = 0; i < chain.size(); ++i) {
      if (i + 8 < chain.size()) {
        index_.Prefetch(chain[i + 8]);
        maps_[e]->Prefetch(~chain[i + 8]);
      }
      if (const auto key = maps_[e]->Find(~chain[i])) {
        index_.Remove(slots_[e], 1u << kGpu, *key);
        maps_[e]->Erase(~chain[i]);
      }
    }
  }

  PrefixIndex& index() { return index_; }
  size_t Bytes() const { return index_.Read().bytes - before_; }
  size_t MapBytes() const {
    size_t bytes = 0;
    for (const auto& map : maps_) bytes += map->Bytes();
    return bytes;
  }

 private:
  SystemClock clock_;
  PrefixIndex index_;
  size_t before_ = 0;
  std::vector<PrefixIndex::Slot> slots_;
  std::vector<std::unique_ptr<EngineBlockMap>> maps_;
};

struct World {
  Fleet fleet{size_t{1} << 30};
  Chain system;
  std::vector<Chain> chains;  // each on one or two endpoints
  double build_seconds = 0;

  World() {
    Rng rng(1);
    for (size_t i = 0; i < kSystem; ++i) system.push_back(rng());
    for (uint32_t e = 0; e < kEndpoints; ++e) fleet.Store(e, system);
    size_t pairs = kSystem * kEndpoints;
    while (pairs < kPairs) {
      Chain chain = system;
      while (chain.size() < kChain) chain.push_back(rng());
      const std::span<const uint64_t> own = std::span(chain).subspan(kSystem);
      const auto begin = std::chrono::steady_clock::now();
      const auto copies = 1 + rng.Below(2);
      for (uint64_t c = 0; c < copies; ++c) fleet.Store(static_cast<uint32_t>(rng.Below(kEndpoints)), own);
      build_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      pairs += copies * own.size();
      chains.push_back(std::move(chain));
    }
  }
};
World& TheWorld() {
  static World world;
  return world;
}

void BM_Memory(benchmark::State& state) {
  World& world = TheWorld();
  for (auto _ : state) benchmark::DoNotOptimize(world.fleet.Bytes());
  const auto holders = static_cast<double>(world.fleet.index().Read().holders);
  state.counters["pairs"] = holders;
  state.counters["bytes_per_pair"] = static_cast<double>(world.fleet.Bytes()) / holders;
  state.counters["of_which_engine_map"] = static_cast<double>(world.fleet.MapBytes()) / holders;
  state.counters["build_blocks_per_s"] = holders / world.build_seconds;
}
BENCHMARK(BM_Memory)->Iterations(1);

// Ingest into the full index: one conversation leaves an endpoint, another comes.
void IngestOnce(World& world, Rng& rng, Chain& scratch) {
  const auto e = static_cast<uint32_t>(rng.Below(kEndpoints));
  scratch.clear();
  for (size_t i = 0; i < kChain - kSystem; ++i) scratch.push_back(rng());
  world.fleet.Store(e, scratch);
  world.fleet.Remove(e, scratch);
}

void BM_Ingest(benchmark::State& state) {
  World& world = TheWorld();
  Rng rng(2);
  Chain scratch;
  for (auto _ : state) IngestOnce(world, rng, scratch);
  // Each block is stored and removed: two events.
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(2 * (kChain - kSystem)));
}
BENCHMARK(BM_Ingest)->MinTime(2);

// The thread's own time: on a machine that is shared, a lookup's latency without the turns that others took.
double CpuMicros() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

void Percentiles(benchmark::State& state, const std::string& what, std::vector<double>& micros) {
  std::sort(micros.begin(), micros.end());
  state.counters[what + "_p50_us"] = micros[micros.size() / 2];
  state.counters[what + "_p99_us"] = micros[micros.size() * 99 / 100];
}

// Latencies of lookups while another thread ingests as fast as it can.
template <class Pick>
void LookupWhileIngesting(benchmark::State& state, Pick&& pick) {
  World& world = TheWorld();
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> ingested{0};
  std::thread writer([&] {
    Rng rng(3);
    Chain scratch;
    while (!stop.load()) {
      IngestOnce(world, rng, scratch);
      ingested.fetch_add(2 * (kChain - kSystem));
    }
  });
  PrefixMatches matches(world.fleet.index());
  const HoldingWeights weights;
  Rng rng(4);
  std::vector<double> wall;
  std::vector<double> cpu;
  size_t found = 0;
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    const Chain& chain = pick(world, rng);
    // A request's chain has just been computed.
    for (const uint64_t key : chain) benchmark::DoNotOptimize(key);
    const double cpu_begin = CpuMicros();
    const auto begin = std::chrono::steady_clock::now();
    world.fleet.index().Lookup(chain, weights, matches);
    wall.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    cpu.push_back(CpuMicros() - cpu_begin);
    found += matches.All().size();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  stop.store(true);
  writer.join();
  Percentiles(state, "wall", wall);
  Percentiles(state, "cpu", cpu);
  state.counters["endpoints"] = static_cast<double>(found) / static_cast<double>(wall.size());
  state.counters["ingest_blocks_per_s"] = static_cast<double>(ingested.load()) / seconds;
}

// A conversation: the system prompt on every endpoint, the rest on one or two.
void BM_LookupConversation(benchmark::State& state) {
  LookupWhileIngesting(
      state, [](World& world, Rng& rng) -> const Chain& { return world.chains[rng.Below(world.chains.size())]; });
}
BENCHMARK(BM_LookupConversation)->Iterations(100'000);

// The worst case: every endpoint holds all 512 blocks.
void BM_LookupHeldByAll(benchmark::State& state) {
  static Chain everywhere;
  if (everywhere.empty()) {
    Rng rng(5);
    while (everywhere.size() < kChain) everywhere.push_back(rng());
    for (uint32_t e = 0; e < kEndpoints; ++e) TheWorld().fleet.Store(e, everywhere);
  }
  LookupWhileIngesting(state, [](World&, Rng&) -> const Chain& { return everywhere; });
}
BENCHMARK(BM_LookupHeldByAll)->Iterations(50'000);

}  // namespace
}  // namespace sluice::kvindex
