#include "codec/promtext/promtext.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace sluice::codec {
namespace {

std::string Golden(const std::string& name) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/test/golden/vllm/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(PromText, ReadsEverySampleOfARealEngine) {
  const std::string text = Golden("metrics-load.txt");
  size_t lines = 0;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines += !line.empty() && line[0] != '#';
  PromReader reader(text);
  PromSample sample;
  double running = -1, kv = -1;
  std::string blocks;
  while (reader.Next(sample)) {
    if (sample.name == "vllm:num_requests_running") running = sample.value;
    if (sample.name == "vllm:kv_cache_usage_perc") kv = sample.value;
    if (sample.name == "vllm:cache_config_info") blocks = sample.Label("num_gpu_blocks").value_or("");
  }
  EXPECT_GT(lines, 300u);
  EXPECT_EQ(reader.samples(), lines);
  EXPECT_EQ(reader.unreadable(), 0u);
  EXPECT_EQ(running, 4.0);
  EXPECT_DOUBLE_EQ(kv, 0.11578947368421055);
  EXPECT_EQ(blocks, "96");
}

TEST(PromText, LabelsTimestampsAndSpecialValues) {
  PromReader reader(
      "a{x=\"1\",y=\"q\\\"\\n\\\\\",} 5 1700\nb +Inf\nc -Inf\nd NaN\ne{ z = \"2\" } 1e-3 # {id=\"7\"} 1\r\nf\t7\n");
  PromSample s;
  ASSERT_TRUE(reader.Next(s));
  EXPECT_EQ(s.labels.size(), 2u);
  EXPECT_EQ(s.labels[1].Text(), "q\"\n\\");
  EXPECT_EQ(s.timestamp_ms, 1700);
  ASSERT_TRUE(reader.Next(s));
  EXPECT_TRUE(std::isinf(s.value) && s.value > 0);
  EXPECT_FALSE(s.timestamp_ms);
  ASSERT_TRUE(reader.Next(s));
  EXPECT_TRUE(std::isinf(s.value) && s.value < 0);
  ASSERT_TRUE(reader.Next(s));
  EXPECT_TRUE(std::isnan(s.value));
  ASSERT_TRUE(reader.Next(s));
  EXPECT_EQ(s.Label("z"), "2");
  EXPECT_EQ(s.value, 1e-3);
  ASSERT_TRUE(reader.Next(s));
  EXPECT_EQ(s.value, 7);
  EXPECT_FALSE(reader.Next(s));
}

TEST(PromText, UnreadableLinesAreCountedAndSkipped) {
  PromReader reader("<html>\na{x=\"1\" 5\nb{x=1} 2\nc{x=\"1\n d five\ne 1 2 3\nf{\nok 1\n1bad");
  PromSample s;
  std::vector<std::string> names;
  while (reader.Next(s)) names.emplace_back(s.name);
  EXPECT_EQ(names, (std::vector<std::string>{"e", "ok"}));
  EXPECT_EQ(reader.unreadable(), 7u);
}

TEST(PromText, WantedNamesOnly) {
  PromReader reader("a 1\nb{broken 2\nc 3\n");
  PromSample s;
  ASSERT_TRUE(reader.Next(s, [](std::string_view name) { return name == "c"; }));
  EXPECT_EQ(s.value, 3);
  EXPECT_EQ(reader.unreadable(), 0u);  // nobody asked for b
}

TEST(PromText, LimitsHoldAtTheLimitAndEndOneBeyond) {
  PromSample s;
  PromReader at("a 1\nb 2\n", {.samples_max = 2});
  EXPECT_TRUE(at.Next(s) && at.Next(s) && !at.Next(s));
  EXPECT_FALSE(at.truncated());
  PromReader beyond("a 1\nb 2\nc 3\n", {.samples_max = 2});
  EXPECT_TRUE(beyond.Next(s) && beyond.Next(s) && !beyond.Next(s));
  EXPECT_TRUE(beyond.truncated());

  std::string wide = "m{";
  for (size_t i = 0; i < PromReader::kLabelsMax; ++i) wide += "l" + std::to_string(i) + "=\"v\",";
  const std::string full_text = wide + "} 1\n";
  PromReader full(full_text);
  EXPECT_TRUE(full.Next(s));
  const std::string over_text = wide + "x=\"v\"} 1\n";
  PromReader over(over_text);
  EXPECT_FALSE(over.Next(s));
  EXPECT_EQ(over.unreadable(), 1u);
}

}  // namespace
}  // namespace sluice::codec
