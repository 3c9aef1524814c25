#include "net/http2_connection.h"

#include <sys/socket.h>

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {
constexpr size_t kPullMax = 256 * 1024;  // bytes that wait for the socket
// At a drain, a connection without a stream yet may have its first one on its way.
constexpr Duration kFirstStreamAwaited = std::chrono::seconds(1);
}  // namespace

Http2Connection::Http2Connection(runtime::Loop& loop, Wire wire, const Http2Times& times,
                                 std::unique_ptr<Http2Core> session)
    : loop_(loop), wire_(std::move(wire)), times_(times), timer_(loop), wake_(loop), session_(std::move(session)) {
  session_->OnWork([this] { wake_.Set(); });
}

void Http2Connection::Drain() {
  if (session_) session_->Drain();
  wake_.Set();
}

void Http2Connection::Cut() {
  cut_ = true;
  shutdown(wire_.fd(), SHUT_RDWR);  // ends a handshake too
  wake_.Set();
}

bool Http2Connection::Feed(std::string_view bytes) {
  received_ = true;
  broken_ = broken_ || !session_->Receive(bytes);
  return !broken_;
}

bool Http2Connection::ReceiveSome() {
  std::span<char> got;
  const IoState state = wire_.Receive(got);
  if (state == IoState::kClosed) return false;
  if (!got.empty() && !broken_) Feed({got.data(), got.size()});
  return true;
}

bool Http2Connection::SendSome() {
  for (;;) {
    if (wire_.unsent()) {
      const IoState state = wire_.SendRest();
      if (state != IoState::kOk) return state == IoState::kWouldBlock;
      write_timed_ = false;
    }
    if (out_at_ == out_.size()) {
      out_.clear();
      out_at_ = 0;
      session_->Pull(out_, kPullMax);
      if (out_.empty()) return true;
    }
    const IoResult io = wire_.Send(std::string_view(out_).substr(out_at_));
    if (io.state == IoState::kClosed) return false;
    if (io.state == IoState::kWouldBlock) return true;
    out_at_ += io.bytes;
    write_timed_ = false;
    if (out_at_ == out_.size() && out_.size() < kPullMax / 2) {  // it was all there was
      out_.clear();
      out_at_ = 0;
      if (session_->streams() == 0) out_.shrink_to_fit();  // a quiet connection holds no large buffer
      return true;
    }
  }
}

void Http2Connection::SetTimer() {
  if (waiting()) {
    if (!write_timed_) timer_.SetAfter(times_.write_timeout);  // from the last byte that the peer took
    write_timed_ = true;
  } else if (session_->awaiting_first()) {
    timer_.SetAfter(kFirstStreamAwaited);
  } else if (!received_) {
    timer_.SetAfter(times_.preface_timeout);
  } else if (session_->streams() == 0) {
    timer_.SetAfter(times_.idle_timeout);
  } else {
    timer_.Clear();
  }
}

Task<> Http2Connection::Run(std::string_view first) {
  if (!first.empty()) Feed(first);
  co_await Talk();
  session_.reset();
}

Task<> Http2Connection::Talk() {
  if (wire_.encrypted() && !received_) {
    const Status agreed = co_await wire_.Handshake(times_.preface_timeout);
    if (!agreed || wire_.protocol() != "h2") co_return;  // a client that named no protocol at all is let through by TLS
    if (const std::string early = wire_.TakeEarly(); !early.empty()) Feed(early);
  }
  for (;;) {
    if (!SendSome() || cut_) co_return;
    if (!waiting() && (broken_ || session_->over())) break;
    SetTimer();
    runtime::Source* writable = waiting() ? &wire_.writable() : nullptr;
    // While the peer does not read, nothing more is read from it than what is on its way.
    runtime::Source* readable = broken_ ? nullptr : &wire_.readable();
    runtime::Source* expired = &timer_;
    runtime::Source* woken = &wake_;
    const uint32_t ready = co_await runtime::AnyOfPtr(readable, writable, woken, expired);
    wake_.Clear();
    if (cut_) co_return;
    if ((ready & 1u) != 0 && !ReceiveSome()) co_return;
    if (ready != 8u) continue;
    if (waiting() || !session_->awaiting_first()) co_return;
    session_->Drain();
  }
  co_await Linger();
}

// Takes what the peer still sends, for a moment: closing with unread bytes would reset the connection, and the peer
// might never see why.
Task<> Http2Connection::Linger() {
  wire_.SayEnd();
  shutdown(wire_.fd(), SHUT_WR);
  timer_.SetAfter(std::chrono::milliseconds(500));
  for (int reads = 0; reads < 64 && !cut_; ++reads) {
    const uint32_t ready = co_await AnyOf(wire_.readable(), timer_, wake_);
    if (ready != 1u || Receive(wire_.fd(), loop_.scratch()).state == IoState::kClosed) co_return;
  }
}

}  // namespace sluice::net
