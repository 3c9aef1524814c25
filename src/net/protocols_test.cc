// One handler behind every protocol: HTTP/1.1 and HTTP/2, in clear text and over TLS, the server and the client against
// each other over loopback sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <optional>
#include <string>

#include "net/http_client.h"
#include "net/http_server.h"
#include "net/tls_files.h"
#include "net/tls_fixture.h"

namespace sluice::net {
namespace {

using runtime::AnyOf;
using runtime::Loop;
using runtime::Task;
using ::testing::HasSubstr;

enum class Spoken : uint8_t { kHttp1, kH2c, kTlsHttp1, kTlsHttp2 };

std::string Name(const ::testing::TestParamInfo<Spoken>& info) {
  static constexpr std::array<const char*, 4> kNames = {"Http1", "H2c", "TlsHttp1", "TlsHttp2"};
  return kNames[static_cast<size_t>(info.param)];
}

struct Seen {
  int clients_gone = 0;
  size_t most_at_once = 0;
};

class Protocols : public ::testing::TestWithParam<Spoken> {
 public:
  bool encrypted() const { return GetParam() == Spoken::kTlsHttp1 || GetParam() == Spoken::kTlsHttp2; }
  bool http2() const { return GetParam() == Spoken::kH2c || GetParam() == Spoken::kTlsHttp2; }

  void Start(HttpServerOptions options = {}, bool reuse_port = false) {
    if (encrypted()) {
      auto opened = TlsFiles::Open(
          loop_, {.certificate_path = files_.certificate(), .key_path = files_.key(), .protocols = {"h2", "http/1.1"}},
          "net");
      ASSERT_TRUE(opened) << opened.error().message;
      tls_ = std::move(*opened);
      options.tls = &tls_->context();
      std::vector<std::string> protocols = {"http/1.1"};
      if (http2()) protocols.insert(protocols.begin(), "h2");
      auto context = TlsContext::MakeClient({.ca_path = files_.certificate(), .protocols = protocols});
      ASSERT_TRUE(context) << context.error().message;
      transport_.emplace(ClientTransport::Tls(std::move(*context), ""));
    } else if (http2()) {
      transport_.emplace(ClientTransport::H2c());
    }
    server_.emplace(loop_, std::move(options), [this](ServerExchange& exchange) { return Handle(exchange); });
    const Status listening = server_->Listen({"127.0.0.1", 0}, reuse_port);
    ASSERT_TRUE(listening) << listening.error().message;
    client_.emplace(loop_, HttpClient::Options{});
  }

