// The HTTP server and client against each other and against raw bytes, over loopback sockets on free ports.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

#include "base/text.h"
#include "net/http_client.h"
#include "net/http_server.h"

namespace sluice::net {
namespace {

using runtime::AnyOf;
using runtime::Loop;
using runtime::Task;

TEST(Address, ParsesLiteralsAndSaysWhatIsWrong) {
  EXPECT_EQ(Address::Parse("127.0.0.1:80")->port, 80);
  EXPECT_EQ(Address::Parse("[::1]:81")->host, "::1");
  EXPECT_EQ(Address::Parse("[::1]:81")->ToString(), "[::1]:81");
  for (const char* bad : {"", "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:65536", "::1:80", "example:80"}) {
    EXPECT_FALSE(Address::Parse(bad)) << bad;
  }
}

TEST(HeaderList, PiecesJoinAndEmptyValuesDoNotMergeNeighbours) {
  HeaderList list;
  list.NameAt(0, 2);
  list.AppendText("X-");
  list.NameAt(2, 3);
  list.BeginValue();
  list.NameAt(8, 3);
  list.BeginValue();
  list.ValueAt(13, 1);
  list.AppendText("One:\r\nTwo: a");
  list.ValueAt(14, 1);
  list.AppendText("b\r\n\r\n");
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list.Get("x-one"), "");
  EXPECT_EQ(list.Get("TWO"), "ab");
  EXPECT_EQ(list.Get("three"), std::nullopt);
}

TEST(HttpParser, AHeadIsTheSameWhereverItIsCut) {
  const std::string head = "POST /v1/x?y=1 HTTP/1.1\r\nHost:  a b \r\nempty:\r\nX-Long-Name: one,\ttwo\r\n\r\n";
  for (size_t first = 0; first <= head.size(); ++first) {
    for (const size_t step : {size_t{1}, size_t{7}, head.size()}) {
      HttpParser parser(HttpParser::Kind::kRequest, {});
      std::vector<std::string_view> body;
      for (size_t at = 0; at < head.size();) {
        std::string piece = head.substr(at, at < first ? first - at : step);  // gone after it was fed
        ASSERT_EQ(parser.Feed(piece, body).value_or(0), piece.size());
        at += piece.size();
      }
      ASSERT_TRUE(parser.head_done());
      EXPECT_EQ(parser.head().target, "/v1/x?y=1");
      ASSERT_EQ(parser.head().headers.size(), 3u);
      EXPECT_EQ(TrimSpace(*parser.head().headers.Get("host")), "a b");
      EXPECT_EQ(parser.head().headers.Get("empty"), "");
      EXPECT_EQ(parser.head().headers.Get("x-long-name"), "one,\ttwo");
    }
  }
}

TEST(HttpParser, BlanksWithoutEndAreTooMuchOfAHead) {
  HttpParser parser(HttpParser::Kind::kRequest, {.head_bytes_max = 1000});
  std::vector<std::string_view> body;
  EXPECT_TRUE(parser.Feed("GET / HTTP/1.1\r\nx:", body));
  Result<size_t> fed = 0;
  for (int i = 0; i < 20 && fed; ++i) fed = parser.Feed(std::string(100, ' '), body);
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, Code::kHeadersTooLarge);
}

