#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "loadgen/arrival.h"
#include "loadgen/progress.h"
#include "loadgen/report.h"
#include "loadgen/workload.h"

namespace sluice::loadgen {
namespace {

using testing::HasSubstr;

WorkloadOptions Small(uint64_t seed = 1) {
  return {
      .groups = 4, .prompts_per_group = 3, .prefix_tokens = 20, .question_tokens = 5, .output_tokens = 7, .seed = seed};
}

int64_t CountWords(const std::string& text) { return text.empty() ? 0 : 1 + std::count(text.begin(), text.end(), ' '); }

TEST(Workload, EveryPromptOnceARoundAndGroupsShareTheirPrefix) {
  Workload workload(Small());
  for (int round = 0; round < 2; ++round) {
    std::map<uint32_t, std::set<std::string>> prefixes;
    std::set<std::string> questions;
    for (int i = 0; i < 12; ++i) {
      const Prompt prompt = workload.Next();
      EXPECT_EQ(CountWords(prompt.prefix), 20);
      EXPECT_EQ(CountWords(prompt.question), 5);
      EXPECT_EQ(prompt.output_tokens, 7);
      prefixes[prompt.group].insert(prompt.prefix);
      questions.insert(prompt.question);
    }
    EXPECT_EQ(questions.size(), 12u);
    ASSERT_EQ(prefixes.size(), 4u);
    std::set<std::string> distinct;
    for (const auto& [group, texts] : prefixes) {
      EXPECT_EQ(texts.size(), 1u) << "group " << group;
      distinct.insert(*texts.begin());
    }
    EXPECT_EQ(distinct.size(), 4u);
  }
}

std::vector<std::string> Texts(const WorkloadOptions& options, int count) {
  Workload workload(options);
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) {
    const Prompt prompt = workload.Next();
    texts.push_back(prompt.prefix + "|" + prompt.question);
  }
  return texts;
}

TEST(Workload, TheSeedDecidesEverything) {
  EXPECT_EQ(Texts(Small(1), 30), Texts(Small(1), 30));
  EXPECT_NE(Texts(Small(1), 12), Texts(Small(2), 12));
  const auto rounds = Texts(Small(1), 24);
  EXPECT_NE(std::vector(rounds.begin(), rounds.begin() + 12), std::vector(rounds.begin() + 12, rounds.end()))
      << "each round has its own order";
}

TEST(Workload, RandomPromptsShareNothing) {
  Workload workload({.kind = WorkloadKind::kRandom, .question_tokens = 50, .output_tokens = 1});
  std::set<std::string> beginnings;
  for (int i = 0; i < 200; ++i) {
    const Prompt prompt = workload.Next();
    EXPECT_TRUE(prompt.prefix.empty());
    EXPECT_EQ(CountWords(prompt.question), 50);
    beginnings.insert(prompt.question.substr(0, 60));
  }
  EXPECT_EQ(beginnings.size(), 200u);
}

TEST(Arrival, ConstantIsAGrid) {
  ArrivalTimes times(ArrivalKind::kConstant, 4, 1);
  EXPECT_EQ(times.Next(), Duration(0));
  EXPECT_EQ(times.Next(), std::chrono::milliseconds(250));
  EXPECT_EQ(times.Next(), std::chrono::milliseconds(500));
}

TEST(Arrival, PoissonHasItsRateAndItsVariance) {
  ArrivalTimes times(ArrivalKind::kPoisson, 10, 7);
  constexpr int kCount = 20'000;
  double last = 0, sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double now = Seconds(times.Next());
    ASSERT_GE(now, last);
    sum += now - last;
    squares += (now - last) * (now - last);
    last = now;
  }
  const double mean = sum / kCount;
  const double deviation = std::sqrt(squares / kCount - mean * mean);
  EXPECT_NEAR(mean, 0.1, 0.003);
  EXPECT_NEAR(deviation / mean, 1, 0.03) << "exponential gaps have a coefficient of variation of 1";
  ArrivalTimes again(ArrivalKind::kPoisson, 10, 7);
  ArrivalTimes other(ArrivalKind::kPoisson, 10, 8);
  EXPECT_NE(again.Next(), other.Next());
}

