#include "pool/dialect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "schedule/config.h"

namespace sluice::pool {
namespace {

using model::EndpointState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

DialectTable Builtin() { return *BuildDialects(nullptr, nullptr); }

EndpointState Read(const std::string& dialect, std::string_view text, ExtractResult* result = nullptr) {
  const DialectTable table = Builtin();
  EndpointState state;
  const ExtractResult got = Extract(text, *table.Find(dialect), TimePoint(Duration(5)), state);
  if (result != nullptr) *result = got;
  return state;
}

TEST(Dialect, ReadsARealVllm) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/test/golden/vllm/metrics-load.txt");
  std::stringstream text;
  text << file.rdbuf();
  ExtractResult result;
  const EndpointState state = Read("vllm", text.str(), &result);
  EXPECT_EQ(state.waiting, 2);
  EXPECT_EQ(state.running, 4);
  EXPECT_FLOAT_EQ(state.kv_usage, 0.11578947f);
  EXPECT_EQ(state.block_size, 32u);
  EXPECT_EQ(state.num_blocks, 96u);
  EXPECT_EQ(state.scraped_at, TimePoint(Duration(5)));
  EXPECT_EQ(result.found, 4);
  EXPECT_EQ(result.refused, 0);
}

TEST(Dialect, EachEngineHasItsNames) {
  EXPECT_EQ(Read("sglang", "sglang:num_queue_reqs 3\nsglang:cache_config_info{page_size=\"64\",num_pages=\"900\"} 1\n")
                .num_blocks,
            900u);
  EXPECT_EQ(Read("trtllm-serve", "trtllm_kv_cache_tokens_per_block 32\n").block_size, 32u);
  const EndpointState triton = Read("triton-tensorrt-llm",
                                    "nv_trt_llm_request_metrics{request_type=\"context\"} 9\n"
                                    "nv_trt_llm_request_metrics{model=\"m\",request_type=\"waiting\"} 4\n"
                                    "nv_trt_llm_request_metrics{request_type=\"scheduled\"} 5\n"
                                    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\"} 0.25\n"
                                    "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\"} 100\n");
  EXPECT_EQ(triton.waiting, 4);
  EXPECT_EQ(triton.running, 5);
  EXPECT_EQ(triton.kv_usage, 0.25f);
  EXPECT_EQ(triton.num_blocks, 100u);
  EXPECT_EQ(Read("tgi", "tgi_queue_size 7\ntgi_batch_current_size 2\n").waiting, 7);
  EXPECT_EQ(Read("llama-server", "llamacpp:requests_deferred 1\nllamacpp:requests_processing 8\n").running, 8);
}

TEST(Dialect, TheFirstSampleOrTheNewestCountsAndNothingIsSummed) {
  EXPECT_EQ(
      Read("vllm", "vllm:num_requests_waiting{engine=\"0\"} 3\nvllm:num_requests_waiting{engine=\"1\"} 5\n").waiting,
      3);
  EXPECT_EQ(
      Read("vllm", "vllm:num_requests_waiting{e=\"0\"} 3 100\nvllm:num_requests_waiting{e=\"1\"} 5 200\n").waiting, 5);
}

TEST(Dialect, GarbageIsRefusedAndTheOldValueStays) {
  const DialectTable table = Builtin();
  EndpointState state;
  state.waiting = 9;
  state.kv_usage = 0.5f;
  const ExtractResult bad =
      Extract("vllm:num_requests_waiting NaN\nvllm:num_requests_running -1\nvllm:kv_cache_usage_perc 57\n",
              *table.Find("vllm"), TimePoint(Duration(1)), state);
  EXPECT_EQ(bad.found, 0);
  EXPECT_EQ(bad.refused, 3);
  EXPECT_EQ(state.waiting, 9);
  EXPECT_EQ(state.kv_usage, 0.5f);
  EXPECT_EQ(state.scraped_at, EndpointState::kNever);
  EXPECT_EQ(Extract("<html>oops</html>\n", *table.Find("vllm"), TimePoint(Duration(1)), state).found, 0);
  EXPECT_EQ(Extract("vllm:num_requests_waiting {\n", *table.Find("vllm"), TimePoint(Duration(1)), state).unreadable,
            1u);
  // One good metric refreshes the stamp, as upstream does.
  Extract("vllm:num_requests_running 2\n", *table.Find("vllm"), TimePoint(Duration(1)), state);
  EXPECT_EQ(state.scraped_at, TimePoint(Duration(1)));
  EXPECT_EQ(state.waiting, 9);
}

TEST(Dialect, LoraTakesTheSampleWithTheLargestValue) {
  const EndpointState state =
      Read("vllm",
           "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"a, b\",waiting_lora_adapters=\"\"} 20\n"
           "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"old\",waiting_lora_adapters=\"x\"} 10\n");
  ASSERT_NE(state.lora, nullptr);
  EXPECT_THAT(state.lora->active, ElementsAre("a", "b"));
  EXPECT_TRUE(state.lora->waiting.empty());
  EXPECT_EQ(state.lora->max, 4u);
}

TEST(Dialect, ChosenByLabelThenDefault) {
  const DialectTable table = Builtin();
  EXPECT_EQ(table.For({.labels = {{"llm-d.ai/engine-type", "tgi"}}}).name, "tgi");
  EXPECT_EQ(table.For({.labels = {{"inference.networking.k8s.io/engine-type", "sglang"}}}).name, "sglang");
  EXPECT_EQ(table.For({.labels = {{"llm-d.ai/engine-type", "unheard-of"}}}).name, "vllm");
  EXPECT_EQ(table.For({}).name, "vllm");
}

TEST(Dialect, Specs) {
  const auto spec = ParseMetricSpec(" a:b{ x = 1 , y=\"z\" }");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->name, "a:b");
  EXPECT_EQ(spec->labels[1], (std::pair<std::string, std::string>("y", "z")));
  for (const char* bad : {"", "{x=1}", "a{x=1", "a{x}", "a b", "a{=1}"}) EXPECT_FALSE(ParseMetricSpec(bad)) << bad;
}

