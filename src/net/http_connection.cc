#include "net/http_connection.h"

#include <sys/socket.h>

#include "net/http1_exchange.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {
// At a drain, a connection that was accepted and has not said anything may have a request on its way.
constexpr Duration kFirstRequestAwaited = std::chrono::seconds(1);
constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
}  // namespace

HttpConnection::HttpConnection(HttpServer& server, Wire wire, std::string first)
    : ServerConnection(server.connections_),
      server_(server),
      wire_(std::move(wire)),
      timer_(server.loop_),
      parser_(HttpParser::Kind::kRequest, server.options_.head),
      peer_(PeerAddress(wire_.fd())),
      inbox_(std::move(first)) {}

void HttpConnection::Drain() {
  if (busy_ || !server_.closing_idle()) return;
  if (first_) {
    timer_.SetAfter(kFirstRequestAwaited);
  } else {
    Cut();
  }
}

void HttpConnection::Cut() {
  cut_ = true;
  shutdown(wire_.fd(), SHUT_RDWR);  // wakes whoever waits on it
}

IoState HttpConnection::ReceiveMore() {
  std::span<char> got;
  const IoState state = wire_.Receive(got);
  if (state == IoState::kOk) {
    if (inbox_at_ == inbox_.size()) {
      inbox_.clear();
      inbox_at_ = 0;
    }
    inbox_.append(got.data(), got.size());
  }
  return state;
}

Status HttpConnection::FeedInbox(std::string* body, size_t body_max) {
  pieces_.clear();
  const auto used = parser_.Feed(Inbox(), pieces_);
  if (!used) return tl::unexpected(used.error());
  for (const std::string_view piece : pieces_) {
    if (body == nullptr) continue;
    if (body->size() + piece.size() > body_max) {
      return Fail(Code::kTooLarge, "the request body is over " + std::to_string(body_max) + " bytes");
    }
    body->append(piece);
  }
  inbox_at_ += *used;
  if (inbox_at_ == inbox_.size()) {
    inbox_.clear();
    inbox_at_ = 0;
    if (inbox_.capacity() > 4096) inbox_.shrink_to_fit();  // an idle connection holds no large buffer
  }
  return {};
}

bool HttpConnection::BeginsHttp2() const { return kHttp2Preface.starts_with(Inbox().substr(0, kHttp2Preface.size())); }

Task<HttpConnection::Next> HttpConnection::ReadHead() {
  parser_.Reset();
  busy_ = false;
  timer_.SetAfter(first_ && server_.closing_idle() ? kFirstRequestAwaited : server_.options_.idle_timeout);
  for (;;) {
    const bool undecided = first_ && !Inbox().empty() && BeginsHttp2();
    if (undecided && Inbox().size() >= kHttp2Preface.size()) co_return Next::kHttp2;
    if (undecided && !busy_) timer_.SetAfter(server_.options_.head_timeout);
    busy_ = undecided;
    if (!Inbox().empty() && !undecided) {
      if (!parser_.started()) timer_.SetAfter(server_.options_.head_timeout);
      busy_ = true;
      const Status fed = FeedInbox(nullptr, 0);
      if (!fed) {
        co_await Refuse(fed.error());
        co_return Next::kClosed;
      }
      if (parser_.head_done()) {
        first_ = false;
        co_return Next::kRequest;
      }
      first_ = false;
    }
    if (cut_ || (server_.closing_idle() && !first_ && !parser_.started())) co_return Next::kClosed;
    const uint32_t ready = co_await AnyOf(wire_.readable(), timer_);
    if ((ready & 1u) == 0) {
      if (parser_.started()) {
        co_await Refuse(Error{Code::kTimeout, "the request's head did not arrive in time", ""});
      }
      co_return Next::kClosed;
    }
    if (ReceiveMore() == IoState::kClosed) co_return Next::kClosed;
  }
}

Task<> HttpConnection::Refuse(Error error) {
  Http1Exchange exchange(*this);
  exchange.close_after_ = true;
  co_await exchange.RespondError(error);
  // Take what the client still sends, for a moment: closing with unread bytes would reset the connection and the client
  // might never see the answer.
  wire_.SayEnd();
  shutdown(wire_.fd(), SHUT_WR);
  timer_.SetAfter(std::chrono::milliseconds(500));
  size_t taken = 0;
  while (!cut_ && taken < server_.options_.pipelined_bytes_max * 16) {
    const uint32_t ready = co_await AnyOf(wire_.readable(), timer_);
    if ((ready & 1u) == 0) break;
    const IoResult io = Receive(wire_.fd(), server_.loop_.scratch());
    if (io.state == IoState::kClosed) break;
    taken += io.bytes;
  }
}

Task<bool> HttpConnection::SkipBody() {
  constexpr size_t kSkipMax = 256 * 1024;
  size_t skipped = 0;
  timer_.SetAfter(server_.options_.body_timeout);
  for (;;) {
    pieces_.clear();
    const auto used = parser_.Feed(Inbox(), pieces_);
    if (!used) co_return false;
    inbox_at_ += *used;
    skipped += *used;
    if (parser_.message_done()) co_return true;
    if (skipped > kSkipMax || parser_.head().expects_continue) co_return false;
    const uint32_t ready = co_await AnyOf(wire_.readable(), timer_);
    if ((ready & 1u) == 0 || ReceiveMore() == IoState::kClosed) co_return false;
  }
}

Task<HttpConnection::End> HttpConnection::Run() {
  for (;;) {
    const Next next = co_await ReadHead();
    if (next == Next::kHttp2) co_return End::kHttp2;
    if (next == Next::kClosed) break;
    ++server_.active_;
    bool go_on = false;
    {
      Http1Exchange exchange(*this);
      co_await server_.handler_(exchange);
      if (!exchange.finished_ && !exchange.broken_) {
        if (!exchange.started_) {
          co_await exchange.RespondError(Error{Code::kInternal, "the request was not answered", ""});
        } else {
          exchange.Abort();
        }
      }
      if (exchange.blocked()) co_await exchange.Flush();
      go_on = !exchange.broken_ && !exchange.close_after_ && exchange.finished_;
    }
    --server_.active_;
    if (cut_) co_return End::kClosed;
    if (!go_on) break;
    if (!parser_.message_done()) {
      const bool skipped = co_await SkipBody();
      if (!skipped) break;
    }
    if (!parser_.keep_alive() || server_.closing_idle()) break;
  }
  wire_.SayEnd();
  co_return End::kClosed;
}

}  // namespace sluice::net
