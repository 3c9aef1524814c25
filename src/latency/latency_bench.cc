// The cost of predicting one request over 100 and 7,000 endpoints, of one kind and of eight in turn, and of learning.
// Goal: 5 us for 100 endpoints, no allocation.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "base/rng.h"
#include "latency/model.h"

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

namespace sluice::latency {
namespace {

constexpr RequestFeatures kRequest = {.prompt_tokens = 4'000, .output_tokens = 200};

Features SomeFeatures(Rng& rng) {
  const auto below = [&](uint64_t bound) { return static_cast<float>(rng.Below(bound)); };
  return {.request = kRequest,
          .endpoint = {.waiting = below(4),
                       .running = below(64),
                       .resident_tokens = below(200'000),
                       .prefill_tokens_ahead = below(8'000),
                       .prefill_requests_ahead = below(3),
                       .prefill_elapsed_ms = below(100),
                       .decode_requests = below(64),
                       .slots = 256,
                       .cached_tokens = below(4'000)}};
}

// range(0): endpoints, range(1): kinds, in turn.
void BM_PredictMany(benchmark::State& state) {
  const auto n = static_cast<size_t>(state.range(0));
  Model model({.kinds_max = 16, .endpoints_max = 8'192});
  Rng rng(1);
  std::vector<KindId> kind(n);
  std::vector<model::EndpointId> endpoint(n);
  std::vector<float> waiting(n), running(n), resident(n), ahead(n), requests(n), elapsed(n), decode(n), slots(n),
      cached(n), ttft(n), itl(n);
  for (size_t i = 0; i < n; ++i) {
    kind[i] = model.Intern("m" + std::to_string(i % static_cast<size_t>(state.range(1))) + "|H100|vllm");
    endpoint[i] = {static_cast<uint32_t>(i), 1};
    const EndpointFeatures f = SomeFeatures(rng).endpoint;
    waiting[i] = f.waiting, running[i] = f.running, resident[i] = f.resident_tokens, ahead[i] = f.prefill_tokens_ahead;
    requests[i] = f.prefill_requests_ahead, elapsed[i] = f.prefill_elapsed_ms, decode[i] = f.decode_requests;
    slots[i] = f.slots, cached[i] = f.cached_tokens;
    model.ObserveTtft(kind[i], endpoint[i], {.request = kRequest, .endpoint = f}, 300);
  }
  const Candidates candidates = {.kind = kind,
                                 .endpoint = endpoint,
                                 .waiting = waiting,
                                 .running = running,
                                 .resident_tokens = resident,
                                 .prefill_tokens_ahead = ahead,
                                 .prefill_requests_ahead = requests,
                                 .prefill_elapsed_ms = elapsed,
                                 .decode_requests = decode,
                                 .slots = slots,
                                 .cached_tokens = cached};
  const size_t before = allocations.load();
  for (auto _ : state) {
    model.PredictMany(kRequest, candidates, ttft, itl);
    benchmark::DoNotOptimize(ttft.data());
    benchmark::DoNotOptimize(itl.data());
  }
  state.counters["allocations"] = static_cast<double>(allocations.load() - before);
}
BENCHMARK(BM_PredictMany)->Args({100, 1})->Args({7'000, 1})->Args({100, 8})->Args({7'000, 8});

void BM_ObserveTtft(benchmark::State& state) {
  Model model({.kinds_max = 1, .endpoints_max = 16});
  const KindId kind = model.Intern("m|H100|vllm");
  Rng rng(2);
  std::vector<Features> features;
  for (int i = 0; i < 1'024; ++i) features.push_back(SomeFeatures(rng));
  size_t at = 0;
  for (auto _ : state) {
    const Features& f = features[at++ % features.size()];
    const float ttft =
        30 + (f.request.prompt_tokens - f.endpoint.cached_tokens) * (0.06F + 0.01F * static_cast<float>(rng.Uniform()));
    benchmark::DoNotOptimize(model.ObserveTtft(kind, {static_cast<uint32_t>(at % 16), 1}, f, ttft));
  }
}
BENCHMARK(BM_ObserveTtft);

void BM_ObserveItl(benchmark::State& state) {
  Model model({.kinds_max = 1, .endpoints_max = 16});
  const KindId kind = model.Intern("m|H100|vllm");
  Rng rng(3);
  for (auto _ : state) {
    const auto running = static_cast<float>(1 + rng.Below(64));
    benchmark::DoNotOptimize(model.ObserveItl(kind, {static_cast<uint32_t>(rng.Below(16)), 1},
                                              {.running = running, .resident_tokens = running * 3'000},
                                              10 + running * 0.2F));
  }
}
BENCHMARK(BM_ObserveItl);

}  // namespace
}  // namespace sluice::latency