  Task<> Handle(ServerExchange& exchange) {
    seen_.most_at_once = std::max(seen_.most_at_once, server_->active_requests());
    const std::string path(exchange.head().path());
    const std::array<Header, 2> headers = {Header{"content-type", "text/plain"}, Header{"Connection", "x"}};
    if (path == "/echo") {
      auto body = co_await exchange.ReadBody();
      if (!body) {
        co_await exchange.RespondError(body.error());
        co_return;
      }
      co_await exchange.Respond(200, std::span(headers).first(1), *body);
    } else if (path == "/big") {
      exchange.Start(200, std::span(headers).first(1));
      const std::string block(200'000, 'x');
      for (int i = 0; i < 50 && !exchange.client_gone(); ++i) {
        exchange.Write(block, i == 49);
        if (exchange.blocked()) co_await exchange.Flush();
      }
    } else if (path == "/break") {
      exchange.Start(200, std::span(headers).first(1));
      exchange.Write("half");
      co_await runtime::SleepFor(loop_, std::chrono::milliseconds(5));
      exchange.Abort();
    } else if (path == "/wait") {  // until the client leaves
      while (!exchange.client_gone()) {
        co_await AnyOf(exchange.ClientReadable());
        exchange.ClientThere();
      }
      ++seen_.clients_gone;
    } else if (path == "/together") {  // when 50 are under way
      while (server_->active_requests() < 50 && seen_.most_at_once < 50) {
        co_await runtime::SleepFor(loop_, std::chrono::milliseconds(1));
      }
      co_await exchange.Respond(200, std::span(headers).first(1), "slow");
    } else if (path == "/slow") {
      co_await runtime::SleepFor(loop_, std::chrono::milliseconds(30));
      co_await exchange.Respond(200, std::span(headers).first(1), "slow");
    }
  }

  ClientRequest To(std::string_view target, std::string_view method = "GET", std::string_view body = {}) {
    return {.address = server_->address(),
            .method = method,
            .target = target,
            .body = body,
            .transport = transport_ ? &*transport_ : nullptr};
  }
  Result<FetchResponse> Fetch(const ClientRequest& request) {
    Result<FetchResponse> out = Fail(Code::kInternal, "not run");
    Run([](Protocols* t, ClientRequest r, Result<FetchResponse>* to) -> Task<> {
      *to = co_await t->client_->Fetch(r, std::chrono::seconds(10), 64 << 20);
      t->loop_.Stop();
    }(this, request, &out));
    return out;
  }
  void Run(Task<> task) {
    loop_.Resume();
    loop_.Spawn(std::move(task));
    loop_.Run();
  }

  TlsFixture files_;
  Loop loop_;
  Seen seen_;
  std::unique_ptr<TlsFiles> tls_;
  std::optional<ClientTransport> transport_;
  std::optional<HttpServer> server_;
  std::optional<HttpClient> client_;
};

TEST_P(Protocols, EchoAndItsHeaders) {
  Start();
  for (const std::string_view body : {"hello", ""}) {
    const auto response = Fetch(To("/echo", "POST", body));
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->body, body);
    EXPECT_TRUE(response->headers.Get("date"));
    EXPECT_EQ(response->headers.Get("content-length"), std::to_string(body.size()));
  }
  EXPECT_EQ(server_->connections(), 1u) << "it is kept";
  EXPECT_EQ(client_->http2_connections(), http2() ? 1u : 0u);
  const auto head = Fetch(To("/echo", "HEAD"));
  ASSERT_TRUE(head) << head.error().message;
  EXPECT_EQ(head->body, "");
}

TEST_P(Protocols, LargeBodiesGoBothWays) {
  Start();
  std::string body(5'000'000, 'q');
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 23);
  const auto response = Fetch(To("/echo", "POST", body));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, body);
  const auto big = Fetch(To("/big"));
  ASSERT_TRUE(big) << big.error().message;
  EXPECT_EQ(big->body, std::string(10'000'000, 'x'));
}

TEST_P(Protocols, ABrokenAnswerIsAnErrorNotAnEnd) {
  Start();
  const auto response = Fetch(To("/break"));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kBadGateway);
  EXPECT_EQ(Fetch(To("/nothing"))->status, 500) << "a handler that does not answer";
}

TEST_P(Protocols, BodiesOverTheLimitAreRefused) {
  Start({.body_bytes_max = 1000});
  const auto response = Fetch(To("/echo", "POST", std::string(1001, 'x')));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 413);
}

TEST_P(Protocols, ACallThatIsDroppedFreesTheHandler) {
  Start();
  Run([](Protocols* t) -> Task<> {
    {
      auto call = co_await t->client_->Start(t->To("/wait"));
      EXPECT_TRUE(call.has_value());
      while (t->server_->active_requests() == 0) co_await runtime::SleepFor(t->loop_, std::chrono::milliseconds(1));
    }
    while (t->server_->active_requests() != 0) co_await runtime::SleepFor(t->loop_, std::chrono::milliseconds(1));
    t->loop_.Stop();
  }(this));
  EXPECT_EQ(seen_.clients_gone, 1);
}

Task<> FetchOne(HttpClient* client, ClientRequest request, int* ok, int* left, Loop* loop) {
  const auto response = co_await client->Fetch(request, std::chrono::seconds(10), 1000);
  if (response && response->body == "slow") ++*ok;
  if (--*left == 0) loop->Stop();
}

