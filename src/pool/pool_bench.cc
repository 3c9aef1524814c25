// The cost of reading one scrape of a real vLLM (59 KB), and of a snapshot of a large pool.
#include <benchmark/benchmark.h>

#include <fstream>
#include <sstream>

#include "pool/dialect.h"
#include "pool/endpoint_set.h"

namespace sluice::pool {
namespace {

void BM_ExtractVllm(benchmark::State& state) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/test/golden/vllm/metrics-load.txt");
  std::stringstream text;
  text << file.rdbuf();
  const std::string page = text.str();
  const DialectTable table = *BuildDialects(nullptr, nullptr);
  model::EndpointState endpoint;
  for (auto _ : state) benchmark::DoNotOptimize(Extract(page, *table.Find("vllm"), TimePoint{}, endpoint));
  state.SetBytesProcessed(static_cast<int64_t>(page.size()) * state.iterations());
}
BENCHMARK(BM_ExtractVllm)->Unit(benchmark::kMicrosecond);

void BM_View(benchmark::State& state) {
  const auto n = static_cast<size_t>(state.range(0));
  EndpointSet set({.endpoints_max = n, .health = {}});
  std::vector<model::Endpoint> endpoints;
  for (size_t i = 0; i < n; ++i) {
    endpoints.push_back({.id = std::to_string(i), .name = std::to_string(i), .address = "10.0.0.1", .port = 1});
  }
  const auto id = set.Replace(std::move(endpoints))->added[0];
  for (auto _ : state) {
    set.Update(id, [](model::EndpointState& s) { s.waiting += 1; });
    benchmark::DoNotOptimize(set.View());
  }
}
BENCHMARK(BM_View)->Arg(100)->Arg(7000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::pool
