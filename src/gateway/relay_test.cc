// What a client sees of a stream's pieces as an engine sends them: each alone at once, bursts whole and in order, in
// every mix of both, over HTTP/1.1 and HTTP/2. An engine here waits until the client has what was sent, so an event
// that is held back until the next one comes would stop the test; how long anything takes does not matter.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "gateway/gateway.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace sluice::gateway {
namespace {

using runtime::AnyOf;
using runtime::Loop;
using runtime::Task;

constexpr Duration kPatience = std::chrono::seconds(20);
constexpr std::string_view kBody = R"({"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]})";

// What an engine sends, piece by piece. After a piece that is `awaited`, it waits until the client has all of it.
struct Piece {
  std::string bytes;
  bool awaited = false;
};

std::string Event(size_t n) { return "data: {\"n\":" + std::to_string(n) + "}\n\n"; }

enum class Over : uint8_t { kHttp1, kH2c };

class Pieces : public ::testing::TestWithParam<std::tuple<Over, Over>> {
 public:
  Pieces()
      : engine_(loop_, {}, [this](net::ServerExchange& exchange) { return Answer(exchange); }),
        client_(loop_, {}),
        seen_more_(loop_),
        scope_(loop_) {
    EXPECT_TRUE(engine_.Listen({"127.0.0.1", 0}));
    const net::Address& a = engine_.address();
    GatewayOptions options;
    options.listen = {"127.0.0.1", 0};
    serving::PoolOptions pool;
    pool.endpoints.push_back({.id = a.ToString(), .name = a.ToString(), .address = a.host, .port = a.port});
    if (std::get<1>(GetParam()) == Over::kH2c) pool.scheme = model::Scheme::kH2c;
    options.pools.push_back(std::move(pool));
    auto opened = Gateway::Open(loop_, std::move(options));
    EXPECT_TRUE(opened);
    gateway_ = std::move(*opened);
    EXPECT_TRUE(gateway_->Listen());
  }

  // The whole answer, as it reached the client.
  std::string Relayed(std::vector<Piece> pieces, std::string type = "text/event-stream") {
    pieces_ = std::move(pieces);
    type_ = std::move(type);
    scope_.Spawn(Ask(this));
    loop_.Run();
    loop_.Resume();
    return seen_;
  }
  static std::string Joined(const std::vector<Piece>& pieces) {
    std::string all;
    for (const Piece& piece : pieces) all += piece.bytes;
    return all;
  }

 private:
  Task<> Answer(net::ServerExchange& exchange) {
    const std::array<net::Header, 1> json = {net::Header{"content-type", "application/json"}};
    if (exchange.head().path() == "/v1/models") {
      co_await exchange.Respond(200, json, R"({"object":"list","data":[{"id":"m","object":"model"}]})");
      co_return;
    }
    if (exchange.head().path() == "/metrics") {
      co_await exchange.Respond(200, json, "vllm:num_requests_waiting 0\nvllm:num_requests_running 0\n");
      co_return;
    }
    const auto body = co_await exchange.ReadBody();
    EXPECT_TRUE(body);
    const std::array<net::Header, 1> headers = {net::Header{"content-type", type_}};
    exchange.Start(200, headers);
    runtime::Timer timer(loop_);
    timer.SetAfter(kPatience);
    size_t sent = 0;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const bool last = i + 1 == pieces_.size();
      exchange.Write(pieces_[i].bytes, last);
      sent += pieces_[i].bytes.size();
      if (exchange.blocked()) co_await exchange.Flush();
      while (pieces_[i].awaited && seen_.size() < sent) {
        seen_more_.Clear();
        const uint32_t ready = co_await AnyOf(seen_more_, timer);
        if ((ready & 1u) != 0) continue;
        ADD_FAILURE() << "piece " << i << " did not reach the client before the next: it has " << seen_.size() << " of "
                      << sent << " bytes";
        exchange.Abort();
        co_return;
      }
      EXPECT_LE(seen_.size(), sent) << "the client has more than was sent";
    }
  }

  static Task<> Ask(Pieces* t) {
    for (;;) {
      const auto ready =
          co_await t->client_.Fetch({.address = t->gateway_->address(), .target = "/ready"}, kPatience, 100);
      if (ready && ready->status == 200) break;
      co_await runtime::SleepFor(t->loop_, std::chrono::milliseconds(1));
    }
    t->seen_.clear();
    const net::ClientTransport h2c = net::ClientTransport::H2c();
    auto call = co_await t->client_.Start({.address = t->gateway_->address(),
                                           .method = "POST",
                                           .target = "/v1/chat/completions",
                                           .body = kBody,
                                           .transport = std::get<0>(GetParam()) == Over::kH2c ? &h2c : nullptr});
    EXPECT_TRUE(call);
    while (call && !call->done()) {
      co_await AnyOf(call->Readable());
      const net::ClientCall::Step step = call->Receive();
      EXPECT_FALSE(step.error) << step.error->message;
      if (step.error) break;
      t->seen_ += step.body;
      t->seen_more_.Set();
    }
    t->loop_.Stop();
  }

  Loop loop_;
  net::HttpServer engine_;
  net::HttpClient client_;
  std::unique_ptr<Gateway> gateway_;
  std::vector<Piece> pieces_;
  std::string type_;
  std::string seen_;
  runtime::Event seen_more_;
  runtime::TaskScope scope_;
};