TEST_P(Protocols, ManyAtOnce) {
  Start();
  int ok = 0, left = 50;
  for (int i = 0; i < 50; ++i) loop_.Spawn(FetchOne(&*client_, To("/together"), &ok, &left, &loop_));
  loop_.Run();
  EXPECT_EQ(ok, 50);
  EXPECT_EQ(seen_.most_at_once, 50u);
  EXPECT_EQ(server_->connections(), http2() ? 1u : 50u);
}

TEST_P(Protocols, DrainLetsRunningRequestsFinish) {
  Start();
  int ok = 0, left = 9;
  for (int i = 0; i < 8; ++i) loop_.Spawn(FetchOne(&*client_, To("/slow"), &ok, &left, &loop_));
  loop_.Spawn([](Protocols* t, int* to_go) -> Task<> {
    while (t->server_->active_requests() < 8) co_await runtime::SleepFor(t->loop_, std::chrono::milliseconds(1));
    EXPECT_EQ(co_await t->server_->Drain(std::chrono::seconds(5)), 0u);
    if (--*to_go == 0) t->loop_.Stop();
  }(this, &left));
  loop_.Run();
  EXPECT_EQ(ok, 8);
  EXPECT_EQ(server_->connections(), 0u);
}

struct Tally {
  int good = 0, bad = 0, after = 0;
  bool stop = false;
};

// One call after the other, on connections that others use too, or each on a new one. None is sent twice but one of
// which nothing had left when its HTTP/2 connection heard GOAWAY, as Fetch() does.
Task<> Ask(Protocols* t, bool fresh, Tally* tally) {
  while (!tally->stop) {
    ClientRequest request = t->To("/slow");
    request.fresh = fresh;
    auto call = co_await t->client_->Start(request);
    bool ok = call.has_value();
    while (ok && !call->done()) {
      co_await AnyOf(call->Readable());
      ok = !call->Receive().error;
    }
    if (!ok && t->http2() && call && call->reused() && call->received_nothing()) continue;
    ++(ok ? tally->good : tally->bad);
  }
}

TEST_P(Protocols, APortIsHandedOverWithStreamsInFlight) {
  Start({}, /*reuse_port=*/true);
  Tally tally;
  HttpServerOptions options;
  options.tls = tls_ ? &tls_->context() : nullptr;
  HttpServer next(loop_, options, [this, &tally](ServerExchange& exchange) -> Task<> {
    ++tally.after;
    return Handle(exchange);
  });
  for (int i = 0; i < 6; ++i) loop_.Spawn(Ask(this, /*fresh=*/i < 2, &tally));
  loop_.Spawn([](Protocols* t, HttpServer* follower, Tally* n) -> Task<> {
    while (n->good < 20) co_await runtime::SleepFor(t->loop_, std::chrono::milliseconds(1));
    EXPECT_TRUE(follower->Listen(t->server_->address(), /*reuse_port=*/true));
    EXPECT_EQ(co_await t->server_->Drain(std::chrono::seconds(10)), 0u);
    EXPECT_EQ(t->server_->connections(), 0u);
    const int then = n->good;
    while (n->good + n->bad < then + 40) co_await runtime::SleepFor(t->loop_, std::chrono::milliseconds(1));
    n->stop = true;
    while (t->server_->active_requests() + follower->active_requests() > 0) {
      co_await runtime::SleepFor(t->loop_, std::chrono::milliseconds(1));
    }
    t->loop_.Stop();
  }(this, &next, &tally));
  loop_.Run();
  EXPECT_EQ(tally.bad, 0);
  EXPECT_GE(tally.after, 40);
}

TEST_P(Protocols, ASlowReaderHoldsUpOnlyItself) {
  Start();
  Run([](Protocols* t) -> Task<> {
    auto slow = co_await t->client_->Start(t->To("/big"));  // and nothing of it is read
    EXPECT_TRUE(slow.has_value());
    const auto other = co_await t->client_->Fetch(t->To("/slow"), std::chrono::seconds(5), 1000);
    EXPECT_TRUE(other.has_value());
    size_t bytes = 0;
    while (!slow->done()) {
      co_await AnyOf(slow->Readable());
      const ClientCall::Step step = slow->Receive();
      EXPECT_FALSE(step.error);
      if (step.error) break;
      bytes += step.body.size();
    }
    EXPECT_EQ(bytes, 10'000'000u);
    t->loop_.Stop();
  }(this));
}

