// The driver against a small server of our own on loopback, in one loop.
#include "loadgen/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

#include "loadgen/request.h"
#include "net/http_server.h"
#include "runtime/loop.h"

namespace sluice::loadgen {
namespace {

using net::Header;
using net::ServerExchange;
using runtime::AnyOf;
using runtime::Task;
using testing::HasSubstr;

// Answers like an engine; `fault` chooses how it misbehaves.
struct Engine {
  enum class Fault { kNone, kRefuse, kCut, kErrorEvent, kSilent, kEarlyClose };
  explicit Engine(runtime::Loop& loop)
      : server(loop, {}, [this](ServerExchange& exchange) { return Handle(exchange); }) {
    EXPECT_TRUE(server.Listen({"127.0.0.1", 0}).has_value());
  }
  std::string Url() const { return "http://" + server.address().ToString(); }

  Task<> Handle(ServerExchange& exchange) {
    if (exchange.head().path() == "/v1/models") {
      co_await exchange.Respond(200, {}, R"({"data":[{"id":"tiny"},{"id":"other"}]})");
      co_return;
    }
    const auto body = co_await exchange.ReadBody();
    if (!body) co_return;
    paths.insert(std::string(exchange.head().path()));
    authorization = std::string(exchange.head().headers.Get("authorization").value_or(""));
    bodies.push_back(nlohmann::json::parse(*body));
    most_at_once = std::max(most_at_once, ++at_once);
    co_await Answer(exchange);
    --at_once;
  }

  Task<> Answer(ServerExchange& exchange) {
    if (fault == Fault::kRefuse) {
      co_await exchange.Respond(429, {}, R"({"error":{"message":"the queue is full"}})");
      co_return;
    }
    while (fault == Fault::kSilent && !exchange.client_gone()) {
      co_await AnyOf(exchange.ClientReadable());
      exchange.ClientThere();
    }
    if (fault == Fault::kSilent) co_return;
    const std::array<Header, 2> headers = {Header{"content-type", "text/event-stream"},
                                           Header{"x-gateway-destination-endpoint-served", "10.0.0.9:8000"}};
    exchange.Start(200, headers);
    exchange.Write("data: {\"choices\":[{\"text\":\"one\"}]}\n\n");
    co_await runtime::SleepFor(exchange.ClientReadable().loop(), std::chrono::milliseconds(1));
    if (fault == Fault::kCut) {
      exchange.Write("", /*last=*/true);
      co_return;
    }
    if (fault == Fault::kEarlyClose) {
      exchange.Abort();
      co_return;
    }
    if (fault == Fault::kErrorEvent) exchange.Write("data: {\"error\":{\"message\":\"EngineDead\"}}\n\n");
    exchange.Write("data: {\"choices\":[{\"text\":\"two\",\"finish_reason\":\"length\"}]}\n\n");
    exchange.Write(
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2,"
        "\"prompt_tokens_details\":{\"cached_tokens\":5}}}\n\ndata: [DONE]\n\n",
        /*last=*/true);
  }

  Fault fault = Fault::kNone;
  std::set<std::string> paths;
  std::string authorization;
  std::vector<nlohmann::json> bodies;
  int at_once = 0;
  int most_at_once = 0;
  net::HttpServer server;
};

Task<> BenchAndStop(runtime::Loop& loop, BenchOptions options, ProgressSink progress, runtime::Source* stop,
                    std::optional<Result<Report>>& result) {
  result = co_await Bench(loop, std::move(options), std::move(progress), stop);
  loop.Stop();
}

struct Fixture {
  runtime::Loop loop;
  Engine engine{loop};
  runtime::Event stop{loop};

