// PrefixIndex at the size it is meant for: 10 million (block, endpoint) pairs over 1,000 endpoints, as conversations of
// 8k tokens (512 blocks of 16) that share a system prompt. Prints the figures that the index is held to: ingest on one
// core, lookup while ingest goes on, the same for prompts that every endpoint holds, and memory, as conversations and
// by the number of holders a block has. About 60 s and 2 GB.
#include "kvindex/prefix_index.h"

#include <benchmark/benchmark.h>
#include <sys/resource.h>

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
constexpr uint32_t kEndpointsMax = 8191;
constexpr size_t kPairs = 10'000'000;
constexpr size_t kChain = 512;
constexpr size_t kSystem = 64;  // blocks of system prompt, on every endpoint
using Chain = std::vector<uint64_t>;

// An index with its engine maps, written as events write it: hash -> key first, then the block.
class Fleet {
 public:
  explicit Fleet(size_t bytes_max)
      : index_({.bytes_max = bytes_max, .endpoints_max = kEndpointsMax, .speculative_blocks_max = 1 << 12}, clock_) {
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

void ReportMemory(benchmark::State& state, Fleet& fleet) {
  const auto holders = static_cast<double>(fleet.index().Read().holders);
  state.counters["pairs"] = holders;
  state.counters["bytes_per_pair"] = static_cast<double>(fleet.Bytes()) / holders;
  state.counters["of_which_engine_map"] = static_cast<double>(fleet.MapBytes()) / holders;
}

void BM_MemoryOfConversations(benchmark::State& state) {
  World& world = TheWorld();
  for (auto _ : state) benchmark::DoNotOptimize(world.fleet.Bytes());
  ReportMemory(state, world.fleet);
  state.counters["build_blocks_per_s"] = static_cast<double>(kPairs) / world.build_seconds;
}
BENCHMARK(BM_MemoryOfConversations)->Iterations(1);

// Ten million pairs, every block held by so many endpoints, which are not the same for every block.
void BM_MemoryOfHolders(benchmark::State& state) {
  const auto copies = static_cast<uint32_t>(state.range(0));
  Fleet fleet(size_t{1} << 30);
  Rng rng(6);
  for (auto _ : state) {
    Chain chain(64);
    for (size_t pairs = 0; pairs < kPairs; pairs += chain.size() * copies) {
      for (uint64_t& key : chain) key = rng();
      const auto first = static_cast<uint32_t>(rng.Below(kEndpoints));
      const auto step = static_cast<uint32_t>(1 + rng.Below(kEndpoints / copies));
      for (uint32_t c = 0; c < copies; ++c) fleet.Store((first + c * step) % kEndpoints, chain);
    }
  }
  fleet.index().Maintain();
  ReportMemory(state, fleet);
}
BENCHMARK(BM_MemoryOfHolders)->Arg(1)->Arg(2)->Arg(3)->Arg(4)->Arg(8)->Arg(100)->Iterations(1);

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

// How often another thread was given this one's core.
long TurnsLost() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
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
  std::vector<double> alone;  // of the lookups in which the thread kept its core
  size_t found = 0;
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    const Chain& chain = pick(world, rng);
    // A request's chain has just been computed.
    for (const uint64_t key : chain) benchmark::DoNotOptimize(key);
    const long turns = TurnsLost();
    const double cpu_begin = CpuMicros();
    const auto begin = std::chrono::steady_clock::now();
    world.fleet.index().Lookup(chain, weights, matches);
    wall.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    cpu.push_back(CpuMicros() - cpu_begin);
    if (TurnsLost() == turns) alone.push_back(wall.back());
    found += matches.All().size();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  stop.store(true);
  writer.join();
  Percentiles(state, "wall", wall);
  Percentiles(state, "cpu", cpu);
  Percentiles(state, "alone", alone);
  state.counters["endpoints"] = static_cast<double>(found) / static_cast<double>(wall.size());
  state.counters["ingest_blocks_per_s"] = static_cast<double>(ingested.load()) / seconds;
}

// A conversation: the system prompt on every endpoint, the rest on one or two.
void BM_LookupConversation(benchmark::State& state) {
  LookupWhileIngesting(
      state, [](World& world, Rng& rng) -> const Chain& { return world.chains[rng.Below(world.chains.size())]; });
}
BENCHMARK(BM_LookupConversation)->Iterations(100'000);

// Prompts that so many endpoints hold to the end; more of them than a core's cache has room for.
void BM_LookupHeldBy(benchmark::State& state) {
  const auto copies = static_cast<uint32_t>(state.range(0));
  std::vector<Chain> chains(16);
  Rng random(static_cast<uint64_t>(copies) + 5);
  for (Chain& chain : chains) {
    while (chain.size() < kChain) chain.push_back(random());
    for (uint32_t c = 0; c < copies; ++c) TheWorld().fleet.Store(c * (kEndpoints / copies), chain);
  }
  LookupWhileIngesting(state, [&](World&, Rng& rng) -> const Chain& { return chains[rng.Below(chains.size())]; });
}
BENCHMARK(BM_LookupHeldBy)->Arg(8)->Arg(100)->Arg(1000)->Iterations(50'000);

}  // namespace
}  // namespace sluice::kvindex