INSTANTIATE_TEST_SUITE_P(, Protocols,
                         ::testing::Values(Spoken::kHttp1, Spoken::kH2c, Spoken::kTlsHttp1, Spoken::kTlsHttp2), Name);

class Certificates : public Protocols {};

TEST_P(Certificates, NewFilesAreUsedWithoutADropAndAWrongPairIsNot) {
  Start();
  ASSERT_TRUE(Fetch(To("/echo", "POST", "x")));
  files_.Write("second", /*with_key=*/false);
  tls_->Look();  // does not fit: the former one stays
  EXPECT_TRUE(Fetch(To("/echo", "POST", "x"))) << "the connection of before";
  ClientRequest fresh = To("/echo", "POST", "x");
  fresh.fresh = true;
  EXPECT_TRUE(Fetch(fresh)) << "a new one, with the former certificate";

  files_.Write("third");
  tls_->Look();
  EXPECT_TRUE(Fetch(To("/echo", "POST", "x"))) << "the connection of before";
  const auto refused = Fetch(fresh);  // the client trusts the first certificate only
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("the certificate is not believed: "));
  auto context = TlsContext::MakeClient({.ca_path = files_.certificate()});
  const ClientTransport trusting = ClientTransport::Tls(std::move(*context), "localhost");
  fresh.transport = &trusting;
  EXPECT_TRUE(Fetch(fresh));
}

TEST_P(Certificates, TheNameMustFitUnlessNothingIsVerified) {
  Start();
  auto context = TlsContext::MakeClient({.ca_path = files_.certificate()});
  const ClientTransport other = ClientTransport::Tls(std::move(*context), "other.example.com");
  ClientRequest request = To("/echo", "POST", "x");
  request.transport = &other;
  const auto refused = Fetch(request);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("name"));
  auto blind = TlsContext::MakeClient({.verify = false});
  const ClientTransport unverified = ClientTransport::Tls(std::move(*blind), "other.example.com");
  request.transport = &unverified;
  EXPECT_TRUE(Fetch(request));
}

TEST_P(Certificates, ClearTextIsAnsweredInClearTextAndGarbageWithAnAlert) {
  Start();
  ClientRequest request = To("/echo", "POST", "x");
  request.transport = nullptr;
  const auto response = Fetch(request);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 400);
  EXPECT_THAT(response->body, HasSubstr("https://"));
  std::string answer;
  Run([](Protocols* t, Address address, std::string* out) -> Task<> {
    auto descriptor = co_await Connect(t->loop_, address, std::chrono::seconds(1), nullptr);
    std::array<std::string_view, 1> parts = {std::string_view("\x16\x03\x01\x00\x05garbage that is no hello", 28)};
    SendParts((*descriptor)->fd(), parts);
    std::array<char, 4096> buffer;
    for (;;) {
      co_await AnyOf((*descriptor)->readable);
      const IoResult io = Receive((*descriptor)->fd(), buffer);
      if (io.state == IoState::kClosed) break;
      out->append(buffer.data(), io.bytes);
    }
    t->loop_.Stop();
  }(this, server_->address(), &answer));
  ASSERT_FALSE(answer.empty());
  EXPECT_EQ(answer[0], 0x15) << "an alert";
}

TEST_P(Certificates, ATlsClientOnAClearTextPortIsToldInTime) {
  Start();
  HttpServer clear(loop_, {}, [this](ServerExchange& exchange) { return Handle(exchange); });
  ASSERT_TRUE(clear.Listen({"127.0.0.1", 0}));
  ClientRequest request = To("/echo", "POST", "x");
  request.address = clear.address();
  const auto refused = Fetch(request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
}

INSTANTIATE_TEST_SUITE_P(, Certificates, ::testing::Values(Spoken::kTlsHttp1, Spoken::kTlsHttp2), Name);

}  // namespace
}  // namespace sluice::net
