#include "schedule/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <sstream>

#include "schedule/decision_log.h"
#include "schedule/replay.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using std::chrono::milliseconds;
using testing::ConfigOf;
using ::testing::HasSubstr;
using testing::MakePool;
using testing::MustLoad;
using testing::TestEndpoint;
using testing::TextRequest;

LoadedConfig Config(std::string_view body) { return MustLoad(ConfigOf(body)); }

// Picks by the queue, or against it.
constexpr std::string_view kQueue = "plugins:\n- type: queue-scorer\n";
constexpr std::string_view kBusiest =
    "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- {name: default, plugins: [{pluginRef: queue-scorer, "
    "weight: "
    "-1}]}\n";

struct World {
  explicit World(std::string_view config = kQueue, uint64_t seed = 7)
      : scheduler(Config(config), clock, {.state = {}, .seed = seed}) {
    clock.Advance(std::chrono::hours(1));
  }
  // Sends a streamed request whose first token comes after `ttft_ms` and whose answer ends 100 ms later.
  std::string Serve(const model::PoolView& pool, double ttft_ms, std::string_view text = "hello") {
    model::Request request = TextRequest("r" + std::to_string(++served), text);
    request.streaming = true;
    const model::Decision& decision = scheduler.Decide(request, pool);
    if (!decision.ok()) return "refused";
    const std::string name = decision.pick().endpoint->name;
    Scheduler::Flight flight = scheduler.Dispatch(request, pool);
    clock.Advance(FromSeconds(ttft_ms / 1e3));
    scheduler.OnFirstChunk(flight);
    clock.Advance(milliseconds(100));
    scheduler.End(std::move(flight), {.prompt_tokens = 10, .cached_tokens = 0, .output_tokens = 11});
    return name;
  }
  ManualClock clock;
  Scheduler scheduler;
  int served = 0;
};

TEST(Scheduler, LearnsWhatToExpectAndPutsItInTheReceipt) {
  World world;
  const auto pool = MakePool({{"a"}});
  for (int i = 0; i < 100; ++i) world.Serve(pool, 400);
  world.Serve(pool, 400);
  EXPECT_NEAR(world.scheduler.decision().receipt.expected_ttft_ms, 400, 60);
  uint64_t first_tokens = 0, intervals = 0;
  for (const auto& kind : world.scheduler.latency().model().Describe()) {
    first_tokens += kind.ttft.samples;
    intervals += kind.itl.samples;
  }
  EXPECT_EQ(first_tokens, 101u);
  EXPECT_EQ(intervals, 101u);
}

TEST(Scheduler, AnAnswerThatIsNotStreamedTeachesNoFirstToken) {
  World world;
  const auto pool = MakePool({{"a"}});
  const model::Request request = TextRequest("r", "hello");
  ASSERT_TRUE(world.scheduler.Decide(request, pool).ok());
  Scheduler::Flight flight = world.scheduler.Dispatch(request, pool);
  world.clock.Advance(milliseconds(5000));
  world.scheduler.OnFirstChunk(flight);
  world.scheduler.End(std::move(flight), {.output_tokens = 100});
  for (const auto& kind : world.scheduler.latency().model().Describe()) EXPECT_EQ(kind.ttft.samples, 0u);
}

TEST(Scheduler, RequestsOnTheirWayEndWithThePolicyTheyBeganWith) {
  World world("plugins:\n- type: active-request-scorer\n");
  const auto pool = MakePool({{"a"}, {"b"}});
  const model::Request request = TextRequest("r", "hello");
  ASSERT_TRUE(world.scheduler.Decide(request, pool).ok());
  Scheduler::Flight flight = world.scheduler.Dispatch(request, pool);
  ASSERT_TRUE(world.scheduler.Put(Scheduler::kConfigured, Config(kQueue)));
  EXPECT_EQ(world.scheduler.policy().profiles[0].columns->scorers[0].name, "queue-scorer");
  EXPECT_EQ(world.scheduler.open_flights(), 1u);
  world.scheduler.End(std::move(flight), {});
  EXPECT_EQ(world.scheduler.open_flights(), 0u);
}