// A server whose handler is chosen by path, on a free port.
Task<> Handle(ServerExchange& exchange) {
  const std::string path(exchange.head().path());
  const std::array<Header, 1> headers = {Header{"content-type", "text/plain"}};
  if (path == "/echo") {
    auto body = co_await exchange.ReadBody();
    if (!body) {
      co_await exchange.RespondError(body.error());
      co_return;
    }
    co_await exchange.Respond(200, headers, *body);
  } else if (path == "/stream") {
    exchange.Start(200, headers);
    for (int i = 0; i < 5; ++i) {
      exchange.Write("piece" + std::to_string(i) + ";");
      if (exchange.blocked()) co_await exchange.Flush();
      co_await runtime::SleepFor(exchange.ClientReadable().loop(), std::chrono::milliseconds(1));
    }
    exchange.Write("", /*last=*/true);
  } else if (path == "/big") {
    exchange.Start(200, headers);
    const std::string block(200'000, 'x');
    for (int i = 0; i < 50 && !exchange.client_gone(); ++i) {
      exchange.Write(block, i == 49);
      if (exchange.blocked()) co_await exchange.Flush();
    }
  } else if (path == "/break") {
    exchange.Start(200, headers);
    exchange.Write("half");
    exchange.Abort();
  } else if (path == "/wait") {  // until the client leaves
    while (!exchange.client_gone()) {
      co_await AnyOf(exchange.ClientReadable());
      exchange.ClientThere();
    }
  }
}

struct Fixture {
  Loop loop;
  HttpServer server;
  HttpClient client;
  explicit Fixture(HttpServerOptions options = {}) : server(loop, std::move(options), &Handle), client(loop, {}) {
    const Status status = server.Listen({"127.0.0.1", 0});
    EXPECT_TRUE(status) << status.error().message;
  }
};

Task<> FetchAndStop(Fixture* f, ClientRequest request, Result<FetchResponse>* out) {
  *out = co_await f->client.Fetch(request, std::chrono::seconds(5), 64 << 20);
  f->loop.Stop();
}

Result<FetchResponse> Fetch(Fixture& f, std::string_view method, std::string_view target, std::string_view body = {}) {
  Result<FetchResponse> out = Fail(Code::kInternal, "not run");
  f.loop.Spawn(
      FetchAndStop(&f, {.address = f.server.address(), .method = method, .target = target, .body = body}, &out));
  f.loop.Run();
  return out;
}

TEST(Http, EchoesABody) {
  Fixture f;
  const auto response = Fetch(f, "POST", "/echo", "hello");
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "hello");
  EXPECT_TRUE(response->headers.Get("date"));
}

TEST(Http, LargeBodiesGoBothWays) {
  Fixture f;
  const std::string body(5'000'000, 'q');
  const auto response = Fetch(f, "POST", "/echo", body);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, body);
  Fixture g;
  const auto big = Fetch(g, "GET", "/big");
  ASSERT_TRUE(big) << big.error().message;
  EXPECT_EQ(big->body.size(), 10'000'000u);
}

TEST(Http, StreamsInChunks) {
  Fixture f;
  const auto response = Fetch(f, "GET", "/stream");
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, "piece0;piece1;piece2;piece3;piece4;");
  EXPECT_EQ(response->headers.Get("transfer-encoding"), "chunked");
}

Task<> FetchMany(Fixture* f, int n, int* ok) {
  for (int i = 0; i < n; ++i) {
    const ClientRequest request{.address = f->server.address(), .method = "POST", .target = "/echo", .body = "x"};
    const auto response = co_await f->client.Fetch(request, std::chrono::seconds(5), 1000);
    if (response && response->body == "x") ++*ok;
  }
  f->loop.Stop();
}

TEST(Http, ConnectionsAreKeptAliveAndReused) {
  Fixture f;
  int ok = 0;
  f.loop.Spawn(FetchMany(&f, 20, &ok));
  f.loop.Run();
  EXPECT_EQ(ok, 20);
  EXPECT_EQ(f.client.idle_connections(), 1u);
  EXPECT_EQ(f.server.connections(), 1u);
}

TEST(Http, ABrokenStreamIsAnErrorNotAnEnd) {
  Fixture f;
  const auto response = Fetch(f, "GET", "/break");
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kBadGateway);
}

TEST(Http, AHandlerThatDoesNotAnswerIsA500) {
  Fixture f;
  const auto response = Fetch(f, "GET", "/nothing");
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 500);
}

TEST(Http, NobodyListeningIsUnavailable) {
  Fixture f;
  Result<FetchResponse> out = Fail(Code::kInternal, "");
  // A port that was free a moment ago.
  auto probe = Listen(f.loop, {"127.0.0.1", 0});
  const Address address = LocalAddress((*probe)->fd());
  probe->Reset();
  f.loop.Spawn(FetchAndStop(&f, {.address = address}, &out));
  f.loop.Run();
  ASSERT_FALSE(out);
  EXPECT_EQ(out.error().code, Code::kUnavailable);
}

TEST(Http, ATakenPortSaysSo) {
  Fixture f;
  const Status status = f.server.Listen(f.server.address());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kConflict);
  EXPECT_NE(status.error().message.find("taken"), std::string::npos);
}