  BenchOptions Options() const {
    return {
        .url = engine.Url(),
        .workload = {.groups = 2, .prompts_per_group = 3, .prefix_tokens = 8, .question_tokens = 4, .output_tokens = 2},
        .arrival = {.concurrency = 3}};
  }
  Result<Report> Run(BenchOptions options, ProgressSink progress = {}) {
    std::optional<Result<Report>> result;
    runtime::TaskScope tasks(loop);
    tasks.Spawn(BenchAndStop(loop, std::move(options), std::move(progress), &stop, result));
    loop.Run();
    return std::move(*result);
  }
};

TEST(Bench, AClosedLoopSendsEveryPromptOnceAndCountsTheAnswers) {
  Fixture f;
  const auto report = f.Run(f.Options());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->options.model, "tiny") << "the first that /v1/models names";
  EXPECT_EQ(report->requests, 6u);
  EXPECT_EQ(report->completed, 6u);
  EXPECT_EQ(report->prompt_tokens, 60);
  EXPECT_EQ(report->output_tokens, 12);
  EXPECT_EQ(report->cached_tokens, 30);
  EXPECT_EQ(report->itl.count, 6u);
  EXPECT_GT(report->itl.p50, 0);
  EXPECT_GT(report->ttft.p50, 0);
  EXPECT_GE(report->e2e.p50, report->ttft.p50);
  ASSERT_EQ(report->endpoints.size(), 1u);
  EXPECT_EQ(report->endpoints[0].endpoint, "10.0.0.9:8000");
  EXPECT_EQ(f.engine.most_at_once, 3) << "three at a time";
  std::set<std::string> prompts;
  for (const auto& body : f.engine.bodies) {
    prompts.insert(body["prompt"]);
    EXPECT_EQ(body["model"], "tiny");
    EXPECT_EQ(body["max_tokens"], 2);
    EXPECT_EQ(body["stream"], true);
    EXPECT_EQ(body["stream_options"]["include_usage"], true);
    EXPECT_EQ(body["ignore_eos"], true);
  }
  EXPECT_EQ(prompts.size(), 6u);
  EXPECT_EQ(f.engine.paths, std::set<std::string>{"/v1/completions"});
  EXPECT_EQ(f.engine.authorization, "");
}

TEST(Bench, ChatSendsThePrefixAsSystemMessage) {
  Fixture f;
  BenchOptions options = f.Options();
  options.api = Api::kChat;
  options.api_key = "secret";
  options.ignore_eos = false;
  options.requests = 1;
  ASSERT_TRUE(f.Run(options).has_value());
  const auto& body = f.engine.bodies.at(0);
  EXPECT_EQ(body["messages"][0]["role"], "system");
  EXPECT_EQ(body["messages"][1]["role"], "user");
  EXPECT_FALSE(body.contains("ignore_eos"));
  EXPECT_EQ(f.engine.paths, std::set<std::string>{"/v1/chat/completions"});
  EXPECT_EQ(f.engine.authorization, "Bearer secret");
}

TEST(Bench, WarmUpRequestsAreSentAndNotCounted) {
  Fixture f;
  BenchOptions options = f.Options();
  options.warmup_requests = 4;
  options.requests = 5;
  std::vector<Progress> shown;
  const auto report = f.Run(options, [&shown](const Progress& p) { shown.push_back(p); });
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(f.engine.bodies.size(), 9u);
  EXPECT_EQ(report->requests, 5u);
  EXPECT_EQ(report->warmup, 4u);
  EXPECT_EQ(report->e2e.count, 5u);
  ASSERT_GE(shown.size(), 2u);
  EXPECT_TRUE(shown.front().warming_up);
  EXPECT_FALSE(shown.back().warming_up);
  EXPECT_EQ(shown.back().finished, 5);
  EXPECT_EQ(shown.back().requests, 5);
}

TEST(Bench, AnOpenLoopDoesNotWaitForAnswers) {
  Fixture f;
  f.engine.fault = Engine::Fault::kSilent;
  BenchOptions options = f.Options();
  options.arrival = {.kind = ArrivalKind::kConstant, .rate = 200};
  options.requests = 6;
  options.in_flight_max = 4;
  options.request_timeout = std::chrono::milliseconds(500);
  const auto report = f.Run(options);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(f.engine.most_at_once, 4);
  ASSERT_EQ(report->failures.size(), 2u);
  EXPECT_EQ(report->failures[0].failure, Failure::kTimeout);
  EXPECT_EQ(report->failures[0].count, 4u);
  EXPECT_EQ(report->failures[1].failure, Failure::kNotSent);
  EXPECT_EQ(report->failures[1].count, 2u);
}

TEST(Bench, PoissonEndsWithItsTime) {
  Fixture f;
  BenchOptions options = f.Options();
  options.arrival = {.kind = ArrivalKind::kPoisson, .rate = 400};
  options.duration = std::chrono::milliseconds(150);
  const auto report = f.Run(options);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_GT(report->requests, 25u);  // 60 expected
  EXPECT_LT(report->requests, 110u);
  EXPECT_EQ(report->completed, report->requests);
  EXPECT_EQ(report->late.count, report->requests);
}

TEST(Bench, AClosedLoopEndsWithItsTime) {
  Fixture f;
  BenchOptions options = f.Options();
  options.duration = std::chrono::milliseconds(60);
  const auto report = f.Run(options);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_GT(report->requests, 6u) << "more than one round of the six prompts";
  EXPECT_EQ(report->completed, report->requests);
}

Report WithFault(Engine::Fault fault) {
  Fixture f;
  f.engine.fault = fault;
  BenchOptions options = f.Options();
  options.requests = 2;
  options.request_timeout = std::chrono::milliseconds(200);
  auto report = f.Run(options);
  EXPECT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->completed, 0u);
  EXPECT_EQ(report->e2e.count, 0u);
  return *report;
}

