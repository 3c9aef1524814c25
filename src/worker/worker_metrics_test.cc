// Our metric families against a real vLLM's (test/golden/vllm/metrics-load.txt).
#include "worker/worker_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "base/text.h"

namespace sluice::worker {
namespace {

using testing::HasSubstr;
using testing::Not;

struct FamilyShape {
  std::string type;
  std::set<std::string> labels;
  std::vector<std::string> bounds;  // a histogram's, in order
};

// What a scraper sees of `vllm:` families.
std::map<std::string, FamilyShape> Shapes(const std::string& text) {
  std::map<std::string, FamilyShape> shapes;
  std::istringstream in(text);
  std::string family;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("# TYPE vllm:")) {
      const auto words = Split(line, ' ');
      family = words[2];
      shapes[family].type = words[3];
    }
    if (line.starts_with('#') || !line.starts_with("vllm:")) continue;
    FamilyShape& shape = shapes[family];
    const size_t brace = line.find('{');
    std::string_view labels = std::string_view(line).substr(brace + 1, line.rfind('}') - brace - 1);
    while (!labels.empty()) {
      const size_t equals = labels.find("=\"");
      const std::string name(labels.substr(0, equals));
      const size_t end = labels.find('"', equals + 2);
      const std::string value(labels.substr(equals + 2, end - equals - 2));
      labels.remove_prefix(std::min(end + 2, labels.size()));
      if (name == "le") {
        if (std::find(shape.bounds.begin(), shape.bounds.end(), value) == shape.bounds.end())
          shape.bounds.push_back(value);
      } else {
        shape.labels.insert(name);
      }
    }
  }
  return shapes;
}

ModelInfo Model() {
  ModelInfo model;
  model.max_model_len = 1024;
  model.block_size = 32;
  model.num_blocks = 96;
  model.hash_algorithm = "sha256_cbor";
  return model;
}

TEST(WorkerMetrics, HasVllmsFamiliesTypesLabelsAndBuckets) {
  observe::Registry registry;
  WorkerMetrics metrics(registry);
  metrics.Bind(Model(), "smollm2");
  const auto ours = Shapes(metrics.Render({}, 1.0));
  std::ifstream file(SLUICE_SOURCE_DIR "/test/golden/vllm/metrics-load.txt");
  ASSERT_TRUE(file.is_open());
  std::stringstream golden;
  golden << file.rdbuf();
  size_t compared = 0;
  for (const auto& [name, shape] : Shapes(golden.str())) {
    // Not ours: the client library's creation times, and what vLLM estimates of a GPU.
    if (name.ends_with("_created") || name.starts_with("vllm:estimated_")) continue;
    ++compared;
    const auto found = ours.find(name);
    if (found == ours.end()) {
      ADD_FAILURE() << name << " is missing";
      continue;
    }
    EXPECT_EQ(found->second.type, shape.type) << name;
    EXPECT_EQ(found->second.bounds, shape.bounds) << name;
    if (name == "vllm:cache_config_info") {
      EXPECT_TRUE(std::includes(shape.labels.begin(), shape.labels.end(), found->second.labels.begin(),
                                found->second.labels.end()));
    } else {
      EXPECT_EQ(found->second.labels, shape.labels) << name;
    }
  }
  EXPECT_GT(compared, 35u);
}

TEST(WorkerMetrics, StateIsTakenAtScrapeAndCountersNeverGoBack) {
  observe::Registry registry;
  WorkerMetrics metrics(registry);
  metrics.Bind(Model(), "m");
  EngineStats stats;
  stats.running = 2;
  stats.waiting = 3;
  stats.waiting_deferred = 1;
  stats.kv_usage = 0.25;
  stats.prefix_queries_tokens = 100;
  stats.running_loras = {"a", "b"};
  std::string text = metrics.Render(stats, 1700000000);
  EXPECT_THAT(text, HasSubstr(R"(vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2)"));
  EXPECT_THAT(text, HasSubstr(R"(vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25)"));
  EXPECT_THAT(text, HasSubstr(R"(vllm:prefix_cache_queries_total{engine="0",model_name="m"} 100)"));
  EXPECT_THAT(text, HasSubstr(R"(vllm:cache_config_info{block_size="32",)"));
  EXPECT_THAT(text, HasSubstr(R"(running_lora_adapters="a,b",waiting_lora_adapters="")"));
  stats.running_loras = {"b"};
  stats.prefix_queries_tokens = 150;
  text = metrics.Render(stats, 1700000001);
  EXPECT_THAT(text, HasSubstr(R"(vllm:prefix_cache_queries_total{engine="0",model_name="m"} 150)"));
  EXPECT_THAT(text, HasSubstr(R"(running_lora_adapters="b")"));
  EXPECT_THAT(text, Not(HasSubstr(R"(running_lora_adapters="a,b")")));
}

TEST(WorkerMetrics, ReportsFillHistogramsAndTokenCounters) {
  observe::Registry registry;
  WorkerMetrics metrics(registry);
  metrics.Bind(Model(), "m");
  metrics.OnFirstToken({"id", "", 100, 64, 0.03});
  metrics.OnStep({36, 1, 0.01});
  metrics.OnInterToken(0.02);
  FinishReport finish;
  finish.reason = FinishReason::kLength;
  finish.prompt_tokens = 100;
  finish.cached_tokens = 64;
  finish.completion_tokens = 5;
  finish.max_tokens = 5;
  metrics.OnFinish(finish);
  const std::string text = metrics.Render({}, 1);
  EXPECT_THAT(text,
              HasSubstr(R"(vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 36)"));
  EXPECT_THAT(text,
              HasSubstr(R"(vllm:prompt_tokens_cached_by_source_total{engine="0",model_name="m",source="device"} 64)"));
  EXPECT_THAT(text, HasSubstr(R"(vllm:time_to_first_token_seconds_bucket{engine="0",model_name="m",le="0.04"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 37)"));
  EXPECT_THAT(text, HasSubstr(R"(vllm:request_prefill_kv_computed_tokens_sum{engine="0",model_name="m"} 36)"));
  EXPECT_THAT(text, HasSubstr(R"(vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 1)"));
}

}  // namespace
}  // namespace sluice::worker
