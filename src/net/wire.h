// Wire: one TCP connection, in clear text or encrypted, one recv or send at a time. Whoever speaks a protocol on it
// does not see which. Thread rule: the loop's thread. Ownership: owns the descriptor and its encryption. Cost: in clear
// text a branch more than the system call. Encrypted bytes that the socket refuses are kept here (unsent()), so Send()
// takes everything; who sends bounds what is sent before SendRest() says that it is gone.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "net/socket.h"
#include "net/tls_stream.h"

namespace sluice::net {

class Wire {
 public:
  Wire(runtime::Loop& loop, runtime::DescriptorPtr descriptor) : loop_(&loop), descriptor_(std::move(descriptor)) {}
  Wire(Wire&&) noexcept = default;
  Wire& operator=(Wire&&) noexcept = default;

  // From here on it is encrypted. `peer_name`: for a client (TlsStream).
  void Encrypt(const TlsContext& context, const std::string& peer_name = {});
  bool encrypted() const { return tls_ != nullptr; }
  // Until both sides have agreed; at once in clear text. kTimeout, kCancelled when `cancel` (may be null) comes first,
  // kUnavailable: the peer left or speaks something else.
  runtime::Task<Status> Handshake(Duration timeout, runtime::Source* cancel = nullptr);
  // What the peer sent in one piece with the handshake's end: the first bytes, before any Receive.
  std::string TakeEarly() { return std::move(early_); }
  // A peer that spoke HTTP in clear text where a handshake was awaited: it can be answered in clear text.
  bool spoken_in_clear() const { return spoken_in_clear_; }
  // What the peers agreed on by ALPN; empty: nothing.
  std::string_view protocol() const { return tls_ == nullptr ? std::string_view() : tls_->protocol(); }

  // One recv. `got` lies in the loop's scratch and may be written to. Encrypted, it may be empty with kOk.
  IoState Receive(std::span<char>& got);
  // One send of all parts (at most 16). Encrypted, all bytes count as sent.
  IoResult Send(std::span<const std::string_view> parts) {
    if (tls_ == nullptr) [[likely]]
      return SendParts(descriptor_->fd(), parts);
    return SendEncrypted(parts);
  }
  IoResult Send(std::string_view bytes) { return Send(std::span(&bytes, 1)); }
  bool unsent() const { return rest_at_ < rest_.size(); }
  IoState SendRest();
  // Tells the peer that this is the end and not a cut, if the socket takes it; nothing in clear text.
  void SayEnd();

  int fd() const { return descriptor_->fd(); }
  runtime::Source& readable() const { return descriptor_->readable; }
  runtime::Source& writable() const { return descriptor_->writable; }

 private:
  IoResult SendEncrypted(std::span<const std::string_view> parts);
  IoState ReceiveEncrypted(std::span<char>& got);

  runtime::Loop* loop_;
  runtime::DescriptorPtr descriptor_;
  std::unique_ptr<TlsStream> tls_;
  std::string rest_;  // encrypted, not taken by the socket
  size_t rest_at_ = 0;
  std::string early_;
  bool ended_ = false;  // by the peer, in or against TLS's rules
  bool spoken_in_clear_ = false;
};

}  // namespace sluice::net
