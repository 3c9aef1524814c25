// Clients that send a body slowly, over HTTP/1.1 and HTTP/2, in virtual time: who sends a byte now and then is ended,
// and who sends a lot for a long time is not. While bytes are between two sockets, virtual time may go on to the next
// timer.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "net/http2_client_fixture.h"
#include "net/http_server.h"
#include "net/socket.h"

namespace sluice::net {
namespace {

using runtime::AnyOf;
using runtime::Task;
using std::chrono::seconds;

// `pieces` of `bytes` each, one every `pause`; the head promises all of them.
struct Sending {
  size_t pieces = 1;
  size_t bytes = 1;
  Duration pause = seconds(1);
};

struct Outcome {
  std::string status;
  std::string body;
  Duration took{};
};

enum class Over : uint8_t { kHttp1, kHttp1Chunked, kH2c };

// The client's side of one request: bytes to send, bytes received.
class Client {
 public:
  explicit Client(Over over, const Sending& sending) : over_(over) {
    const std::string length = std::to_string(sending.pieces * sending.bytes);
    switch (over_) {
      case Over::kHttp1:
        out_ = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: " + length + "\r\n\r\n";
        break;
      case Over::kHttp1Chunked:
        out_ = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        break;
      case Over::kH2c:
        stream_ = http2_.Open({{":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}});
        break;
    }
  }
  void Add(const std::string& piece, bool last) {
    if (over_ == Over::kH2c) {
      http2_.Send(stream_, piece, last);
    } else if (over_ == Over::kHttp1) {
      out_ += piece;
    } else {
      char size[20];
      std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
      out_ += size + piece + (last ? "\r\n0\r\n\r\n" : "\r\n");
    }
  }
  std::string Take() { return over_ == Over::kH2c ? http2_.Take() : std::exchange(out_, {}); }
  void Receive(std::string_view bytes) {
    if (over_ == Over::kH2c) {
      http2_.Receive(bytes);
    } else {
      in_ += bytes;
    }
  }
  // Empty until the answer is there.
  std::string status() {
    if (over_ != Over::kH2c) return in_.size() > 12 ? in_.substr(9, 3) : "";
    return http2_.answers[stream_].body.empty() ? "" : http2_.answers[stream_].headers[":status"];
  }
  std::string body() {
    return over_ == Over::kH2c ? http2_.answers[stream_].body : in_.substr(in_.find("\r\n\r\n") + 4);
  }

 private:
  Over over_;
  std::string out_, in_;
  Http2ClientFixture http2_;
  int32_t stream_ = 0;
};

class SlowBody : public ::testing::TestWithParam<Over> {
 public:
  Outcome Post(const Sending& sending, HttpServerOptions options = {}) {
    ManualClock clock;
    runtime::Loop loop(&clock);
    HttpServer server(loop, std::move(options), [](ServerExchange& exchange) -> Task<> {
      auto body = co_await exchange.ReadBody();
      if (body) {
        co_await exchange.Respond(200, {}, std::to_string(body->size()));
      } else {
        co_await exchange.RespondError(body.error());
      }
    });
    EXPECT_TRUE(server.Listen({"127.0.0.1", 0}));
    Client client(GetParam(), sending);
    Outcome outcome;
    loop.Spawn(Send(&loop, server.address(), &sending, &client, &outcome));
    loop.RunUntilIdle();
    return outcome;
  }

 private:
  static Task<> Send(runtime::Loop* loop, Address address, const Sending* sending, Client* client, Outcome* outcome) {
    auto connected = co_await Connect(*loop, address, seconds(5), nullptr);
    EXPECT_TRUE(connected);
    const runtime::DescriptorPtr descriptor = std::move(*connected);
    runtime::Timer pause(*loop);
    const TimePoint began = loop->Now();
    // Behind the last piece, the answer is awaited in steps that are shorter than anything the server waits for.
    for (size_t sent = 0; sent < sending->pieces + 100 && client->status().empty(); ++sent) {
      if (sent < sending->pieces) client->Add(std::string(sending->bytes, 'x'), sent + 1 == sending->pieces);
      const std::string bytes = client->Take();
      const std::string_view part = bytes;
      if (!bytes.empty()) EXPECT_EQ(SendParts(descriptor->fd(), std::span(&part, 1)).bytes, bytes.size());
      pause.SetAfter(sent < sending->pieces ? sending->pause : std::chrono::milliseconds(100));
      for (;;) {
        const uint32_t ready = co_await AnyOf(descriptor->readable, pause);
        if ((ready & 1u) == 0) break;
        const IoResult io = Receive(descriptor->fd(), loop->scratch());
        if (io.state == IoState::kOk) client->Receive({loop->scratch().data(), io.bytes});
        if (io.state == IoState::kClosed || !client->status().empty()) break;
      }
    }
    outcome->status = client->status();
    outcome->body = client->body();
    outcome->took = loop->Now() - began;
  }
};

TEST_P(SlowBody, AByteNowAndThenDoesNotKeepARequestAlive) {
  const Outcome outcome = Post({.pieces = 1000, .bytes = 1, .pause = seconds(5)});
  EXPECT_EQ(outcome.status, "408");
  EXPECT_NE(outcome.body.find("500 bytes a second"), std::string::npos) << outcome.body;
  EXPECT_GE(outcome.took, seconds(60));
  EXPECT_LE(outcome.took, seconds(70));
}

TEST_P(SlowBody, ALongBodyAtAGoodRateIsTaken) {
  const Outcome outcome = Post({.pieces = 300, .bytes = 600, .pause = seconds(1)});
  EXPECT_EQ(outcome.status, "200");
  EXPECT_EQ(outcome.body, "180000");
  EXPECT_GE(outcome.took, seconds(299));
}

TEST_P(SlowBody, BytesInAdvanceAreCredit) {
  const Outcome outcome = Post({.pieces = 10, .bytes = 20'000, .pause = seconds(39)});
  EXPECT_EQ(outcome.status, "200") << outcome.body;
}

TEST_P(SlowBody, NothingForTooLongEndsItWhateverCameBefore) {
  const Outcome outcome = Post({.pieces = 3, .bytes = 200'000, .pause = seconds(200)});
  EXPECT_EQ(outcome.status, "408");
}

TEST_P(SlowBody, WithoutARateOnlyThePausesCount) {
  const Outcome outcome = Post({.pieces = 100, .bytes = 1, .pause = seconds(50)}, {.body_rate_min = 0});
  EXPECT_EQ(outcome.status, "200");
  EXPECT_EQ(outcome.body, "100");
}

std::string Name(const ::testing::TestParamInfo<Over>& info) {
  static constexpr std::array<const char*, 3> kNames = {"Http1", "Http1Chunked", "H2c"};
  return kNames[static_cast<size_t>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(, SlowBody, ::testing::Values(Over::kHttp1, Over::kHttp1Chunked, Over::kH2c), Name);

}  // namespace
}  // namespace sluice::net
