#include "net/http2_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "net/http2_connection.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {

constexpr size_t kPullMax = 256 * 1024;  // bytes that wait for the socket

// Gives up its slot at the end of a connection's coroutine, however that ends.
struct GateSlot {
  runtime::Gate& gate;
  ~GateSlot() { gate.Leave(); }
};

void SetSocketOptions(int fd) {
  const int one = 1, idle_seconds = 60, interval_seconds = 15, tries = 4;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
}

}  // namespace

Http2Connection::Http2Connection(Http2Server& server, int fd)
    : server_(server),
      descriptor_(server.loop_, fd),
      timer_(server.loop_),
      wake_(server.loop_),
      session_(server.options_.session, server.accept_),
      index_(server.connections_.size()) {
  SetSocketOptions(fd);
  session_.OnWork([this] { wake_.Set(); });
  if (server.options_.tls != nullptr) tls_ = std::make_unique<TlsStream>(*server.options_.tls);
  server_.connections_.push_back(this);
}

Http2Connection::~Http2Connection() {
  server_.connections_.back()->index_ = index_;
  server_.connections_[index_] = server_.connections_.back();
  server_.connections_.pop_back();
}

void Http2Connection::Drain() {
  session_.Drain();
  wake_.Set();
}

void Http2Connection::Cut() {
  cut_ = true;
  wake_.Set();
}

bool Http2Connection::ReceiveSome() {
  const std::span<char> scratch = server_.loop_.scratch();
  const IoResult io = Receive(descriptor_->fd(), scratch);
  if (io.state == IoState::kWouldBlock) return true;
  if (io.state == IoState::kClosed) return false;
  std::string_view bytes(scratch.data(), io.bytes);
  std::string decrypted;
  if (tls_ != nullptr) {
    if (!tls_->Receive(bytes, decrypted)) broken_ = true;  // what it says to that is sent first
    bytes = decrypted;
  }
  if (!bytes.empty() && !broken_) {
    received_ = true;
    broken_ = !session_.Receive(bytes).has_value();
  }
  return true;
}

bool Http2Connection::SendSome() {
  for (;;) {
    if (out_at_ == out_.size()) {
      out_.clear();
      out_at_ = 0;
      if (tls_ == nullptr) {
        session_.Pull(out_, kPullMax);
      } else {
        plain_.clear();
        if (tls_->ready() && !broken_) session_.Pull(plain_, kPullMax);
        broken_ |= !tls_->Send(plain_, out_);
      }
      if (out_.empty()) return true;
    }
    const std::array<std::string_view, 1> parts = {std::string_view(out_).substr(out_at_)};
    const IoResult io = SendParts(descriptor_->fd(), parts);
    if (io.state == IoState::kClosed) return false;
    if (io.state == IoState::kWouldBlock) return true;
    out_at_ += io.bytes;
    write_timed_ = false;
    if (out_at_ == out_.size() && out_.size() < kPullMax / 2) {  // it was all there was
      out_.clear();
      out_at_ = 0;
      if (session_.streams() == 0) out_.shrink_to_fit();  // a quiet connection holds no large buffer
      return true;
    }
  }
}

void Http2Connection::SetTimer() {
  const Http2ServerOptions& options = server_.options_;
  if (!out_.empty()) {
    if (!write_timed_) timer_.SetAfter(options.write_timeout);  // from the last byte that the peer took
    write_timed_ = true;
  } else if (!received_) {
    timer_.SetAfter(options.preface_timeout);
  } else if (session_.streams() == 0) {
    timer_.SetAfter(options.idle_timeout);
  } else {
    timer_.Clear();
  }
}

Task<> Http2Connection::Run() {
  if (server_.gate_.closed()) session_.Drain();
  for (;;) {
    if (!SendSome() || cut_) co_return;
    if (out_.empty() && (broken_ || session_.over())) break;
    SetTimer();
    runtime::Source* writable = out_.empty() ? nullptr : &descriptor_->writable;
    // While the peer does not read, nothing more is read from it than what is on its way.
    runtime::Source* readable = broken_ ? nullptr : &descriptor_->readable;
    runtime::Source* expired = &timer_;
    runtime::Source* woken = &wake_;
    const uint32_t ready = co_await runtime::AnyOfPtr(readable, writable, woken, expired);
    wake_.Clear();
    if (cut_) co_return;
    if ((ready & 1u) != 0 && !ReceiveSome()) co_return;
    if (ready == 8u) co_return;
  }
  // Take what the peer still sends, for a moment: closing with unread bytes would reset the connection, and the peer
  // might never see why.
  shutdown(descriptor_->fd(), SHUT_WR);
  timer_.SetAfter(std::chrono::milliseconds(500));
  for (int reads = 0; reads < 64 && !cut_; ++reads) {
    const uint32_t ready = co_await AnyOf(descriptor_->readable, timer_, wake_);
    if (ready != 1u || Receive(descriptor_->fd(), server_.loop_.scratch()).state == IoState::kClosed) co_return;
  }
}

Http2Server::Http2Server(runtime::Loop& loop, Http2ServerOptions options, Http2Session::Accept accept)
    : loop_(loop),
      options_(std::move(options)),
      accept_(std::move(accept)),
      stop_accepting_(loop),
      gate_(loop),
      tasks_(loop) {}

Http2Server::~Http2Server() = default;

Status Http2Server::Listen(const Address& address) {
  auto listener = net::Listen(loop_, address);
  if (!listener) return tl::unexpected(listener.error());
  listener_ = std::move(*listener);
  address_ = LocalAddress(listener_->fd());
  tasks_.Spawn(AcceptConnections(loop_, listener_, stop_accepting_, [this](int fd) { StartConnection(fd); }));
  return {};
}

void Http2Server::StartConnection(int fd) {
  if (connections_.size() >= options_.connections_max || !gate_.Enter()) {
    close(fd);
    return;
  }
  tasks_.Spawn(RunConnection(this, fd));
}

Task<> Http2Server::RunConnection(Http2Server* server, int fd) {
  const GateSlot slot{server->gate_};
  Http2Connection connection(*server, fd);
  co_await connection.Run();
}

Task<size_t> Http2Server::Drain(Duration timeout) {
  stop_accepting_.Set();
  gate_.Close();
  for (Http2Connection* connection : connections_) connection->Drain();
  runtime::Timer timer(loop_);
  timer.SetAfter(timeout);
  co_await AnyOf(gate_.drained(), timer);
  const size_t cut = connections_.size();
  for (Http2Connection* connection : connections_) connection->Cut();
  if (cut != 0) co_await AnyOf(gate_.drained());
  co_return cut;
}

}  // namespace sluice::net
