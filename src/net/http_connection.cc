#include "net/http_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

HttpConnection::HttpConnection(HttpServer& server, int fd)
    : server_(server),
      descriptor_(server.loop_, fd),
      timer_(server.loop_),
      parser_(HttpParser::Kind::kRequest, server.options_.head),
      peer_(PeerAddress(fd)),
      index_(server.connections_.size()) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  server_.connections_.push_back(this);
}

HttpConnection::~HttpConnection() {
  server_.connections_.back()->index_ = index_;
  server_.connections_[index_] = server_.connections_.back();
  server_.connections_.pop_back();
}

void HttpConnection::Drain() {
  if (!busy_) Cut();
}

void HttpConnection::Cut() {
  cut_ = true;
  shutdown(descriptor_->fd(), SHUT_RDWR);  // wakes whoever waits on it
}

IoState HttpConnection::ReceiveMore() {
  const std::span<char> scratch = server_.loop_.scratch();
  const IoResult io = Receive(descriptor_->fd(), scratch);
  if (io.state == IoState::kOk) {
    if (inbox_at_ == inbox_.size()) {
      inbox_.clear();
      inbox_at_ = 0;
    }
    inbox_.append(scratch.data(), io.bytes);
  }
  return io.state;
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

Task<bool> HttpConnection::ReadHead() {
  parser_.Reset();
  busy_ = false;
  timer_.SetAfter(server_.options_.idle_timeout);
  for (;;) {
    if (!Inbox().empty()) {
      if (!parser_.started()) timer_.SetAfter(server_.options_.head_timeout);
      busy_ = true;
      const Status fed = FeedInbox(nullptr, 0);
      if (!fed) {
        co_await Refuse(fed.error());
        co_return false;
      }
      if (parser_.head_done()) co_return true;
    }
    if (cut_ || (server_.draining() && !parser_.started())) co_return false;
    const uint32_t ready = co_await AnyOf(descriptor_->readable, timer_);
    if ((ready & 1u) == 0) {
      if (parser_.started()) {
        co_await Refuse(Error{Code::kTimeout, "the request's head did not arrive in time", ""});
      }
      co_return false;
    }
    if (ReceiveMore() == IoState::kClosed) co_return false;
  }
}

Task<> HttpConnection::Refuse(Error error) {
  ServerExchange exchange(*this);
  exchange.close_after_ = true;
  co_await exchange.RespondError(error);
  // Take what the client still sends, for a moment: closing with unread bytes would reset the connection and the client
  // might never see the answer.
  shutdown(descriptor_->fd(), SHUT_WR);
  timer_.SetAfter(std::chrono::milliseconds(500));
  size_t taken = 0;
  while (!cut_ && taken < server_.options_.pipelined_bytes_max * 16) {
    const uint32_t ready = co_await AnyOf(descriptor_->readable, timer_);
    if ((ready & 1u) == 0) break;
    const IoResult io = Receive(descriptor_->fd(), server_.loop_.scratch());
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
    const uint32_t ready = co_await AnyOf(descriptor_->readable, timer_);
    if ((ready & 1u) == 0 || ReceiveMore() == IoState::kClosed) co_return false;
  }
}

Task<> HttpConnection::Run() {
  for (;;) {
    const bool more = co_await ReadHead();
    if (!more) co_return;
    ++server_.active_;
    bool go_on = false;
    {
      ServerExchange exchange(*this);
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
    if (!go_on || cut_) co_return;
    if (!parser_.message_done()) {
      const bool skipped = co_await SkipBody();
      if (!skipped) co_return;
    }
    if (!parser_.keep_alive() || server_.draining()) co_return;
  }
}

}  // namespace sluice::net
