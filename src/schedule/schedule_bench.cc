// The cost of a decision: 100 and 7,000 endpoints, five scorers, receipts on and off, prompts of 1,000 and 16,000
// pseudo-tokens. Allocations in Decide are counted after warm-up. Goals: p99 10 us and 100 us without allocation.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <new>

#include "schedule/testing.h"

namespace {
std::atomic<size_t> allocations{0};
}  // namespace

void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace sluice::schedule {
namespace {

constexpr std::string_view kFive =
    "plugins:\n- type: queue-scorer\n- type: kv-cache-utilization-scorer\n- type: prefix-cache-scorer\n- type: "
    "load-aware-scorer\n"
    "- type: active-request-scorer\n";

// CPU time of this thread: percentiles of the work itself, whatever else the machine does.
double ThreadMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// Every tenth endpoint is out of rotation when `some_down`: then columns must be gathered.
model::PoolView Pool(size_t n, bool some_down = false) {
  Rng rng(5);
  std::vector<testing::TestEndpoint> list;
  for (size_t i = 0; i < n; ++i) {
    list.push_back({"e" + std::to_string(i), static_cast<float>(rng.Below(50)), static_cast<float>(rng.Below(100)),
                    static_cast<float>(rng.Uniform())});
    list.back().in_rotation = !some_down || i % 10 != 0;
  }
  return testing::MakePool(list);
}

// range(0): endpoints, range(1): pseudo-tokens of prompt, range(2): candidates a receipt spells out, range(3): whether
// some are out of rotation.
void BM_Decide(benchmark::State& state) {
  const auto endpoints = static_cast<size_t>(state.range(0));
  testing::Harness harness(testing::ConfigOf(kFive), {.receipt_candidates_max = static_cast<size_t>(state.range(2))});
  const model::PoolView pool = Pool(endpoints, state.range(3) != 0);
  const std::string text(static_cast<size_t>(state.range(1)) * 4, 'x');
  const model::Request request = testing::TextRequest("r", text);
  for (int i = 0; i < 64; ++i) {  // some endpoints hold the prompt, some have requests in flight
    model::Request warm = request;
    harness.Decide(warm, pool);
    Ticket ticket = harness.Dispatch(warm, pool);
    benchmark::DoNotOptimize(ticket);
  }
  std::vector<double> times;
  times.reserve(1 << 20);
  const size_t before = allocations.load();
  for (auto _ : state) {
    const double start = ThreadMicroseconds();
    harness.Decide(request, pool);
    if (times.size() < times.capacity()) times.push_back(ThreadMicroseconds() - start);
  }
  state.counters["allocs"] =
      benchmark::Counter(static_cast<double>(allocations.load() - before), benchmark::Counter::kAvgIterations);
  std::sort(times.begin(), times.end());
  state.counters["cpu_p50_us"] = times[times.size() / 2];
  state.counters["cpu_p99_us"] = times[times.size() * 99 / 100];
}
BENCHMARK(BM_Decide)
    ->ArgNames({"endpoints", "tokens", "receipt", "some_down"})
    ->Args({100, 1000, 64, 0})
    ->Args({100, 1000, 0, 0})
    ->Args({100, 16000, 64, 0})
    ->Args({7000, 1000, 64, 0})
    ->Args({7000, 1000, 0, 0})
    ->Args({7000, 16000, 64, 0})
    ->Args({100, 1000, 64, 1})
    ->Args({7000, 1000, 64, 1})
    ->Unit(benchmark::kMicrosecond);

// What receipts add to a decision: with and without one in turn, so that both see the same machine.
void BM_ReceiptCost(benchmark::State& state) {
  testing::Harness with(testing::ConfigOf(kFive)), without(testing::ConfigOf(kFive), {.receipt_candidates_max = 0});
  const model::PoolView pool = Pool(static_cast<size_t>(state.range(0)));
  const std::string text(4000, 'x');
  const model::Request request = testing::TextRequest("r", text);
  std::vector<double> on, off;
  for (auto _ : state) {
    const double start = ThreadMicroseconds();
    with.Decide(request, pool);
    const double middle = ThreadMicroseconds();
    without.Decide(request, pool);
    off.push_back(ThreadMicroseconds() - middle);
    on.push_back(middle - start);
  }
  std::sort(on.begin(), on.end());
  std::sort(off.begin(), off.end());
  state.counters["on_p50_us"] = on[on.size() / 2];
  state.counters["off_p50_us"] = off[off.size() / 2];
  state.counters["receipt_us"] = on[on.size() / 2] - off[off.size() / 2];
}
BENCHMARK(BM_ReceiptCost)->Arg(100)->Arg(7000)->Unit(benchmark::kMicrosecond);

// Filters over two profiles: roles, labels, load limits, prefix affinity, session, topology and the rollout screener.
constexpr std::string_view kFilters = R"(
plugins:
- type: disaggregatedset-rollout-screener
  parameters:
    scope: {labelSelector: app=llm}
    revisionGating: {mode: sum, requireRoles: {values: [prefill, decode]}, revisionLabelKey: rev, roleLabelKey: llm-d.ai/role}
- {type: decode-filter}
- {type: prefill-filter}
- {type: label-selector-filter, parameters: {matchLabels: {app: llm}}}
- {type: utilization-filter, parameters: {conditions: [{metric: waiting-queue, maxValue: 45}]}}
- {type: utilization-detector}
- {type: prefix-cache-affinity-filter}
- {type: session-affinity-filter}
- {type: topology-affinity-filter, parameters: {minAffinity: zone}}
- {type: queue-scorer}
- {type: always-disagg-pd-decider}
- {type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}
schedulingProfiles:
- name: decode
  plugins:
  - {pluginRef: decode-filter}
  - {pluginRef: label-selector-filter}
  - {pluginRef: utilization-filter}
  - {pluginRef: session-affinity-filter}
  - {pluginRef: prefix-cache-affinity-filter}
  - {pluginRef: queue-scorer}
- name: prefill
  plugins:
  - {pluginRef: prefill-filter}
  - {pluginRef: topology-affinity-filter}
  - {pluginRef: utilization-detector}
  - {pluginRef: queue-scorer}
)";

void BM_DecideFilters(benchmark::State& state) {
  testing::Harness harness(testing::ConfigOf(kFilters));
  Rng rng(5);
  std::vector<testing::TestEndpoint> list;
  for (int64_t i = 0; i < state.range(0); ++i) {
    list.push_back({.name = "e" + std::to_string(i),
                    .waiting = static_cast<float>(rng.Below(50)),
                    .labels = {{"app", "llm"},
                               {"rev", i % 3 == 0 ? "a" : "b"},
                               {"llm-d.ai/role", i % 2 == 0 ? "decode" : "prefill"},
                               {"topology.kubernetes.io/zone", "z" + std::to_string(i % 8)}}});
  }
  const model::PoolView pool = testing::MakePool(list);
  const std::string text(4000, 'x');
  model::Request request = testing::TextRequest("r", text);
  request.headers.emplace_back("x-session-token", "ZGVmYXVsdC9nb25l");
  for (int i = 0; i < 64; ++i) harness.Decide(request, pool);
  const size_t before = allocations.load();
  for (auto _ : state) harness.Decide(request, pool);
  state.counters["allocs"] =
      benchmark::Counter(static_cast<double>(allocations.load() - before), benchmark::Counter::kAvgIterations);
}
BENCHMARK(BM_DecideFilters)->Arg(100)->Arg(7000)->Unit(benchmark::kMicrosecond);

void BM_DecideDispatchEnd(benchmark::State& state) {
  testing::Harness harness(testing::ConfigOf(kFive));
  const model::PoolView pool = Pool(static_cast<size_t>(state.range(0)));
  const std::string text(4000, 'x');
  const model::Request request = testing::TextRequest("r", text);
  for (auto _ : state) {
    harness.Decide(request, pool);
    OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  }
}
BENCHMARK(BM_DecideDispatchEnd)->Arg(100)->Arg(7000)->Unit(benchmark::kMicrosecond);

// A decision of one plugin and the data it needs, over 7,000 endpoints; the first line is what a decision costs anyway.
constexpr std::string_view kOne[] = {
    "- type: kv-cache-utilization-scorer",
    "- type: token-load-scorer",
    "- type: lora-affinity-scorer",
    "- type: context-length-aware",
    "- type: latency-scorer",
    "- {type: endpoint-attribute-scorer, parameters: {attributeKey: power, algorithm: {type: linear_lower_is_better}}}",
    "- {type: header-label-affinity-scorer, parameters: {headerName: tier, labelKey: tier}}",
    "- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: burst-prefix-cache-producer}}\n"
    "- {type: burst-prefix-cache-producer, parameters: {minColocateBlocks: 1}}",
};

void BM_OnePlugin(benchmark::State& state) {
  const std::string_view plugin = kOne[state.range(0)];
  testing::Harness harness(testing::ConfigOf("plugins:\n" + std::string(plugin) + "\n"));
  const size_t type = plugin.find("type: ") + 6;
  state.SetLabel(std::string(plugin.substr(type, plugin.find_first_of(",\n", type) - type)));
  Rng rng(5);
  std::vector<testing::TestEndpoint> list;
  for (size_t i = 0; i < 7000; ++i) {
    testing::TestEndpoint& e = list.emplace_back(testing::TestEndpoint{.name = "e" + std::to_string(i)});
    e.waiting = static_cast<float>(rng.Below(50));
    e.labels = {{"tier", rng.Below(2) == 0 ? "gold" : "iron"}, {"llm-d.ai/context-length-range", "0-8192"}};
    e.attributes = {{"power/core-metrics-extractor", static_cast<float>(rng.Uniform())}};
    e.lora = std::make_shared<const model::LoraState>(
        model::LoraState{.active = {"a" + std::to_string(rng.Below(100)), "b"}, .waiting = {"c"}, .max = 4});
  }
  const model::PoolView pool = testing::MakePool(list);
  const std::string text(4000, 'x');
  model::Request request = testing::TextRequest("r", text);
  request.headers = {{"tier", "gold"}};
  for (int i = 0; i < 64; ++i) {
    harness.Decide(request, pool);
    OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  }
  for (auto _ : state) harness.Decide(request, pool);
}
BENCHMARK(BM_OnePlugin)->DenseRange(0, std::size(kOne) - 1)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::schedule