TEST(Scheduler, AReloadedPolicyKnowsTheLoadThatIsOnItsWay) {
  World world("plugins:\n- type: active-request-scorer\n");
  const auto pool = MakePool({{"a"}, {"b"}});
  const model::Request request = TextRequest("r", "hello");
  ASSERT_TRUE(world.scheduler.Decide(request, pool).ok());
  const std::string first = world.scheduler.decision().pick().endpoint->name;
  Scheduler::Flight flight = world.scheduler.Dispatch(request, pool);
  ASSERT_TRUE(world.scheduler.Put(Scheduler::kConfigured,
                                  Config("plugins:\n- type: active-request-scorer\n- type: load-aware-scorer\n")));
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(world.scheduler.Decide(request, pool).ok());
    EXPECT_NE(world.scheduler.decision().pick().endpoint->name, first);
  }
  world.scheduler.End(std::move(flight), {});
}

TEST(Shadow, DecidesBesideTheLivePolicyWithoutActing) {
  World world;
  ASSERT_TRUE(world.scheduler.Put("busiest", Config(kBusiest)));
  const auto pool = MakePool({{"idle", 0}, {"busy", 50, 30}});
  for (int i = 0; i < 40; ++i) EXPECT_EQ(world.Serve(pool, 50), "idle");
  const ShadowReport report = world.scheduler.Report();
  EXPECT_EQ(report.live, "configured");
  ASSERT_EQ(report.shadows.size(), 1u);
  const ShadowComparison& comparison = report.shadows[0].comparison;
  EXPECT_EQ(comparison.requests, 40u);
  EXPECT_EQ(comparison.other_pick, 40u);
  EXPECT_GT(comparison.difference_ms.mean() - comparison.difference_ms.HalfWidth95(), 0);
  EXPECT_THAT(ShadowReportTable(report), HasSubstr("slower"));
  EXPECT_THAT(ShadowReportJson(report), HasSubstr(R"("verdict":"slower")"));
}

TEST(Shadow, LearnsFromTheLivePolicysPicks) {
  const std::string prefix = "plugins:\n- type: prefix-cache-scorer\n";
  World world(kQueue);
  ASSERT_TRUE(world.scheduler.Put("prefix", Config(prefix)));
  const std::string text(4000, 'x');
  world.Serve(MakePool({{"a", 0}, {"b", 5}}), 50, text);  // goes to a
  world.Serve(MakePool({{"a", 5}, {"b", 0}}), 50, text);  // live: b; the shadow knows that a has it
  EXPECT_EQ(world.scheduler.ShadowDecision("prefix")->receipt.profiles[0].candidates[0].endpoint->name, "a");
  EXPECT_GT(world.scheduler.ShadowDecision("prefix")->receipt.profiles[0].candidates[0].matched_blocks, 0u);
}

TEST(Shadow, LimitsAndNames) {
  World world;
  EXPECT_EQ(world.scheduler.Put("a b", Config(kQueue)).error().code, Code::kInvalidArgument);
  for (size_t i = 0; i < Scheduler::kShadowsMax; ++i) {
    ASSERT_TRUE(world.scheduler.Put("s" + std::to_string(i), Config(kQueue)));
  }
  EXPECT_EQ(world.scheduler.Put("more", Config(kQueue)).error().code, Code::kInvalidArgument);
  EXPECT_TRUE(world.scheduler.Put("s0", Config(kBusiest)));  // in the place of the one there
  EXPECT_THAT(world.scheduler.Promote("s1x").error().message, HasSubstr("'s1'"));
  EXPECT_EQ(world.scheduler.Promote("configured").error().code, Code::kConflict);
}

TEST(Promote, ActsAndIsTakenBackWhenMeasuredTimesGetWorse) {
  World world;
  std::string said;
  world.scheduler.on_revert = [&](const std::string& line) { said = line; };
  ASSERT_TRUE(world.scheduler.Put("busiest", Config(kBusiest)));
  const auto pool = MakePool({{"idle", 0}, {"busy", 50}});
  for (int i = 0; i < 60; ++i) world.Serve(pool, 100 + i % 7);
  ASSERT_TRUE(world.scheduler.Promote("busiest"));
  EXPECT_EQ(world.scheduler.live_name(), "busiest");
  int until_reverted = 0;
  while (world.Serve(pool, 300 + until_reverted % 7) == "busy" && until_reverted < 500) ++until_reverted;
  EXPECT_EQ(until_reverted, static_cast<int>(PromotionGuard::kFirstLook));
  EXPECT_EQ(world.scheduler.live_name(), "configured");
  EXPECT_THAT(said, HasSubstr("'busiest' was taken back after 30 answers"));
  EXPECT_THAT(world.scheduler.Report().promotion, HasSubstr("times that of 'configured'"));
}