schedule::LoadedConfig Load(const std::string& parameters) {
  auto config = schedule::LoadConfig(
      "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: core-metrics-extractor\n  "
      "parameters:\n" +
          parameters,
      schedule::BuiltinRegistry());
  EXPECT_TRUE(config) << config.error().message;
  return std::move(*config);
}

TEST(Dialect, AConfiguredEngineReplacesTheBuiltInWholesale) {
  const auto config = Load(
      "    defaultEngine: mine\n    engineConfigs:\n    - {name: mine, queuedRequestsSpec: 'q{kind=all}'}\n"
      "    - {name: vllm, runningRequestsSpec: r}\n");
  std::vector<std::string> warnings;
  const auto table = BuildDialects(config.metrics[0].extractor, &warnings);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->For({}).waiting.name, "q");
  EXPECT_EQ(table->Find("vllm")->running.name, "r");
  EXPECT_EQ(table->Find("vllm")->waiting.name, "");
  EXPECT_TRUE(warnings.empty());
}

TEST(Dialect, CustomMetricsBecomeAttributes) {
  const auto config = Load(
      "    engineConfigs:\n    - name: vllm\n      runningRequestsSpec: r\n      customMetrics:\n"
      "      - {attributeKey: power, metricSpec: 'watts{gpu=0}'}\n      - {attributeKey: temp, metricSpec: celsius}\n");
  const auto table = BuildDialects(config.metrics[0].extractor, nullptr);
  ASSERT_TRUE(table) << table.error().message;
  EndpointState state;
  const auto read = [&](std::string_view page) { return Extract(page, table->For({}), TimePoint(Duration(1)), state); };
  EXPECT_EQ(read("watts{gpu=\"1\"} 9\nwatts{gpu=\"0\"} 300\ncelsius NaN\n").refused, 1);
  ASSERT_EQ(state.attributes.size(), 1u);
  EXPECT_EQ(state.attributes[0].key, "power/core-metrics-extractor");
  EXPECT_EQ(state.attributes[0].value, 300);
  read("watts{gpu=\"0\"} -5\ncelsius 40\n");  // a temperature or a difference may be negative
  ASSERT_EQ(state.attributes.size(), 2u);
  EXPECT_EQ(state.attributes[0].value, -5);
  EXPECT_EQ(state.attributes[1].value, 40);
}

