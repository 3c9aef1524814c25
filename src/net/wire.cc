#include "net/wire.h"

#include <array>

#include "base/check.h"

namespace sluice::net {

void Wire::Encrypt(const TlsContext& context, const std::string& peer_name) {
  SLUICE_CHECK(tls_ == nullptr, "encrypted once");
  tls_ = std::make_unique<TlsStream>(context, peer_name);
}

IoState Wire::Receive(std::span<char>& got) {
  if (tls_ != nullptr) return ReceiveEncrypted(got);
  const std::span<char> scratch = loop_->scratch();
  const IoResult io = net::Receive(descriptor_->fd(), scratch);
  got = scratch.first(io.bytes);
  return io.state;
}

IoState Wire::ReceiveEncrypted(std::span<char>& got) {
  got = {};
  if (ended_) return IoState::kClosed;
  const std::span<char> scratch = loop_->scratch();
  const std::span<char> encrypted = scratch.subspan(TlsStream::kRecordBytesMax);
  const IoResult io = net::Receive(descriptor_->fd(), encrypted);
  if (io.state != IoState::kOk) return io.state;
  const bool handshaking = !tls_->ready();
  if (handshaking && encrypted[0] >= 'A' && encrypted[0] <= 'Z') {  // a record begins with a byte below 0x20
    spoken_in_clear_ = ended_ = true;
    return IoState::kClosed;
  }
  size_t bytes = 0;
  ended_ = !tls_->Receive({encrypted.data(), io.bytes}, scratch, bytes);
  if (handshaking || ended_) {  // the handshake goes on, or an alert says why it does not
    if (SendEncrypted({}).state == IoState::kClosed) return IoState::kClosed;
  }
  got = scratch.first(bytes);
  return ended_ && bytes == 0 ? IoState::kClosed : IoState::kOk;
}

IoResult Wire::SendEncrypted(std::span<const std::string_view> parts) {
  size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  const bool taken = tls_->Send(parts, rest_);
  const IoState state = SendRest();
  if (!taken || state == IoState::kClosed) return {IoState::kClosed};
  return {IoState::kOk, bytes};
}

IoState Wire::SendRest() {
  while (unsent()) {
    const std::array<std::string_view, 1> parts = {std::string_view(rest_).substr(rest_at_)};
    const IoResult io = SendParts(descriptor_->fd(), parts);
    if (io.state != IoState::kOk) return io.state;
    rest_at_ += io.bytes;
  }
  rest_.clear();
  rest_at_ = 0;
  if (rest_.capacity() > 32 * 1024) rest_ = {};  // a quiet connection holds no large buffer
  return IoState::kOk;
}

void Wire::SayEnd() {
  if (tls_ == nullptr || ended_) return;
  tls_->End(rest_);
  SendRest();
}

runtime::Task<Status> Wire::Handshake(Duration timeout, runtime::Source* cancel) {
  if (tls_ == nullptr) co_return Status{};
  runtime::Timer timer(*loop_);
  timer.SetAfter(timeout);
  SendEncrypted({});  // a client speaks first
  while (!tls_->ready()) {
    runtime::Source* readable = &descriptor_->readable;
    runtime::Source* writable = unsent() ? &descriptor_->writable : nullptr;
    runtime::Source* expired = &timer;
    const uint32_t ready = co_await runtime::AnyOfPtr(readable, writable, expired, cancel);
    if ((ready & 8u) != 0) co_return Fail(Code::kCancelled, "the TLS handshake was cancelled");
    if ((ready & 4u) != 0) co_return Fail(Code::kTimeout, "the TLS handshake did not end in time");
    std::span<char> got;
    IoState state = IoState::kOk;
    if ((ready & 2u) != 0) state = SendRest();
    if ((ready & 1u) != 0 && state != IoState::kClosed) state = Receive(got);
    early_.append(got.data(), got.size());
    if (state == IoState::kClosed && !tls_->ready()) {
      const std::string& why = tls_->error();
      co_return Fail(Code::kUnavailable, why.empty() ? std::string("the peer left the TLS handshake") : why);
    }
  }
  co_return Status{};
}

}  // namespace sluice::net
