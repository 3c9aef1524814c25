#include <gtest/gtest.h>

#include "observe/log.h"
#include "observe/metrics.h"

namespace sluice::observe {
namespace {

TEST(Metrics, RendersCountersGaugesAndHistogramsAsPrometheusText) {
  Registry registry;
  registry.AddCounter("requests_total", "Requests.", {"model", "code"}).With({"m\"1", "200"}).Add(3);
  registry.AddGauge("waiting", "Waiting\nrequests.").Get().Set(0.5);
  Histogram& h = registry.AddHistogram("ttft_seconds", "Time.", {"model"}, {0.1, 1}).With({"m"});
  h.Observe(0.1);
  h.Observe(0.5);
  h.Observe(7);
  const std::string text = registry.Render();
  EXPECT_NE(text.find("# TYPE requests_total counter\nrequests_total{model=\"m\\\"1\",code=\"200\"} 3\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("# HELP waiting Waiting\\nrequests.\n# TYPE waiting gauge\nwaiting 0.5\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("ttft_seconds_bucket{model=\"m\",le=\"0.1\"} 1\n"
                      "ttft_seconds_bucket{model=\"m\",le=\"1.0\"} 2\n"
                      "ttft_seconds_bucket{model=\"m\",le=\"+Inf\"} 3\n"
                      "ttft_seconds_sum{model=\"m\"} 7.6\n"
                      "ttft_seconds_count{model=\"m\"} 3\n"),
            std::string::npos)
      << text;
}

TEST(Metrics, TheSameNameIsTheSameFamilyAndTheSameLabelsTheSameCell) {
  Registry registry;
  Counter& a = registry.AddCounter("x_total", "X.", {"l"}).With({"1"});
  Counter& b = registry.AddCounter("x_total", "X.", {"l"}).With({"1"});
  EXPECT_EQ(&a, &b);
}

TEST(Metrics, SeriesBeyondTheLimitShareOneAndAreCounted) {
  Registry registry;
  auto& family = registry.AddCounter("x_total", "X.", {"l"});
  for (size_t i = 0; i < kSeriesMax + 5; ++i) family.With({std::to_string(i)}).Add();
  const std::string text = registry.Render();
  EXPECT_NE(text.find("x_total{l=\"other\"} 5\n"), std::string::npos);
  EXPECT_NE(text.find("sluice_metrics_series_dropped_total 5\n"), std::string::npos);
}

TEST(Metrics, RemovedSeriesAreNotRendered) {
  Registry registry;
  auto& family = registry.AddGauge("up", "Up.", {"endpoint"});
  family.With({"a"}).Set(1);
  family.Remove({"a"});
  EXPECT_EQ(registry.Render().find("up{"), std::string::npos);
}

TEST(Log, LevelsByModuleAndBadNames) {
  ASSERT_TRUE(Configure({.level = Level::kWarn, .format = Format::kText, .levels_by_module = "gateway=debug"}));
  EXPECT_TRUE(Enabled(Level::kDebug, "gateway"));
  EXPECT_FALSE(Enabled(Level::kInfo, "net"));
  const Status bad = Configure({.levels_by_module = "gateway=debgu"});
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("did you mean 'debug'"), std::string::npos);
  EXPECT_FALSE(Configure({.levels_by_module = "gateway"}));
}

TEST(Log, LinesCarryFieldsAndCannotBeForged) {
  ASSERT_TRUE(Configure({.level = Level::kInfo, .format = Format::kJson}));
  testing::internal::CaptureStderr();
  Log(Level::kInfo, "net", "got", {{"id", "a\nb\"c"}, {"n", 3}, {"ok", true}, {"list", Field::Json{"[1]"}}});
  const std::string json = testing::internal::GetCapturedStderr();
  EXPECT_NE(json.find(R"("msg":"got","id":"a\nb\"c","n":3,"ok":true,"list":[1]})"), std::string::npos) << json;
  ASSERT_TRUE(Configure({.level = Level::kInfo, .format = Format::kText}));
  testing::internal::CaptureStderr();
  Log(Level::kInfo, "net", "got", {{"id", "plain"}, {"text", "two words\x1b"}});
  Log(Level::kInfo, "net", "reals",
      {{"a", 1.0}, {"b", -0.0625}, {"c", 12.3456}, {"d", 1e300}, {"e", -1.5}, {"f", 0.9999}});
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("net: reals a=1 b=-0.063 c=12.346 d=1e+300 e=-1.5 f=1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("net: got id=plain text=\"two words\\u001b\"\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace sluice::observe