// Raw clients: what they send, and everything the server answers until it closes.
Task<> RawExchange(Fixture* f, std::string bytes, bool half_close, std::string* answer) {
  auto descriptor = co_await Connect(f->loop, f->server.address(), std::chrono::seconds(1), nullptr);
  if (descriptor) {
    std::array<std::string_view, 1> parts = {bytes};
    SendParts((*descriptor)->fd(), parts);
    if (half_close) shutdown((*descriptor)->fd(), SHUT_WR);
    runtime::Timer timer(f->loop);
    timer.SetAfter(std::chrono::seconds(5));
    for (;;) {
      const uint32_t ready = co_await AnyOf((*descriptor)->readable, timer);
      if ((ready & 1u) == 0) {
        answer->append("[timed out]");
        break;
      }
      std::array<char, 4096> buffer;
      const IoResult io = Receive((*descriptor)->fd(), buffer);
      if (io.state == IoState::kClosed) break;
      answer->append(buffer.data(), io.bytes);
    }
  }
  f->loop.Stop();
}

std::string Raw(const std::string& bytes, HttpServerOptions options = {}, bool half_close = false) {
  Fixture f(std::move(options));
  std::string answer;
  f.loop.Spawn(RawExchange(&f, bytes, half_close, &answer));
  f.loop.Run();
  return answer;
}

