// Block keys of an 8k-token prompt: bytes of token ids a second on one core (goal for xxh64: at least 1 GB/s).
#include "kvindex/block_keys.h"

#include <benchmark/benchmark.h>

namespace sluice::kvindex {
namespace {

void BM_AppendChain(benchmark::State& state, KeyAlgorithm algorithm) {
  const BlockKeys keys({.algorithm = algorithm, .block_size_tokens = 16});
  std::vector<uint32_t> tokens(8192);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<uint32_t>(i * 2654435761u % 150000);
  std::vector<uint64_t> chain;
  chain.reserve(512);
  for (auto _ : state) {
    chain.clear();
    keys.AppendChain("model", tokens, {}, 512, chain);
    benchmark::DoNotOptimize(chain.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(tokens.size() * sizeof(uint32_t)) * state.iterations());
}
BENCHMARK_CAPTURE(BM_AppendChain, xxh64, KeyAlgorithm::kXxh64);
BENCHMARK_CAPTURE(BM_AppendChain, cbor_fnv, KeyAlgorithm::kCborFnv);
// For bench/block_keys_instructions.sh, which counts what a hundred calls cost.
void BM_AppendChainCounted(benchmark::State& state, KeyAlgorithm algorithm) { BM_AppendChain(state, algorithm); }
BENCHMARK_CAPTURE(BM_AppendChainCounted, xxh64, KeyAlgorithm::kXxh64)->Iterations(100);
BENCHMARK_CAPTURE(BM_AppendChainCounted, cbor_fnv, KeyAlgorithm::kCborFnv)->Iterations(100);

}  // namespace
}  // namespace sluice::kvindex
