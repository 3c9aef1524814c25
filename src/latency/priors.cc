#include "latency/priors.h"

#include <algorithm>
#include <string>

#include "base/text.h"

namespace sluice::latency {
namespace {

// Qwen3-32B on two H100 under vLLM, the best documented engine there is:
//   R = 15,928 prompt tokens/s and chunks of 8,192 (llm-d guides: peakPrefillThroughput, H100's default);
//   a = 10.4 ms, k = 52 ns a resident token (fitted to published pairs of throughput and ITL, context 7.7k);
//   c = 20 us a sequence (Llama-3.1-8B on H100: 7.5 ms at 8 sequences, 27.5 ms at 256, less the KV they read);
//   q = 1e-6 ms a pair of tokens (between gpt-oss-120b's recompute curve, 78 ms at 2k to 1,988 ms at 48k: 0.5e-6, and
//   the arithmetic of 64 layers of Qwen3-32B: 1.75e-6); transfer 12.1 GB/s (NIXL over 100G RoCE);
//   encoder as prefill; 25 ms fixed (the lower end of llm-d-inference-sim's H100 rows).
constexpr Priors kGpu = {
    .ttft = {25, 1000.0 / 15'928, 1e-6, 1000.0 / 15'928, 1, 1.0 / 8'192, 10, 1000.0 / 12.1e9, 1000.0 / 15'928},
    .itl = {10.4, 0.02, 52e-6, 1000.0 / 15'928},
    .mean_uncached = 512};

// SmolLM2-135M (Q4_1) on one thread of a server CPU, this program's own worker (docs/perf/worker.md): 1,000 tokens in
// 5.6 s, a step of 11.6 ms alone and 59.6 ms with 8 sequences (a = 4.7, c = 6.9), a hit in 103 ms, chunks of 512.
constexpr Priors kCpu = {.ttft = {10, 1000.0 / 200, 5e-4, 1000.0 / 200, 1, 1.0 / 512, 10, 1000.0 / 1.2e9, 1000.0 / 200},
                         .itl = {4.7, 6.9, 1e-3, 1000.0 / 200},
                         .mean_uncached = 256};

std::string_view Field(std::string_view kind, size_t index) {
  for (; index > 0; --index) {
    const size_t bar = kind.find('|');
    if (bar == std::string_view::npos) return {};
    kind.remove_prefix(bar + 1);
  }
  return kind.substr(0, kind.find('|'));
}

double CommonBeginning(std::string_view a, std::string_view b) {
  const size_t longest = std::max(a.size(), b.size());
  if (longest == 0) return 0;
  const auto [end, unused] = std::ranges::mismatch(a, b);
  return static_cast<double>(end - a.begin()) / static_cast<double>(longest);
}

}  // namespace

const Priors& PriorsFor(std::string_view kind) { return EqualsIgnoreCase(Field(kind, 1), "cpu") ? kCpu : kGpu; }

double Likeness(std::string_view a, std::string_view b) {
  const auto same = [&](size_t field) {
    return !Field(a, field).empty() && EqualsIgnoreCase(Field(a, field), Field(b, field)) ? 1.0 : 0.0;
  };
  return 4 * CommonBeginning(Field(a, 0), Field(b, 0)) + 2 * same(1) + same(2);
}

}  // namespace sluice::latency