TEST(Bench, EachFaultHasItsKind) {
  EXPECT_EQ(WithFault(Engine::Fault::kRefuse).failures.at(0).failure, Failure::kHttp429);
  EXPECT_EQ(WithFault(Engine::Fault::kRefuse).failures.at(0).example, "status 429: the queue is full");
  EXPECT_EQ(WithFault(Engine::Fault::kCut).failures.at(0).failure, Failure::kCut);
  EXPECT_EQ(WithFault(Engine::Fault::kEarlyClose).failures.at(0).failure, Failure::kCut);
  EXPECT_EQ(WithFault(Engine::Fault::kErrorEvent).failures.at(0).example, "EngineDead");
  EXPECT_EQ(WithFault(Engine::Fault::kSilent).failures.at(0).failure, Failure::kTimeout);
}

TEST(Bench, StoppingEndsRequestsUnderWayAndStillReports) {
  Fixture f;
  f.engine.fault = Engine::Fault::kSilent;
  BenchOptions options = f.Options();
  const auto report = f.Run(options, [&f](const Progress& p) {
    if (p.sent == 3) f.stop.Set();
  });
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(report->stopped);
  EXPECT_EQ(report->requests, 3u);
  EXPECT_EQ(report->failures.at(0).failure, Failure::kStopped);
}

TEST(Bench, NobodyListeningIsSaidOnceAndAtTheStart) {
  Fixture f;
  BenchOptions options = f.Options();
  auto probe = net::Listen(f.loop, {"127.0.0.1", 0});
  ASSERT_TRUE(probe.has_value());
  options.url = "http://" + net::LocalAddress((*probe)->fd()).ToString();
  probe->Reset();
  const auto report = f.Run(options);
  ASSERT_FALSE(report.has_value());
  EXPECT_THAT(report.error().message, HasSubstr("is the server up?"));
}

TEST(Bench, WrongOptionsAreRefused) {
  Fixture f;
  BenchOptions options = f.Options();
  options.url = "http://no-such-name:80";
  EXPECT_EQ(f.Run(options).error().param, "--url");
}

}  // namespace
}  // namespace sluice::loadgen