TEST(Dialect, WrongCustomMetricsAreNamed) {
  const auto config = Load(
      "    engineConfigs:\n    - name: vllm\n      customMetrics:\n"
      "      - {attributeKey: a/b, metricSpec: x}\n      - {attributeKey: c, metricSpec: 'x{'}\n      - {attributeKey: "
      "d}\n");
  const auto table = BuildDialects(config.metrics[0].extractor, nullptr);
  ASSERT_FALSE(table);
  EXPECT_THAT(table.error().message, HasSubstr("customMetrics[0].attributeKey: must not have a '/'"));
  EXPECT_THAT(table.error().message, HasSubstr("customMetrics[1].metricSpec: expected a metric"));
  EXPECT_THAT(table.error().message, HasSubstr("customMetrics[2]"));
}

TEST(Dialect, TheBusiestGpuOfThePodCounts) {
  const std::string_view page =
      "u{gpu=\"0\",pod=\"a\"} 30\nu{gpu=\"1\",pod=\"a\"} 55\nu{gpu=\"2\",pod=\"b\"} 90\nu{gpu=\"3\",pod=\"a\"} 250\n";
  EXPECT_FLOAT_EQ(*BusiestGpu(page, "u", "a"), 0.55f);
  EXPECT_FLOAT_EQ(*BusiestGpu("u{gpu=\"0\"} 10\n", "u", "a"), 0.1f);
  EXPECT_FALSE(BusiestGpu(page, "u", "c"));
  EXPECT_FALSE(BusiestGpu(page, "v", "a"));
}

TEST(Dialect, APageIsRecognisedByWhatItHas) {
  const DialectTable table = Builtin();
  const auto name = [&](std::string_view page) {
    const Dialect* found = table.Detect(page);
    return found != nullptr ? std::string_view(found->name) : std::string_view("none");
  };
  EXPECT_EQ(name("sglang:num_queue_reqs 1\nsglang:num_running_reqs 2\n"), "sglang");
  EXPECT_EQ(name("llamacpp:requests_deferred 1\n"), "llama-server");
  EXPECT_EQ(name("tgi_queue_size 1\n"), "tgi");
  EXPECT_EQ(name("trtllm_num_requests_waiting 1\n"), "trtllm-serve");
  // Triton with TensorRT-LLM has plain Triton's names too: the dialect that finds more is right.
  EXPECT_EQ(name("nv_inference_pending_request_count 1\nnv_trt_llm_request_metrics{request_type=\"waiting\"} 4\n"
                 "nv_trt_llm_request_metrics{request_type=\"scheduled\"} 4\n"),
            "triton-tensorrt-llm");
  EXPECT_EQ(name("nv_inference_pending_request_count 1\n"), "triton");
  EXPECT_EQ(name("go_goroutines 7\n"), "none");
  EXPECT_TRUE(table.HasEngineLabel({.labels = {{"llm-d.ai/engine-type", "x"}}}));
  EXPECT_FALSE(table.HasEngineLabel({}));
}

TEST(Dialect, ALineWithoutEndIsNotBelieved) {
  ExtractResult result;
  const EndpointState state = Read("vllm", "vllm:num_requests_running 3\nvllm:num_requests_waiting 1", &result);
  EXPECT_TRUE(result.cut_off);  // it may have been 12
  EXPECT_EQ(state.running, 3);
  EXPECT_EQ(state.waiting, 0);
  EXPECT_FALSE(result.found == 2);
  Read("vllm", "vllm:num_requests_running 3\n# EOF", &result);
  EXPECT_FALSE(result.cut_off);
  Read("vllm", "vllm:num_requests_running", &result);
  EXPECT_TRUE(result.cut_off);
  EXPECT_EQ(result.found, 0);
}

TEST(Dialect, WrongEngineConfigsNamePathAndNearest) {
  const auto config =
      Load("    defaultEngine: vlm\n    engineConfigs:\n    - {name: x, queuedRequestSpec: q, kvUsageSpec: 'a{'}\n");
  const auto table = BuildDialects(config.metrics[0].extractor, nullptr);
  ASSERT_FALSE(table);
  EXPECT_THAT(table.error().message,
              HasSubstr("engineConfigs[0].queuedRequestSpec: unknown field; did you mean 'queuedRequestsSpec'?"));
  EXPECT_THAT(table.error().message, HasSubstr("kvUsageSpec: expected a metric such as name{label=value}"));
  EXPECT_THAT(table.error().message, HasSubstr("no engine is named \"vlm\"; did you mean 'vllm'?"));
}

}  // namespace
}  // namespace sluice::pool