TEST(Distribution, PercentilesAreInterpolatedAsInNumpy) {
  Distribution d;
  for (int i = 10; i >= 1; --i) d.Add(i);
  const Percentiles p = d.Summarize();
  EXPECT_EQ(p.count, 10u);
  EXPECT_DOUBLE_EQ(p.mean, 5.5);
  EXPECT_NEAR(p.p50, 5.5, 1e-6);
  EXPECT_NEAR(p.p90, 9.1, 1e-6);
  EXPECT_NEAR(p.p95, 9.55, 1e-6);
  EXPECT_NEAR(p.p99, 9.91, 1e-6);
  EXPECT_DOUBLE_EQ(p.max, 10);
  EXPECT_EQ(Distribution().Summarize().count, 0u);
}

TEST(Distribution, BeyondItsMemoryItSamplesEvenly) {
  Distribution d(1000);
  for (int i = 0; i < 100'000; ++i) d.Add(i);
  const Percentiles p = d.Summarize();
  EXPECT_EQ(p.count, 100'000u);
  EXPECT_DOUBLE_EQ(p.max, 99'999);
  EXPECT_NEAR(p.mean, 49'999.5, 0.1);
  EXPECT_NEAR(p.p50, 50'000, 6'000);
  EXPECT_NEAR(p.p90, 90'000, 4'000);
}

Sample Good(double start_s, double ttft_s, double e2e_s) {
  return {.endpoint = "10.0.0.1:8000",
          .start_s = start_s,
          .ttft_s = ttft_s,
          .e2e_s = e2e_s,
          .itl_s = {0.01f, 0.03f},
          .prompt_tokens = 100,
          .output_tokens = 5,
          .cached_tokens = 64};
}

Report SomeReport() {
  Recorder recorder;
  recorder.Add(Good(1.0, 0.1, 0.5));
  recorder.Add(Good(1.5, 0.3, 0.7));
  Sample other = Good(2.0, 0.2, 1.0);
  other.endpoint = "10.0.0.2:8000";
  other.cached_tokens = -1;
  recorder.Add(other);
  recorder.Add({.failure = Failure::kHttp429, .failure_text = "status 429: full", .start_s = 2.5, .e2e_s = 0.1});
  recorder.Add({.failure = Failure::kHttp429, .failure_text = "status 429: still full", .start_s = 2.6, .e2e_s = 0.1});
  recorder.Add({.failure = Failure::kNotSent, .start_s = 2.7});
  return recorder.Finish({.model = "m", .workload = Small()}, 9, false);
}

TEST(Recorder, FailuresAreCountedAndKeptOutOfLatencies) {
  const Report r = SomeReport();
  EXPECT_EQ(r.requests, 6u);
  EXPECT_EQ(r.completed, 3u);
  EXPECT_DOUBLE_EQ(r.seconds, 2.0);  // from 1.0 to 3.0
  EXPECT_EQ(r.output_tokens, 15);
  EXPECT_EQ(r.prompt_tokens, 300);
  EXPECT_EQ(r.cached_tokens, 128);
  EXPECT_EQ(r.prompt_tokens_with_cache, 200) << "an answer without a count must not lower the hit rate";
  EXPECT_EQ(r.ttft.count, 3u);
  EXPECT_NEAR(r.ttft.p50, 0.2, 1e-6);
  EXPECT_EQ(r.itl.count, 6u);
  EXPECT_EQ(r.late.count, 5u);
  EXPECT_NEAR(r.tpot.max, 0.2, 1e-6);  // (1.0 - 0.2) / 4
  ASSERT_EQ(r.failures.size(), 2u);
  EXPECT_EQ(r.failures[0].failure, Failure::kHttp429);
  EXPECT_EQ(r.failures[0].count, 2u);
  EXPECT_EQ(r.failures[0].example, "status 429: full");
  ASSERT_EQ(r.endpoints.size(), 2u);
  EXPECT_EQ(r.endpoints[0].endpoint, "10.0.0.1:8000");
  EXPECT_EQ(r.endpoints[0].requests, 2u);
  EXPECT_EQ(r.endpoints[0].cached_tokens, 128);
}

TEST(Recorder, EndpointsAreBounded) {
  Recorder recorder;
  for (size_t i = 0; i < Recorder::kEndpointsMax + 5; ++i) {
    Sample sample = Good(0, 0.1, 0.2);
    sample.endpoint = "e" + std::to_string(i);
    recorder.Add(sample);
  }
  const Report r = recorder.Finish({}, 0, false);
  EXPECT_EQ(r.endpoints.size(), Recorder::kEndpointsMax);
  EXPECT_EQ(r.endpoints_dropped, 5u);
}

TEST(Report, JsonHasTheDocumentedKeys) {
  const auto json = nlohmann::json::parse(ReportJson(SomeReport()));
  for (const char* key : {"url",
                          "model",
                          "api",
                          "stopped",
                          "workload",
                          "arrival",
                          "seconds",
                          "requests",
                          "completed",
                          "failed",
                          "warmup_requests",
                          "requests_per_second",
                          "prompt_tokens",
                          "output_tokens",
                          "cached_tokens",
                          "hit_rate",
                          "prompt_tokens_per_second",
                          "output_tokens_per_second",
                          "ttft_ms",
                          "itl_ms",
                          "tpot_ms",
                          "e2e_ms",
                          "late_ms",
                          "failures",
                          "endpoints"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json.size(), 25u) << "a new key must be documented in report.h and listed here";
  EXPECT_NEAR(json["ttft_ms"]["p50"].get<double>(), 200, 0.01);
  EXPECT_EQ(json["failed"], 3);
  EXPECT_DOUBLE_EQ(json["requests_per_second"].get<double>(), 1.5);
  EXPECT_DOUBLE_EQ(json["hit_rate"].get<double>(), 0.64);
  EXPECT_EQ(json["workload"]["groups"], 4);
  EXPECT_EQ(json["arrival"]["concurrency"], 8);
  EXPECT_EQ(json["failures"][0]["kind"], "http_429");
  const auto empty = nlohmann::json::parse(ReportJson(Recorder().Finish({}, 0, true)));
  EXPECT_TRUE(empty["hit_rate"].is_null());
  EXPECT_TRUE(empty["ttft_ms"]["p50"].is_null());
  EXPECT_EQ(empty["requests_per_second"], 0.0);
}

TEST(Report, TheTableSaysWhatMatters) {
  const std::string table = ReportTable(SomeReport());
  EXPECT_THAT(table, HasSubstr("6 measured in 2.0 s, 3 completed, 3 failed; 9 before them to warm up"));
  EXPECT_THAT(table, HasSubstr("shared-prefix 4 x 3, 20+5 -> 7 tokens, 8 at a time, seed 1"));
  EXPECT_THAT(table, HasSubstr("64.0 % of prompt tokens were cached"));
  EXPECT_THAT(table, HasSubstr("http_429             2  first: status 429: full"));
  EXPECT_THAT(table, HasSubstr("10.0.0.1:8000"));
  EXPECT_THAT(ReportTable(Recorder().Finish({}, 0, true)), HasSubstr("stopped before the end"));
}

TEST(ProgressLine, ShowsShareByRequestsOrByTime) {
  EXPECT_EQ(
      ProgressLine({.seconds = 10, .sent = 48, .finished = 40, .failed = 1, .output_tokens = 1000, .requests = 100}),
      " 40 %  40 of 100 · 8 running · 4.0 requests/s · 100 tokens/s · 1 failed · 10 s");
  EXPECT_THAT(ProgressLine({.warming_up = true, .seconds = 5, .sent = 40, .finished = 40, .seconds_max = 20}),
              HasSubstr("warming up  25 %"));
}

TEST(Options, DefaultsAreValid) { EXPECT_TRUE(Validate({}).has_value()); }

std::string Fault(const BenchOptions& options) {
  const Status status = Validate(options);
  return status ? "valid" : status.error().message;
}

TEST(Options, WhatDoesNotBelongTogetherIsRefused) {
  EXPECT_THAT(Fault({.workload = {.kind = WorkloadKind::kRandom, .groups = 3}}), HasSubstr("--groups does not belong"));
  EXPECT_THAT(Fault({.workload = {.kind = WorkloadKind::kRandom, .prefix_tokens = 3}}), HasSubstr("--prefix-tokens"));
  EXPECT_THAT(Fault({.arrival = {.rate = 3.0}}), HasSubstr("--rate does not belong"));
  EXPECT_THAT(Fault({.arrival = {.kind = ArrivalKind::kPoisson, .concurrency = 3, .rate = 1.0}}),
              HasSubstr("--concurrency does not belong"));
  EXPECT_THAT(Fault({.arrival = {.kind = ArrivalKind::kPoisson}}), HasSubstr("--rate is missing"));
}

TEST(Options, RangesAreChecked) {
  EXPECT_THAT(Fault({.workload = {.groups = 0}}), HasSubstr("--groups must be from 1"));
  EXPECT_THAT(Fault({.workload = {.groups = 1'000'000, .prompts_per_group = 1'000'000}}), HasSubstr("times"));
  EXPECT_THAT(Fault({.workload = {.output_tokens = 0}}), HasSubstr("--output-tokens must be"));
  EXPECT_THAT(Fault({.arrival = {.concurrency = 0}}), HasSubstr("--concurrency must be from 1"));
  EXPECT_THAT(Fault({.arrival = {.kind = ArrivalKind::kConstant, .rate = 0.0}}), HasSubstr("--rate must be"));
  EXPECT_THAT(Fault({.requests = 0}), HasSubstr("--requests must be"));
  EXPECT_THAT(Fault({.duration = Duration(0)}), HasSubstr("--duration must be"));
  EXPECT_THAT(Fault({.warmup_requests = -1}), HasSubstr("--warmup must be"));
  EXPECT_THAT(Fault({.in_flight_max = 0}), HasSubstr("--in-flight-max must be"));
}

TEST(Options, NamesRoundTripAndTyposAreHelped) {
  for (const Api api : {Api::kCompletions, Api::kChat}) EXPECT_EQ(ParseApi(Name(api)), api);
  for (const auto kind : {WorkloadKind::kSharedPrefix, WorkloadKind::kRandom})
    EXPECT_EQ(ParseWorkloadKind(Name(kind)), kind);
  for (const auto kind : {ArrivalKind::kConcurrency, ArrivalKind::kPoisson, ArrivalKind::kConstant}) {
    EXPECT_EQ(ParseArrivalKind(Name(kind)), kind);
  }
  EXPECT_THAT(ParseArrivalKind("poison").error().message, HasSubstr("did you mean 'poisson'"));
}

TEST(Options, RequestsFollowFromWhatWasSaid) {
  EXPECT_EQ(RequestsToSend({.workload = Small()}), 12);
  EXPECT_EQ(RequestsToSend({.workload = Small(), .requests = 5}), 5);
  EXPECT_EQ(RequestsToSend({.workload = Small(), .requests = 5, .duration = Duration(1)}), 5);
  EXPECT_EQ(RequestsToSend({.duration = Duration(1)}), std::numeric_limits<int64_t>::max());
}

TEST(Options, Urls) {
  EXPECT_EQ(ParseUrl("http://127.0.0.1:8080/")->port, 8080);
  EXPECT_EQ(ParseUrl("http://localhost")->port, 80);
  EXPECT_EQ(ParseUrl("http://[::1]:81")->host, "::1");
  EXPECT_EQ(ParseUrl("http://[::1]")->host, "::1");
  for (const char* bad : {"127.0.0.1:8080", "https://127.0.0.1", "http://", "http://h:0", "http://h:x", "http://h/v1",
                          "http://user@h", "http://h:70000"}) {
    EXPECT_FALSE(ParseUrl(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace sluice::loadgen