TEST_P(Pieces, EachEventAloneArrivesBeforeTheNextIsSent) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < 300; ++i) pieces.push_back({Event(i), /*awaited=*/true});
  pieces.push_back({"data: [DONE]\n\n"});
  EXPECT_EQ(Relayed(pieces), Joined(pieces));
}

TEST_P(Pieces, ABurstArrivesWholeAndInOrder) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < 3000; ++i) pieces.push_back({Event(i)});
  pieces.push_back({"data: [DONE]\n\n"});
  EXPECT_EQ(Relayed(pieces), Joined(pieces));
}

TEST_P(Pieces, AnEventAfterABurstIsNotHeldBack) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < 1000; ++i) pieces.push_back({Event(i), /*awaited=*/i % 20 == 19 || i % 20 == 0});
  pieces.push_back({"data: [DONE]\n\n"});
  EXPECT_EQ(Relayed(pieces), Joined(pieces));
}

TEST_P(Pieces, HalfAnEventIsPassedOnToo) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < 100; ++i) {
    const std::string event = Event(i);
    const size_t cut = i % event.size();
    if (cut > 0) pieces.push_back({event.substr(0, cut), /*awaited=*/true});
    pieces.push_back({event.substr(cut), /*awaited=*/true});
  }
  pieces.push_back({"data: [DONE]\n\n"});
  EXPECT_EQ(Relayed(pieces), Joined(pieces));
}

TEST_P(Pieces, AnAnswerThatIsNoStreamToo) {
  std::vector<Piece> pieces = {{R"({"choices":[{"text":")", true}};
  for (size_t i = 0; i < 50; ++i) pieces.push_back({std::string(i * 997 % 5000 + 1, 'x'), /*awaited=*/i % 3 == 0});
  pieces.push_back({R"("}],"usage":{"prompt_tokens":3,"completion_tokens":4}})"});
  EXPECT_EQ(Relayed(pieces, "application/json"), Joined(pieces));
}

std::string Name(const ::testing::TestParamInfo<std::tuple<Over, Over>>& info) {
  const auto name = [](Over over) { return std::string(over == Over::kHttp1 ? "Http1" : "H2c"); };
  return "Client" + name(std::get<0>(info.param)) + "Endpoint" + name(std::get<1>(info.param));
}
INSTANTIATE_TEST_SUITE_P(, Pieces,
                         ::testing::Combine(::testing::Values(Over::kHttp1, Over::kH2c),
                                            ::testing::Values(Over::kHttp1, Over::kH2c)),
                         Name);

}  // namespace
}  // namespace sluice::gateway