TEST(Promote, StaysWhenTimesAreNoWorse) {
  World world;
  ASSERT_TRUE(world.scheduler.Put("busiest", Config(kBusiest)));
  const auto pool = MakePool({{"idle", 0}, {"busy", 50}});
  for (int i = 0; i < 60; ++i) world.Serve(pool, 100 + i % 7);
  ASSERT_TRUE(world.scheduler.Promote("busiest"));
  for (int i = 0; i < 300; ++i) world.Serve(pool, 90 + i % 7);
  EXPECT_EQ(world.scheduler.live_name(), "busiest");
  EXPECT_THAT(world.scheduler.Report().promotion, HasSubstr("is kept"));
}

TEST(Promote, AnswersOfRequestsFromBeforeDoNotCount) {
  World world;
  ASSERT_TRUE(world.scheduler.Put("busiest", Config(kBusiest)));
  const auto pool = MakePool({{"idle", 0}, {"busy", 50}});
  for (int i = 0; i < 60; ++i) world.Serve(pool, 100 + i % 7);
  model::Request request = TextRequest("slow", "hello");
  request.streaming = true;
  std::vector<Scheduler::Flight> slow;
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(world.scheduler.Decide(request, pool).ok());
    slow.push_back(world.scheduler.Dispatch(request, pool));
  }
  ASSERT_TRUE(world.scheduler.Promote("busiest"));
  world.clock.Advance(std::chrono::seconds(30));
  for (Scheduler::Flight& flight : slow) {
    world.scheduler.OnFirstChunk(flight);
    world.scheduler.End(std::move(flight), {});
  }
  EXPECT_EQ(world.scheduler.live_name(), "busiest");
}

// The figure in shadow.h: how often chance alone takes a promotion back.
TEST(PromotionGuard, RarelyMistakesChanceForAWorsePolicy) {
  Rng rng(1);
  const auto sample = [&] { return std::exp(5 + 1.2 * (rng.Uniform() + rng.Uniform() + rng.Uniform() - 1.5)); };
  int reverted = 0;
  constexpr int kRuns = 2000;
  for (int run = 0; run < kRuns; ++run) {
    PromotionGuard guard;
    for (size_t i = 0; i < PromotionGuard::kWindow; ++i) guard.Measured(sample());
    guard.Begin();
    while (guard.verdict() == PromotionGuard::Verdict::kWatching) guard.Measured(sample());
    reverted += guard.verdict() == PromotionGuard::Verdict::kWorse;
  }
  EXPECT_LT(reverted, kRuns * 2 / 100);
}

TEST(PromotionGuard, WithoutABaselineItDoesNotJudge) {
  PromotionGuard guard;
  for (int i = 0; i < 5; ++i) guard.Measured(10);
  guard.Begin();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(guard.Measured(1000), PromotionGuard::Verdict::kUnguarded);
}

// A random life of a pool, with everything that a log must carry.
class RecordedLife {
 public:
  explicit RecordedLife(uint64_t bytes_max = uint64_t{1} << 30)
      : world_(
            "plugins:\n- type: queue-scorer\n- type: prefix-cache-scorer\n- type: no-hit-lru-scorer\n"
            "- type: active-request-scorer\n- type: kv-cache-utilization-scorer\n- type: weighted-random-picker\n"
            "schedulingProfiles:\n- name: default\n  plugins: [{pluginRef: queue-scorer}, {pluginRef: "
            "prefix-cache-scorer, weight: 3}, {pluginRef: no-hit-lru-scorer}, {pluginRef: active-request-scorer}, "
            "{pluginRef: kv-cache-utilization-scorer}, {pluginRef: weighted-random-picker}]\n",
            99) {
    EXPECT_TRUE(world_.scheduler.Put("alt", Config(kQueue)));
    world_.scheduler.SetLog(std::make_unique<DecisionLog>([this](std::string_view lines) { text_ += lines; }, 99,
                                                          /*secret=*/0x1234567, bytes_max));
    for (int i = 0; i < 12; ++i) endpoints_.push_back({"e" + std::to_string(i)});
  }

