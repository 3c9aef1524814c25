// TLS without sockets, for servers: TlsContext is a certificate with its settings, TlsStream one connection's
// encryption, bytes in and bytes out. On OpenSSL. Only HTTP/2 is offered (ALPN "h2"). Thread rule: a context is
// immutable and any thread's; a stream has one owner. Ownership: a stream keeps what it needs of its context alive.
// Cost: OpenSSL's: a handshake about 1 ms (RSA) or 0.2 ms (ECDSA), then about 1 us a KiB.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::net {

class TlsContext {
 public:
  enum class Version : uint8_t { k12, k13 };
  struct Options {
    std::string certificate_path;  // PEM, chain; both empty: a self-signed one is made
    std::string key_path;          // PEM
    Version version_min = Version::k12;
    std::vector<std::string> cipher_suites;  // IANA's names, as TLS_AES_128_GCM_SHA256; none: OpenSSL's choice
  };
  // kInvalidArgument: a file that cannot be read or does not fit, or an unknown cipher suite.
  static Result<TlsContext> Make(const Options& options);
  TlsContext(TlsContext&&) noexcept;
  TlsContext& operator=(TlsContext&&) noexcept;
  ~TlsContext();

 private:
  friend class TlsStream;
  struct State;
  explicit TlsContext(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

class TlsStream {
 public:
  explicit TlsStream(const TlsContext& context);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;

  // What came from the peer; appends what it decrypts to. False: broken, or the peer has ended it.
  bool Receive(std::string_view encrypted, std::string& plain);
  // The handshake is done: Send takes bytes.
  bool ready() const;
  // Appends what is to be sent: `plain` encrypted, and what the protocol itself has to say.
  // False: broken.
  bool Send(std::string_view plain, std::string& encrypted);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::net
