// Http2Session, gRPC's framing on it, the server around both, and TLS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <openssl/ssl.h>

#include "net/grpc_server.h"
#include "net/http2_client_fixture.h"
#include "net/http2_server.h"
#include "net/tls_stream.h"

namespace sluice::net {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Seen {
  int calls = 0, ends = 0, closes = 0;
  std::vector<std::string> messages;
};

// Says every message again; "close N" ends the call with status N, "twice" is answered twice.
class EchoHandler final : public GrpcHandler {
 public:
  EchoHandler(GrpcCall& call, Seen& seen) : call_(call), seen_(seen) { ++seen_.calls; }
  void OnMessage(std::string_view message) override {
    seen_.messages.emplace_back(message.substr(0, 20));
    if (message.starts_with("close ")) return call_.Close(message[6] - '0', "why: \xc3\xa9 100%\n");
    for (int i = message == "twice" ? 2 : 1; i > 0; --i) {
      call_.BeginMessage() += message;
      call_.EndMessage();
    }
  }
  void OnEnd() override {
    ++seen_.ends;
    call_.Close(kGrpcOk, "");
  }
  void OnClosed() override { ++seen_.closes; }

 private:
  GrpcCall& call_;
  Seen& seen_;
};

struct Pair {
  explicit Pair(Http2Session::Options options = {}, uint32_t client_window = 65'535)
      : client(client_window), server(options, GrpcCall::Accept(methods)) {
    methods.by_path.emplace("/t.T/Echo", [this](GrpcCall& call) { return std::make_unique<EchoHandler>(call, seen); });
  }
  void Talk() {
    const Status talked = client.Talk(server);
    EXPECT_TRUE(talked) << talked.error().message;
  }
  Seen seen;
  GrpcMethods methods;
  Http2ClientFixture client;
  Http2Session server;
};

std::string Frame(std::string_view message) {
  std::string frame(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(message.size() >> shift);
  return frame.append(message);
}

TEST(Grpc, AnswersMessagesAsTheyCome) {
  Pair p;
  const int32_t id = p.client.OpenGrpc("/t.T/Echo");
  p.client.SendMessage(id, "one");
  p.Talk();
  EXPECT_EQ(p.client.answers[id].headers[":status"], "200");
  EXPECT_EQ(p.client.answers[id].headers["content-type"], "application/grpc");
  EXPECT_EQ(p.client.answers[id].body, Frame("one"));
  EXPECT_EQ(p.client.answers[id].closed, std::nullopt);
  p.client.SendMessage(id, "twice");
  p.client.SendMessage(id, "", /*end=*/true);
  p.Talk();
  EXPECT_EQ(p.client.answers[id].body, Frame("one") + Frame("twice") + Frame("twice") + Frame(""));
  EXPECT_EQ(p.client.answers[id].headers["grpc-status"], "0");
  EXPECT_EQ(p.client.answers[id].closed, 0u);
  EXPECT_EQ(p.seen.ends, 1);
  EXPECT_EQ(p.seen.closes, 1);
  EXPECT_EQ(p.server.streams(), 0u);
}

TEST(Grpc, ReadsMessagesCutAnywhere) {
  Pair p;
  const int32_t id = p.client.OpenGrpc("/t.T/Echo");
  const std::string bytes = Frame("first") + Frame(std::string(40'000, 'x')) + Frame("") + Frame("last");
  for (size_t at = 0; at < bytes.size();) {
    const size_t n = at < 20 ? 1 : 777;
    p.client.Send(id, bytes.substr(at, n));
    p.Talk();
    at += n;
  }
  p.client.GiveWindow(id, 40'000);
  p.Talk();
  EXPECT_EQ(p.client.answers[id].body, bytes);
}

TEST(Grpc, EndsACallWithAStatus) {
  Pair p;
  const int32_t before = p.client.OpenGrpc("/t.T/Echo");
  p.client.SendMessage(before, "close 3");
  const int32_t after = p.client.OpenGrpc("/t.T/Echo");
  p.client.SendMessage(after, "m");
  p.client.SendMessage(after, "close 5");
  p.client.SendMessage(after, "not looked at");
  p.Talk();
  EXPECT_EQ(p.client.answers[before].headers["grpc-status"], "3");
  EXPECT_EQ(p.client.answers[before].headers["grpc-message"], "why: %C3%A9 100%25%0A");
  EXPECT_EQ(p.client.answers[before].closed, 0u) << "the peer had not ended its side: reset without an error";
  EXPECT_EQ(p.client.answers[after].body, Frame("m"));
  EXPECT_EQ(p.client.answers[after].headers["grpc-status"], "5");
  EXPECT_EQ(p.seen.closes, 2);
  EXPECT_THAT(p.seen.messages, ::testing::ElementsAre("close 3", "m", "close 5"));
}

TEST(Grpc, RefusesWhatIsNoCallOfIts) {
  Pair p;
  const int32_t unknown = p.client.OpenGrpc("/t.T/Nothing");
  const int32_t get =
      p.client.Open({{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/t.T/Echo"}}, true);
  const int32_t text = p.client.Open({{":method", "POST"},
                                      {":scheme", "http"},
                                      {":authority", "a"},
                                      {":path", "/t.T/Echo"},
                                      {"content-type", "text/plain"}},
                                     true);
  p.Talk();
  EXPECT_EQ(p.client.answers[unknown].headers["grpc-status"], "12");
  EXPECT_EQ(p.client.answers[unknown].headers["grpc-message"], "there is no method /t.T/Nothing");
  EXPECT_EQ(p.client.answers[get].headers[":status"], "405");
  EXPECT_EQ(p.client.answers[text].headers[":status"], "415");
  EXPECT_EQ(p.seen.calls, 0);
}

TEST(Grpc, LimitsMessages) {
  Pair p;
  p.methods.receive_bytes_max = 10;
  p.methods.send_bytes_max = 8;
  const auto send = [&](const std::string& bytes) {
    const int32_t id = p.client.OpenGrpc("/t.T/Echo");
    p.client.Send(id, bytes);
    p.Talk();
    return p.client.answers[id].headers["grpc-status"] + " " + p.client.answers[id].headers["grpc-message"];
  };
  EXPECT_EQ(send(Frame("12345678")), " ");
  EXPECT_EQ(send(Frame("123456789")), "8 trying to send message larger than max (9 vs. 8)");
  EXPECT_EQ(send(Frame("12345678901").substr(0, 5)), "8 received message larger than max (11 vs. 10)");
  EXPECT_EQ(send("\1" + Frame("1").substr(1)), "12 messages must not be compressed");
  const int32_t id = p.client.OpenGrpc("/t.T/Echo");
  p.client.Send(id, Frame("123").substr(0, 6), /*end=*/true);
  p.Talk();
  EXPECT_EQ(p.client.answers[id].headers["grpc-status"], "3");
}

TEST(Http2, AResetEndsAStreamAndAManyOfThemNothingElse) {
  Pair p;
  for (int i = 0; i < 3000; ++i) {
    const int32_t id = p.client.OpenGrpc("/t.T/Echo");
    p.client.SendMessage(id, "m");
    p.Talk();
    p.client.Reset(id);
  }
  p.Talk();
  EXPECT_EQ(p.seen.closes, 3000);
  EXPECT_EQ(p.server.streams(), 0u);
  EXPECT_FALSE(p.client.went_away());
}

TEST(Http2, AStrangersResetsAndHeadersAreLimited) {
  Pair p({.headers_max = 20, .resets_at_once = 100, .resets_per_second = 1});
  Status talked;
  int resets = 0;
  for (; resets < 1000 && talked && !p.client.went_away(); ++resets) {
    const int32_t id = p.client.OpenGrpc("/t.T/Echo");
    talked = p.client.Talk(p.server);
    p.client.Reset(id);
  }
  EXPECT_TRUE(p.client.went_away() || !talked);
  EXPECT_GE(resets, 100);
  EXPECT_LT(resets, 150);

  Pair other({.headers_max = 20});
  std::vector<std::pair<std::string, std::string>> many = {
      {":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/t.T/Echo"}};
  for (int i = 0; i < 30; ++i) many.emplace_back("x-" + std::to_string(i), "v");
  const int32_t id = other.client.Open(many, /*end=*/true);
  other.Talk();
  EXPECT_EQ(other.client.answers[id].headers[":status"], "431");
  EXPECT_EQ(other.seen.calls, 0);
}

// What could become a request of its own when the head is written in HTTP/1's form for an engine.
TEST(Http2, NothingThatSmugglesReachesAHandler) {
  using Headers = std::vector<std::pair<std::string, std::string>>;
  const Headers good = {{":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/t.T/Echo"}};
  const auto with = [&good](size_t at, const std::string& value) {
    Headers changed = good;
    changed[at].second = value;
    return changed;
  };
  const auto and_also = [&good](const std::string& name, const std::string& value) {
    Headers more = good;
    more.emplace_back(name, value);
    return more;
  };
  int accepted = 0;
  const auto send = [&accepted](const Headers& headers) {
    Http2Session session({}, [&accepted](Http2Stream& stream) -> std::unique_ptr<Http2Handler> {
      ++accepted;
      stream.Start(200, {}, /*end=*/true);
      return nullptr;
    });
    Http2ClientFixture client;
    client.Open(headers, /*end=*/true);
    (void)client.Talk(session);
  };
  send(good);
  ASSERT_EQ(accepted, 1);
  for (const Headers& headers :
       {with(0, "POST / HTTP/1.1\r\nx: y"), with(0, ""), with(3, "/a HTTP/1.1\r\nx: y"), with(3, "/a b"),
        with(3, "/a\nb"), with(3, ""), with(2, "a\r\nx: y"), and_also("x", "a\r\nb: c"), and_also("x", "a\nb"),
        and_also("x\r\nb", "c"), and_also("x y", "c"), and_also("x:", "c"), and_also("", "c"),
        and_also("connection", "close"), and_also("transfer-encoding", "chunked"), and_also("te", "gzip"),
        and_also("content-length", "1, 2"), and_also(":path", "/other"), and_also(":unknown", "x")}) {
    send(headers);
    EXPECT_EQ(accepted, 1) << headers[0].second << " " << headers[3].second << " " << headers.back().first << ": "
                           << headers.back().second;
  }
}

TEST(Http2, OpenStreamsEndWithTheSession) {
  Seen seen;
  {
    GrpcMethods methods;
    methods.by_path.emplace("/t.T/Echo", [&](GrpcCall& call) { return std::make_unique<EchoHandler>(call, seen); });
    Http2Session server({}, GrpcCall::Accept(methods));
    Http2ClientFixture client;
    for (int i = 0; i < 3; ++i) client.OpenGrpc("/t.T/Echo");
    ASSERT_TRUE(client.Talk(server));
    EXPECT_EQ(server.streams(), 3u);
    EXPECT_EQ(seen.closes, 0);
  }
  EXPECT_EQ(seen.closes, 3);
}

TEST(Http2, LimitsStreamsAndHeads) {
  Pair p({.streams_max = 2, .head_bytes_max = 500});
  p.Talk();  // the client learns the limit
  const int32_t large = p.client.Open({{":method", "POST"},
                                       {":scheme", "http"},
                                       {":authority", "a"},
                                       {":path", "/t.T/Echo"},
                                       {"x", std::string(400, 'x')}},
                                      true);
  p.Talk();
  EXPECT_EQ(p.client.answers[large].headers[":status"], "431");
  for (int i = 0; i < 3; ++i) p.client.OpenGrpc("/t.T/Echo");
  p.Talk();
  EXPECT_EQ(p.seen.calls, 2) << "the third waits";
}

TEST(Http2, APeerThatDoesNotReadMaySendNoMore) {
  Pair p({.stream_window = 100'000, .unsent_bytes_max = 50'000}, /*client_window=*/1000);
  const int32_t id = p.client.OpenGrpc("/t.T/Echo");
  for (int i = 0; i < 100; ++i) p.client.SendMessage(id, std::string(10'000, 'x'));
  p.Talk();
  EXPECT_EQ(p.client.answers[id].body.size(), 1000u);
  const size_t held = p.seen.messages.size();
  EXPECT_LT(held, 16u) << "unsent_bytes_max and a window";
  const int32_t other = p.client.OpenGrpc("/t.T/Echo");
  p.client.SendMessage(other, "m");
  p.Talk();
  EXPECT_EQ(p.client.answers[other].body, Frame("m")) << "others are not held up";
  for (int i = 0; i < 2000; ++i) {
    p.client.GiveWindow(id, 600);
    p.Talk();
  }
  EXPECT_EQ(p.seen.messages.size(), 101u);
  EXPECT_EQ(p.client.answers[id].body.size(), 100u * 10'005);
}

TEST(Http2, DrainsWithoutANewStream) {
  Pair p;
  const int32_t open = p.client.OpenGrpc("/t.T/Echo");
  p.Talk();
  p.server.Drain();
  const int32_t on_its_way = p.client.OpenGrpc("/t.T/Echo");
  p.client.SendMessage(on_its_way, "too", /*end=*/true);
  p.Talk();
  EXPECT_TRUE(p.client.went_away());
  EXPECT_EQ(p.client.answers[on_its_way].body, Frame("too")) << "sent before the client could know";
  EXPECT_FALSE(p.server.over());
  p.client.SendMessage(open, "m", /*end=*/true);
  p.Talk();
  EXPECT_EQ(p.client.answers[open].body, Frame("m"));
  EXPECT_TRUE(p.server.over());
}

TEST(Http2, AConnectionThatWasNotUsedYetDrainsWithItsFirstStream) {
  Pair p;
  p.server.Drain();
  EXPECT_TRUE(p.server.awaiting_first());
  p.Talk();
  EXPECT_FALSE(p.client.went_away()) << "it would not send what it is about to";
  const int32_t first = p.client.OpenGrpc("/t.T/Echo");
  p.client.SendMessage(first, "m", /*end=*/true);
  p.Talk();
  EXPECT_EQ(p.client.answers[first].body, Frame("m"));
  EXPECT_TRUE(p.client.went_away());
  EXPECT_TRUE(p.server.over());

  Pair silent;
  silent.server.Drain();
  silent.server.Drain();  // long enough
  EXPECT_FALSE(silent.server.awaiting_first());
  silent.Talk();
  EXPECT_TRUE(silent.client.went_away());
  EXPECT_TRUE(silent.server.over());
}

TEST(Http2, FloodsEndTheConnection) {
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  const std::string ping("\0\0\x08\6\0\0\0\0\0PINGPING", 17);
  for (const std::string& frame : {settings, ping}) {
    Pair p;
    ASSERT_TRUE(p.server.Receive(preface + settings));
    bool refused = false;
    for (int i = 0; i < 5000 && !refused; ++i) refused = !p.server.Receive(frame).has_value();
    EXPECT_TRUE(refused);
  }
  Pair other;
  EXPECT_FALSE(other.server.Receive("GET / HTTP/1.1\r\nhost: a\r\n\r\n12345"));
}

// Over sockets
// ---------------------------------------------------------------------------------------------------------

// Connects, lets `client` talk until `done`, and stops the loop.
runtime::Task<> TalkOverSocket(runtime::Loop* loop, Address address, Http2ClientFixture* client, int32_t until) {
  auto connected = co_await Connect(*loop, address, std::chrono::seconds(5), nullptr);
  EXPECT_TRUE(connected.has_value());
  runtime::DescriptorPtr descriptor = std::move(*connected);
  while (!client->answers[until].closed) {
    const std::string bytes = client->Take();
    const std::string_view part = bytes;
    EXPECT_EQ(SendParts(descriptor->fd(), std::span(&part, 1)).bytes, bytes.size());
    co_await runtime::AnyOf(descriptor->readable);
    const IoResult io = Receive(descriptor->fd(), loop->scratch());
    if (io.state == IoState::kClosed) break;
    client->Receive({loop->scratch().data(), io.bytes});
  }
  loop->Stop();
}

TEST(Http2Server, ServesAndDrains) {
  runtime::Loop loop;
  Seen seen;
  GrpcMethods methods;
  methods.by_path.emplace("/t.T/Echo", [&](GrpcCall& call) { return std::make_unique<EchoHandler>(call, seen); });
  Http2Server server(loop, {}, GrpcCall::Accept(methods));
  ASSERT_TRUE(server.Listen({"127.0.0.1", 0}));
  Http2ClientFixture client;
  const int32_t id = client.OpenGrpc("/t.T/Echo");
  client.SendMessage(id, "over a socket", /*end=*/true);
  loop.Spawn(TalkOverSocket(&loop, server.address(), &client, id));
  loop.Run();
  EXPECT_EQ(client.answers[id].body, Frame("over a socket"));
  EXPECT_EQ(client.answers[id].headers["grpc-status"], "0");

  struct Drained {
    static runtime::Task<> Go(runtime::Loop* loop, Http2Server* server, size_t* cut) {
      *cut = co_await server->Drain(std::chrono::seconds(10));
      loop->Stop();
    }
  };
  size_t cut = 99;
  loop.Resume();
  loop.Spawn(Drained::Go(&loop, &server, &cut));
  loop.Run();
  EXPECT_EQ(cut, 0u);
  EXPECT_EQ(server.connections(), 0u);
}

// A TLS client in memory; what it sends is kept in its BIO.
struct TlsClient {
  explicit TlsClient(bool with_h2) : context(SSL_CTX_new(TLS_client_method())), ssl(SSL_new(context)) {
    static constexpr unsigned char kH2[] = {2, 'h', '2'}, kOld[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    SSL_set_alpn_protos(ssl, with_h2 ? kH2 : kOld, with_h2 ? sizeof kH2 : sizeof kOld);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
  }
  ~TlsClient() {
    SSL_free(ssl);
    SSL_CTX_free(context);
  }
  std::string Take() {
    char* bytes = nullptr;
    const long n = BIO_get_mem_data(SSL_get_wbio(ssl), &bytes);
    std::string out(bytes, static_cast<size_t>(n));
    (void)BIO_reset(SSL_get_wbio(ssl));
    return out;
  }
  void Give(const std::string& bytes) { BIO_write(SSL_get_rbio(ssl), bytes.data(), static_cast<int>(bytes.size())); }
  SSL_CTX* context;
  SSL* ssl;
};

// One Receive, its plain bytes appended.
bool Decrypt(TlsStream& stream, std::string_view encrypted, std::string& plain) {
  std::vector<char> buffer(encrypted.size() + TlsStream::kRecordBytesMax);
  size_t bytes = 0;
  const bool open = stream.Receive(encrypted, buffer, bytes);
  plain.append(buffer.data(), bytes);
  return open;
}

TEST(Tls, EncryptsWithACertificateOfItsOwn) {
  const auto context = TlsContext::Make({});
  ASSERT_TRUE(context) << context.error().message;
  TlsStream server(*context);
  TlsClient client(/*with_h2=*/true);
  std::string plain;
  for (int i = 0; i < 5; ++i) {
    SSL_do_handshake(client.ssl);
    ASSERT_TRUE(Decrypt(server, client.Take(), plain));
    std::string out;
    ASSERT_TRUE(server.Send("", out));
    client.Give(out);
  }
  ASSERT_TRUE(server.ready());
  SSL_write(client.ssl, "from client", 11);
  ASSERT_TRUE(Decrypt(server, client.Take(), plain));
  EXPECT_EQ(plain, "from client");
  std::string out;
  ASSERT_TRUE(server.Send("from server", out));
  EXPECT_THAT(out, ::testing::Not(HasSubstr("from server")));
  client.Give(out);
  char read[64];
  EXPECT_EQ(std::string(read, static_cast<size_t>(std::max(0, SSL_read(client.ssl, read, sizeof read)))),
            "from server");
}

TEST(Tls, RefusesPeersWithoutHttp2AndGarbage) {
  const auto context = TlsContext::Make({});
  ASSERT_TRUE(context);
  TlsStream server(*context);
  TlsClient client(/*with_h2=*/false);
  SSL_do_handshake(client.ssl);
  std::string plain;
  EXPECT_FALSE(Decrypt(server, client.Take(), plain));
  TlsStream garbage(*context);
  EXPECT_FALSE(Decrypt(garbage, "GET / HTTP/1.1\r\n\r\n", plain));
  EXPECT_THAT(plain, IsEmpty());
}

TEST(Tls, SaysWhichFileIsWrong) {
  const auto missing = TlsContext::Make({.certificate_path = "/nowhere/tls.crt", .key_path = "/nowhere/tls.key"});
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("/nowhere/tls.crt"));
  const auto suite = TlsContext::Make({.cipher_suites = {"TLS_AES_128_GCM_SHA255"}});
  ASSERT_FALSE(suite);
  EXPECT_THAT(suite.error().message, HasSubstr("did you mean 'TLS_AES_128_GCM_SHA256'?"));
  EXPECT_TRUE(
      TlsContext::Make({.cipher_suites = {"TLS_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}}));
}

}  // namespace
}  // namespace sluice::net