  std::string Live(int events) {
    Change();
    for (int i = 0; i < events; ++i) {
      world_.clock.Advance(milliseconds(1 + rng_.Below(40)));
      const uint64_t what = rng_.Below(10);
      if (what < 3) Change();
      if (what == 3 && !flights_.empty()) FirstOrEnd();
      if (what >= 4) Send();
      if (i == events / 2) EXPECT_TRUE(world_.scheduler.Promote("alt"));
      if (i == events * 3 / 4) {
        EXPECT_TRUE(world_.scheduler.Put("configured", Config("plugins:\n- type: load-aware-scorer\n"
                                                              "- type: prefix-cache-scorer\n")));
      }
    }
    while (!flights_.empty()) FirstOrEnd();
    return text_;
  }

 private:
  struct Open {
    Scheduler::Flight flight;
    bool first = false;
  };

  void Change() {
    if (rng_.Below(5) == 0 || members_version_ == 0) {
      ++members_version_;
      TestEndpoint& endpoint = endpoints_[rng_.Below(endpoints_.size())];
      ++endpoint.generation;
      endpoint.labels["rack"] = std::to_string(rng_.Below(3));
    }
    for (TestEndpoint& endpoint : endpoints_) {
      endpoint.waiting = static_cast<float>(rng_.Below(20));
      endpoint.kv_usage = static_cast<float>(rng_.Uniform());
      endpoint.in_rotation = rng_.Below(20) != 0;
    }
    pool_ = MakePool(endpoints_, members_version_);
    pool_.version = ++version_;
    for (TimePoint& at : pool_.scraped_at) at = world_.clock.Now();
    pool_.lora[0] = std::make_shared<const model::LoraState>(model::LoraState{{"ad\"apter"}, {}, 4});
    pool_.attributes = {{"gpu/x", std::vector<float>(pool_.size(), 0.1F)}};
    pool_.attributes[0].values[1] = NAN;
  }

  void Send() {
    text_of_requests_.push_back("secret system prompt " + std::to_string(rng_.Below(6)) + std::string(900, 'p') +
                                std::to_string(rng_.Below(1000)) + "é");
    model::Request request = TextRequest("r" + std::to_string(sent_++), text_of_requests_.back());
    request.prompts[0].media.push_back({model::Media::Kind::kImage, "https://example.com/a.png", 1});
    request.prompts.push_back({.text = {}, .tokens = {1, 2, 3}, .media = {}});
    request.streaming = rng_.Below(4) != 0;
    request.headers = {{"Authorization", "Bearer sk-very-secret"}, {"x-note", "a\tb"}};
    request.output_tokens_max = 50;
    if (rng_.Below(10) == 0) request.subset = {{"10.0.0.1", "10.0.0.2", "10.0.0.3"}};
    if (rng_.Below(10) == 0) request.excluded = {pool_.id(3)};
    const bool acting = rng_.Below(8) != 0;
    if (!world_.scheduler.Decide(request, pool_, acting).ok() || !acting) return;
    flights_.push_back({world_.scheduler.Dispatch(request, pool_)});
  }

  void FirstOrEnd() {
    const size_t i = rng_.Below(flights_.size());
    if (!flights_[i].first && rng_.Below(5) != 0) {
      world_.scheduler.OnFirstChunk(flights_[i].flight);
      flights_[i].first = true;
      return;
    }
    world_.scheduler.End(
        std::move(flights_[i].flight),
        {.failed = rng_.Below(6) == 0, .prompt_tokens = 300, .cached_tokens = 16, .output_tokens = 40});
    flights_.erase(flights_.begin() + static_cast<std::ptrdiff_t>(i));
  }

