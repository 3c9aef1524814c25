#include "net/http2_exchange.h"

#include <array>
#include <charconv>
#include <vector>

#include "base/check.h"
#include "base/text.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {

constexpr Duration kEndAwaited = std::chrono::seconds(1);

// The session's side of a request.
class Receiver final : public Http2Handler {
 public:
  explicit Receiver(std::shared_ptr<Http2Request> request) : request_(std::move(request)) {}

  void OnData(std::string_view bytes) override {
    Http2Request& r = *request_;
    if (r.too_large || r.body.size() + bytes.size() > r.body_max) {
      r.too_large = true;
      r.body = {};
    } else {
      r.body += bytes;
    }
    if (r.reading) r.changed.Set();
  }
  void OnEnd() override {
    request_->ended = true;
    if (request_->reading) request_->changed.Set();
  }
  void OnSent() override {
    if (request_->flushing) request_->changed.Set();
  }
  void OnClosed() override {
    request_->stream = nullptr;
    request_->changed.Set();
  }

 private:
  std::shared_ptr<Http2Request> request_;
};

}  // namespace

Http2Front::Http2Front(HttpServer& server, Wire wire)
    : ServerConnection(server.connections_),
      server_(server),
      peer_(PeerAddress(wire.fd())),
      connection_(server.loop_, std::move(wire), server.http2_times_,
                  std::make_unique<Http2Session>(server.options_.http2,
                                                 [this](Http2Stream& stream) { return Accept(stream); })),
      idle_(server.loop_) {}

Task<> Http2Front::Run(std::string first) {
  if (server_.draining()) connection_.Drain();
  co_await connection_.Run(first);
  // Every stream is closed now, and its coroutine knows.
  while (answering_ > 0) {
    idle_.Clear();
    co_await AnyOf(idle_);
  }
}

std::unique_ptr<Http2Handler> Http2Front::Accept(Http2Stream& stream) {
  if (server_.active_ >= server_.options_.requests_max) {
    const std::array<Header, 1> headers = {Header{"retry-after", "1"}};
    stream.Start(503, headers, /*end=*/true);
    return nullptr;
  }
  auto request = std::make_shared<Http2Request>(server_.loop_, stream);
  request->body_max = server_.options_.body_bytes_max;
  if (const auto length = request->head.headers.Get("content-length")) {
    request->head.content_length = ParseNumber<uint64_t>(*length);
  }
  ++server_.active_;
  ++answering_;
  server_.tasks_.Spawn(Answer(this, request));
  return std::make_unique<Receiver>(std::move(request));
}

Task<> Http2Front::Answer(Http2Front* front, std::shared_ptr<Http2Request> request) {
  {
    Http2Exchange exchange(front->server_, front->peer_, *request);
    co_await front->server_.handler_(exchange);
    if (!exchange.finished() && !exchange.client_gone()) {
      if (!exchange.started()) {
        co_await exchange.RespondError(Error{Code::kInternal, "the request was not answered", ""});
      } else {
        exchange.Abort();
      }
    }
    co_await exchange.FlushTo(0);
    if (request->stream != nullptr) co_await exchange.End();
  }
  --front->server_.active_;
  if (--front->answering_ == 0) front->idle_.Set();
}

Task<Result<std::string>> Http2Exchange::ReadBody() {
  Http2Request& r = request_;
  const HttpServerOptions& options = server_.options_;
  const size_t body_max = options.body_bytes_max;
  const auto too_large = [&](const std::string& what) {
    return Fail(Code::kTooLarge, "the request body " + what + std::to_string(body_max));
  };
  if (r.head.content_length && *r.head.content_length > body_max) {
    r.too_large = true;
    co_return too_large("has " + std::to_string(*r.head.content_length) + " bytes; the limit is ");
  }
  if (r.head.content_length) r.body.reserve(*r.head.content_length);
  r.reading = true;
  const TimePoint began = server_.loop_.Now();
  while (!r.ended && !r.too_large && r.stream != nullptr) {
    timer_.Set(BodyDeadline(options, began, server_.loop_.Now(), r.body.size()));
    r.changed.Clear();
    const uint32_t ready = co_await AnyOf(r.changed, timer_);
    if ((ready & 1u) == 0) {
      r.reading = false;
      r.too_large = true;  // what still comes is of no interest
      co_return tl::unexpected(BodyLate(options));
    }
  }
  r.reading = false;
  if (r.too_large) co_return too_large("is over this limit of bytes: ");
  if (r.stream == nullptr) {
    broken_ = true;
    co_return Fail(Code::kCancelled, "the client left in the middle of its request");
  }
  r.changed.Clear();
  co_return std::move(r.body);
}

bool Http2Exchange::ClientThere() {
  if (request_.stream == nullptr) {
    broken_ = true;
  } else {
    request_.changed.Clear();
  }
  return !broken_;
}

void Http2Exchange::Begin(std::span<const Header> headers, std::optional<uint64_t> content_length) {
  if (request_.stream == nullptr) {
    broken_ = true;
    return;
  }
  std::vector<Header> all;
  all.reserve(headers.size() + 3);
  all.push_back({"date", server_.DateHeader()});
  all.push_back({"server", server_.options_.server_name});
  for (const Header& header : headers) {
    if (!IsHopByHop(header.name)) all.push_back(header);
  }
  std::array<char, 24> digits;
  if (content_length) {
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *content_length);
    all.push_back({"content-length", {digits.data(), end.ptr}});
  }
  request_.stream->Start(status_, all, /*end=*/!body_allowed_);
}

void Http2Exchange::Write(std::span<const std::string_view> parts, bool last) {
  SLUICE_CHECK(started_ && !finished_, "Write belongs between Start and the last Write");
  if (last) finished_ = true;
  if (request_.stream == nullptr) broken_ = true;
  if (broken_ || !body_allowed_) return;
  Http2Stream& stream = *request_.stream;
  for (const std::string_view part : parts) {
    stream.out().append(part);
    bytes_sent_ += part.size();
  }
  if (last) {
    stream.Finish({});
  } else {
    stream.Send();
  }
  waiting_ = stream.unsent() > kUnsentMax;
}

Task<bool> Http2Exchange::FlushTo(size_t unsent_max) {
  Http2Request& r = request_;
  r.flushing = true;
  while (!broken_ && r.stream != nullptr && r.stream->unsent() > unsent_max) {
    timer_.SetAfter(server_.options_.write_timeout);
    r.changed.Clear();
    const uint32_t ready = co_await AnyOf(r.changed, timer_);
    if ((ready & 1u) == 0) Abort();
  }
  r.flushing = waiting_ = false;
  if (r.stream == nullptr && !finished_) broken_ = true;
  co_return !broken_;
}

Task<> Http2Exchange::End() {
  request_.too_large = true;  // what still comes is of no interest
  timer_.SetAfter(kEndAwaited);
  while (request_.stream != nullptr) {
    request_.changed.Clear();
    const uint32_t ready = co_await AnyOf(request_.changed, timer_);
    if ((ready & 1u) != 0) continue;
    request_.stream->Forgo();
    timer_.Clear();
  }
}

void Http2Exchange::Abort() {
  broken_ = true;
  if (request_.stream == nullptr) return;
  request_.stream->Reset();
}

}  // namespace sluice::net