TEST(HttpBadInput, EachGetsItsAnswerAndTheConnectionEnds) {
  EXPECT_TRUE(Raw("GARBAGE\r\n\r\n").starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(Raw("GET / HTTP/1.1\nhost: x\n\n").starts_with("HTTP/1.1 400")) << "bare LF";
  EXPECT_TRUE(Raw("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
                  .starts_with("HTTP/1.1 400"))
      << "both framings";
  EXPECT_TRUE(Raw("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd")
                  .starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(Raw("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n").starts_with("HTTP/1.1 400")) << "obs-fold";
  EXPECT_TRUE(Raw("GET / HTTP/1.1\r\nx: " + std::string(70'000, 'a') + "\r\n\r\n").starts_with("HTTP/1.1 431"));
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 300; ++i) many += "h" + std::to_string(i) + ": v\r\n";
  EXPECT_TRUE(Raw(many + "\r\n").starts_with("HTTP/1.1 431"));
}

TEST(HttpBadInput, BodiesOverTheLimit) {
  HttpServerOptions options;
  options.body_bytes_max = 10;
  EXPECT_TRUE(Raw("POST /echo HTTP/1.1\r\ncontent-length: 11\r\n\r\nhello world", options).starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(Raw("POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n", options)
                  .starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(Raw("POST /echo HTTP/1.1\r\nconnection: close\r\ncontent-length: 10\r\n\r\n0123456789", options)
                  .starts_with("HTTP/1.1 200"));
}

TEST(HttpBadInput, SlowClientsAreEnded) {
  HttpServerOptions options;
  options.head_timeout = std::chrono::milliseconds(30);
  options.body_timeout = std::chrono::milliseconds(30);
  EXPECT_TRUE(Raw("GET / HT", options).starts_with("HTTP/1.1 408"));
  EXPECT_TRUE(Raw("POST /echo HTTP/1.1\r\ncontent-length: 11\r\n\r\nhello", options).starts_with("HTTP/1.1 408"));
  options.idle_timeout = std::chrono::milliseconds(30);
  EXPECT_EQ(Raw("", options), "");
}

TEST(HttpBadInput, AHalfClosedClientIsGone) {
  const std::string answer = Raw("GET /wait HTTP/1.1\r\n\r\n", {}, /*half_close=*/true);
  EXPECT_EQ(answer, "");
}

TEST(Http, PipelinedRequestsAreAnsweredInOrder) {
  const std::string answer =
      Raw("POST /echo HTTP/1.1\r\ncontent-length: 1\r\n\r\nA"
          "POST /echo HTTP/1.1\r\ncontent-length: 1\r\nconnection: close\r\n\r\nB");
  const size_t a = answer.find("\r\n\r\nA");
  ASSERT_NE(a, std::string::npos) << answer;
  EXPECT_NE(answer.find("\r\n\r\nB", a), std::string::npos) << answer;
}

// Who shares a connection would send the next request on it otherwise, and lose it.
TEST(Http, AnAnswerSaysWhetherItsConnectionEnds) {
  const std::string ends = "\r\nconnection: close\r\n";
  EXPECT_NE(Raw("POST /echo HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").find(ends), std::string::npos);
  EXPECT_NE(Raw("POST /echo HTTP/1.0\r\ncontent-length: 0\r\n\r\n").find(ends), std::string::npos);
  EXPECT_EQ(Raw("POST /echo HTTP/1.1\r\ncontent-length: 0\r\n\r\n", {}, true).find("\r\nconnection:"),
            std::string::npos);
  const std::string kept = Raw("POST /echo HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", {}, true);
  EXPECT_NE(kept.find("\r\nconnection: keep-alive\r\n"), std::string::npos) << kept;
}

TEST(Http, ExpectContinueIsAnswered) {
  const std::string answer =
      Raw("POST /echo HTTP/1.1\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n", {}, true);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\n")) << answer;
}

TEST(Http, OldClientsGetACloseDelimitedStream) {
  const std::string answer = Raw("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_EQ(answer.find("chunked"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("piece4;")) << answer;
}

TEST(Http, HeadHasNoBody) {
  const std::string answer = Raw("HEAD /echo HTTP/1.1\r\nconnection: close\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

Task<> DrainThenStop(Fixture* f, size_t* cut) {
  *cut = co_await f->server.Drain(std::chrono::seconds(5));
  f->loop.Stop();
}

Task<> FetchOnly(Fixture* f, std::string target, Result<FetchResponse>* out) {
  *out = co_await f->client.Fetch({.address = f->server.address(), .target = target}, std::chrono::seconds(5), 1 << 20);
}

TEST(Http, DrainLetsRunningRequestsFinish) {
  Fixture f;
  Result<FetchResponse> out = Fail(Code::kInternal, "not run");
  size_t cut = 99;
  f.loop.Spawn(FetchOnly(&f, "/stream", &out));
  // The drain begins once the request is under way.
  struct Watch {
    static Task<> UntilActive(Fixture* fixture, size_t* cut_out) {
      while (fixture->server.active_requests() == 0) {
        co_await runtime::SleepFor(fixture->loop, std::chrono::microseconds(100));
      }
      co_await DrainThenStop(fixture, cut_out);
    }
  };
  f.loop.Spawn(Watch::UntilActive(&f, &cut));
  f.loop.Run();
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ(out->body, "piece0;piece1;piece2;piece3;piece4;");
  EXPECT_EQ(cut, 0u);
}

TEST(HttpBadInput, ShapesThatSmuggleRequests) {
  const std::string post = "POST /echo HTTP/1.1\r\nhost: x\r\n";
  const std::string chunks = "\r\n\r\n1\r\na\r\n0\r\n\r\n";
  for (const std::string& bytes : {
           post + "transfer-encoding: xchunked" + chunks,
           post + "transfer-encoding: chunked, identity" + chunks,
           post + "transfer-encoding: chunked\r\ncontent-length: 6" + chunks,
           post + "transfer-encoding : chunked" + chunks,
           post +
               "transfer-encoding:\x0b"
               "chunked" +
               chunks,
           post + "content-length : 1\r\n\r\na",
           post + "content-length: +1\r\n\r\na",
           post + "content-length: 0x1\r\n\r\na",
           post + "content-length: 1, 1\r\n\r\na",
           post + "content-length: 99999999999999999999\r\n\r\na",
           post + "content-length: 1\r\ncontent-length: 1\r\n\r\na",
           post + "x: a\rb: c\r\n\r\n",
           post + std::string("x: a\0b\r\n\r\n", 9),
           post + "transfer-encoding: chunked\r\n\r\n1;\nx\r\na\r\n0\r\n\r\n",
           post + "transfer-encoding: chunked\r\n\r\n1\na\n0\n\n",
           post + "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n",
       }) {
    const std::string answer = Raw(bytes + "GET /smuggled HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << bytes << "\n-> " << answer;
    EXPECT_EQ(answer.find("HTTP/1.1", 1), std::string::npos) << "one answer and the end: " << bytes << answer;
  }
}

TEST(HttpBadInput, ChunksOfOneByteAndTrailers) {
  std::string bytes = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
  for (int i = 0; i < 3000; ++i) bytes += "1\r\nz\r\n";
  bytes += "0\r\nx-sum: 7\r\nx-other: 5\r\n\r\n";
  bytes += "POST /echo HTTP/1.1\r\nconnection: close\r\ncontent-length: 4\r\n\r\nnext";
  const std::string answer = Raw(bytes);
  EXPECT_NE(answer.find("\r\n\r\n" + std::string(3000, 'z') + "HTTP/1.1 200"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\nnext")) << "trailers are not headers of what follows";
  EXPECT_TRUE(Raw("POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 5\r\n\r\nhello")
                  .starts_with("HTTP/1.1 400"))
      << "a trailer that would frame";
  std::string endless = "POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
  for (int i = 0; i < 300; ++i) endless += "t" + std::to_string(i) + ": " + std::string(1000, 'v') + "\r\n";
  HttpServerOptions options;
  options.body_timeout = std::chrono::milliseconds(50);
  EXPECT_TRUE(Raw(endless, options).starts_with("HTTP/1.1 4")) << "no end, or too many";
}

TEST(Http, AnUpgradeIsNotTaken) {
  const std::string upgrade = "connection: upgrade, close\r\nupgrade: websocket\r\n";
  const std::string get = Raw("GET /stream HTTP/1.1\r\n" + upgrade + "\r\n");
  EXPECT_TRUE(get.starts_with("HTTP/1.1 200")) << get;
  const std::string post = Raw("POST /echo HTTP/1.1\r\n" + upgrade + "content-length: 2\r\n\r\nhi");
  EXPECT_TRUE(post.starts_with("HTTP/1.1 200")) << post;
  EXPECT_TRUE(post.ends_with("\r\n\r\nhi")) << post;
  const std::string h2c =
      Raw("GET /stream HTTP/1.1\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\n"
          "http2-settings: AAMAAABkAAQAAP__\r\n\r\n");
  EXPECT_TRUE(h2c.starts_with("HTTP/1.1 200")) << h2c;
}

TEST(HttpBadInput, HalfAPrefaceOfHttp2) {
  HttpServerOptions options;
  options.head_timeout = std::chrono::milliseconds(30);
  EXPECT_EQ(Raw("PRI * HTTP/2.0\r\n\r\nSM", options), "") << "silence, and the end";
  EXPECT_TRUE(Raw("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").starts_with("HTTP/1.1 400"));
  const std::string answer = Raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is not a frame at all");
  ASSERT_GE(answer.size(), 9u);
  EXPECT_NE(answer.find('\7', 3), std::string::npos) << "a GOAWAY, and the end";
}

TEST(HttpBadInput, AResetInEachStateLeavesNothing) {
  for (const std::string bytes :
       {"", "GET / HT", "POST /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nab", "GET /wait HTTP/1.1\r\n\r\n",
        "GET /big HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}) {
    Fixture f;
    f.loop.Spawn([](Fixture* fixture, std::string to_send) -> Task<> {
      auto descriptor = co_await Connect(fixture->loop, fixture->server.address(), std::chrono::seconds(1), nullptr);
      const std::array<std::string_view, 1> parts = {to_send};
      SendParts((*descriptor)->fd(), parts);
      while (fixture->server.connections() == 0) {
        co_await runtime::SleepFor(fixture->loop, std::chrono::milliseconds(1));
      }
      co_await runtime::SleepFor(fixture->loop, std::chrono::milliseconds(2));
      const linger reset = {.l_onoff = 1, .l_linger = 0};
      setsockopt((*descriptor)->fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      descriptor->Reset();
      for (int i = 0; i < 2000 && fixture->server.connections() > 0; ++i) {
        co_await runtime::SleepFor(fixture->loop, std::chrono::milliseconds(1));
      }
      fixture->loop.Stop();
    }(&f, bytes));
    f.loop.Run();
    EXPECT_EQ(f.server.connections(), 0u) << bytes;
    EXPECT_EQ(f.server.active_requests(), 0u) << bytes;
  }
}

TEST(HttpBadInput, APeerThatDiesWithoutAWordIsFoundByKeepAlive) {
  Loop loop;
  auto listener = Listen(loop, {"127.0.0.1", 0});
  ASSERT_TRUE(listener);
  int on = 0, idle = 0;
  loop.Spawn([](Loop* l, int listening, int* alive, int* seconds) -> Task<> {
    const auto client = co_await Connect(*l, LocalAddress(listening), std::chrono::seconds(1), nullptr);
    const int accepted = accept(listening, nullptr, nullptr);
    socklen_t size = sizeof *alive;
    getsockopt(accepted, SOL_SOCKET, SO_KEEPALIVE, alive, &size);
    getsockopt(accepted, IPPROTO_TCP, TCP_KEEPIDLE, seconds, &size);
    close(accepted);
    l->Stop();
  }(&loop, (*listener)->fd(), &on, &idle));
  loop.Run();
  EXPECT_EQ(on, 1);
  EXPECT_EQ(idle, 60);
}

// Two servers on one port, of which the first goes. Clients on new connections and on kept ones lose nothing.
TEST(Http, APortIsHandedOverWithoutALoss) {
  Loop loop;
  int at_first = 0, at_second = 0, failed = 0, answered = 0;
  const auto counting = [&loop](int* count) {
    return [&loop, count](ServerExchange& exchange) -> Task<> {
      ++*count;
      co_await runtime::SleepFor(loop, std::chrono::milliseconds(1));
      co_await exchange.Respond(200, {}, "ok");
    };
  };
  HttpServer first(loop, {}, counting(&at_first));
  ASSERT_TRUE(first.Listen({"127.0.0.1", 0}, /*reuse_port=*/true));
  HttpServer second(loop, {}, counting(&at_second));
  ASSERT_TRUE(second.Listen(first.address(), /*reuse_port=*/true));
  HttpClient client(loop, {});
  bool stop = false;
  struct Clients {
    static Task<> Ask(HttpClient* c, Address address, bool fresh, const bool* stopped, int* good, int* bad) {
      while (!*stopped) {
        // Not Fetch(), which would try once more.
        const std::array<Header, 1> close = {Header{"connection", "close"}};
        auto call =
            co_await c->Start({.address = address, .headers = std::span(close).first(fresh ? 1 : 0), .fresh = fresh});
        bool ok = call.has_value();
        while (ok && !call->done()) {
          co_await AnyOf(call->Readable());
          ok = !call->Receive().error;
        }
        ++*(ok ? good : bad);
      }
    }
  };
  for (int i = 0; i < 8; ++i) loop.Spawn(Clients::Ask(&client, first.address(), i % 2 == 0, &stop, &answered, &failed));
  loop.Spawn([](Loop* l, HttpServer* going, int* n, bool* stopped) -> Task<> {
    while (*n < 100) co_await runtime::SleepFor(*l, std::chrono::milliseconds(1));
    EXPECT_EQ(co_await going->Drain(std::chrono::seconds(10)), 0u);
    const int then = *n;
    while (*n < then + 100) co_await runtime::SleepFor(*l, std::chrono::milliseconds(1));
    *stopped = true;
    co_await runtime::SleepFor(*l, std::chrono::milliseconds(20));
    l->Stop();
  }(&loop, &first, &answered, &stop));
  loop.Run();
  EXPECT_EQ(failed, 0);
  EXPECT_GT(at_first, 0);
  EXPECT_GE(at_second, 100);
  EXPECT_EQ(first.connections(), 0u);
}

// Of two that leave a port at the same time, the second does not take the first for one that stays: it would keep its
// idle connections then.
TEST(Http, TwoThatLeaveAPortTogetherDoNotHandOverToEachOther) {
  Loop loop;
  const auto answer = [](ServerExchange& exchange) -> Task<> { co_await exchange.Respond(200, {}, "ok"); };
  HttpServer second(loop, {}, answer);
  ASSERT_TRUE(second.Listen({"127.0.0.1", 0}, /*reuse_port=*/true));
  HttpServer first(loop, {}, answer);
  HttpClient client(loop, {});
  struct Steps {
    static Task<> Drain(HttpServer* server, size_t* cut, bool* done) {
      *cut = co_await server->Drain(std::chrono::seconds(20));
      *done = true;
    }
    static Task<> Go(Loop* l, HttpServer* one, HttpServer* two, HttpClient* c) {
      const auto kept = co_await c->Fetch({.address = two->address()}, std::chrono::seconds(5), 100);
      EXPECT_TRUE(kept.has_value());
      EXPECT_TRUE(one->Listen(two->address(), /*reuse_port=*/true));
      size_t cut = 0;
      bool one_left = false, two_left = false;
      const TimePoint began = l->Now();
      l->Spawn(Drain(one, &cut, &one_left));
      l->Spawn(Drain(two, &cut, &two_left));
      while (!one_left || !two_left) co_await runtime::SleepFor(*l, std::chrono::milliseconds(5));
      EXPECT_LT(l->Now() - began, std::chrono::seconds(15)) << "nothing waits for the end of the drain";
      l->Stop();
    }
  };
  loop.Spawn(Steps::Go(&loop, &first, &second, &client));
  loop.Run();
}

}  // namespace
}  // namespace sluice::net