  World world_;
  Rng rng_{5};
  std::string text_;
  std::vector<TestEndpoint> endpoints_;
  model::PoolView pool_;
  uint64_t members_version_ = 0, version_ = 0;
  int sent_ = 0;
  std::deque<std::string> text_of_requests_;
  std::vector<Open> flights_;
};

Result<Replay::Outcome> ReplayOf(const std::string& log, std::string other = {}) {
  const Registry registry = BuiltinRegistry();
  Replay replay(registry, std::move(other), true);
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    if (const Status read = replay.Line(line); !read) return tl::unexpected(read.error());
  }
  return replay.Finish();
}

TEST(Replay, RepeatsARecordedLifeBitForBit) {
  const std::string log = RecordedLife().Live(1500);
  const auto outcome = ReplayOf(log);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_GT(outcome->decisions, 700u);
  for (const auto& unequal : outcome->unequal) {
    ADD_FAILURE() << unequal.request_id << ": " << unequal.recorded << " was recorded, " << unequal.other << " came";
  }
  EXPECT_EQ(outcome->equal, outcome->decisions);
}

TEST(Replay, SaysWhatAnotherConfigurationWouldChange) {
  const auto outcome = ReplayOf(RecordedLife().Live(400), ConfigOf("plugins:\n- type: random-picker\n"));
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->equal, outcome->decisions);
  EXPECT_FALSE(outcome->elsewhere.empty());
  const auto& shadows = outcome->shadows.shadows;
  const auto other = std::find_if(shadows.begin(), shadows.end(), [](const auto& s) { return s.name == "other"; });
  ASSERT_NE(other, shadows.end());
  EXPECT_GT(other->comparison.other_pick, other->comparison.requests / 2);
}

TEST(Replay, NoticesWhatDoesNotRepeat) {
  std::string log = RecordedLife().Live(200);
  const size_t at = log.find("\"waiting\"") != std::string::npos ? 0 : log.rfind("{\"t\":\"rows\"");
  const size_t number = log.find("[[", at) + 4;  // behind the row's number
  log[number] = log[number] == '9' ? '8' : '9';
  const auto outcome = ReplayOf(log);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_LT(outcome->equal, outcome->decisions);
  EXPECT_FALSE(outcome->unequal.empty());
}

TEST(DecisionLog, HasNeitherPromptsNorSecrets) {
  const std::string log = RecordedLife().Live(200);
  EXPECT_THAT(log, HasSubstr("x-note"));
  for (const char* text : {"secret system", "sk-very-secret", "ppppp", "7070707070"}) {
    EXPECT_EQ(log.find(text), std::string::npos) << text;
  }
}

TEST(DecisionLog, StopsAtItsLimitAndSaysSo) {
  const std::string log = RecordedLife(50'000).Live(400);
  EXPECT_LE(log.size(), 50'000u);
  const auto outcome = ReplayOf(log);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_TRUE(outcome->full);
  EXPECT_GT(outcome->decisions, 0u);
  EXPECT_EQ(outcome->equal, outcome->decisions);
}

TEST(DecisionLog, EqualTextStaysEqualAndKeepsItsLength) {
  EXPECT_EQ(Scramble("abcdefgh", 1).substr(0, 4), Scramble("abcdXXXX", 1).substr(0, 4));
  EXPECT_NE(Scramble("abcd", 1), Scramble("abcd", 2));
  for (size_t n = 0; n < 12; ++n) EXPECT_EQ(Scramble(std::string(n, 'x'), 3).size(), n);
}

TEST(Replay, RefusesWhatIsNoLog) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "JSON"},
      {"{}", "'t'"},
      {R"({"t":"rows","rows":[],"lora":[],"attributes":[]})", "does not begin with a policy"},
      {R"({"t":"log","version":2,"seed":"1"})", "version 2"},
      {R"({"t":"policy","lane":"configured","experimental":false,"config":"plugins: 3"})", "EndpointPickerConfig"},
      {R"({"t":"log","version":1})", "'seed'"},
  };
  for (const auto& [line, message] : cases) {
    const auto outcome = ReplayOf(line);
    ASSERT_FALSE(outcome) << line;
    EXPECT_THAT(outcome.error().message, HasSubstr(message)) << line;
  }
}

}  // namespace
}  // namespace sluice::schedule
