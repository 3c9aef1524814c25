// TLS without sockets: TlsContext is one side's settings (a server's certificate; what a client trusts), TlsStream one
// connection's encryption, bytes in and bytes out. On OpenSSL, with a BIO of our own, so that bytes are copied by
// OpenSSL only. Thread rule: a context is immutable and any thread's; a stream has one owner. Ownership: a stream keeps
// what it needs of its context alive, so a context may be replaced under running connections. Cost: OpenSSL's: a
// handshake about 1 ms (RSA) or 0.2 ms (ECDSA), then about 1 us a KiB.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::net {

class TlsContext {
 public:
  enum class Version : uint8_t { k12, k13 };
  struct Pair {
    std::string certificate_path, key_path;
  };
  struct Options {
    std::string certificate_path;  // PEM, chain; both empty: a self-signed one is made
    std::string key_path;          // PEM
    std::vector<Pair> others;      // shown to clients that ask for a name in one of them (SNI)
    std::string client_ca_path;    // PEM; not empty: a client must show a certificate that one of these signed
    Version version_min = Version::k12;
    std::vector<std::string> cipher_suites;       // IANA's names, as TLS_AES_128_GCM_SHA256; none: OpenSSL's choice
    std::vector<std::string> protocols = {"h2"};  // ALPN, most wanted first; who offers others only is refused
    bool keep_buffers = false;  // where connections are few and busy: 33 KB of each stay between two records
  };
  struct ClientOptions {
    std::string ca_path;           // PEM; empty: the system's
    bool verify = true;            // false: whoever answers is believed
    std::string certificate_path;  // PEM, shown to servers that ask for one; both empty: none is
    std::string key_path;
    std::vector<std::string> protocols = {"h2", "http/1.1"};
  };
  // kInvalidArgument: a file that cannot be read or does not fit, or an unknown cipher suite.
  static Result<TlsContext> Make(const Options& options);
  static Result<TlsContext> MakeClient(const ClientOptions& options);
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
  // `peer_name`: of a client's context, the name or IP address that the server's certificate must have.
  explicit TlsStream(const TlsContext& context, const std::string& peer_name = {});
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;

  // A record that was begun by one Receive and is ended by the next brings so many bytes more than the latter was
  // given.
  static constexpr size_t kRecordBytesMax = 17 * 1024;

  // Takes what came from the peer, writes what it decrypts to `plain` and counts it. `plain` has to be kRecordBytesMax
  // larger than `encrypted`; it may overlap it when it begins so many bytes before it.
  // False: broken, or the peer has ended it.
  bool Receive(std::string_view encrypted, std::span<char> plain, size_t& bytes);
  // The handshake is done: Send takes bytes.
  bool ready() const;
  // What ALPN settled on; empty when the peer asked for nothing.
  std::string_view protocol() const;
  // Appends what is to be sent: `parts` encrypted, in as few records as can be, and what the protocol itself has to
  // say. A client's handshake begins with an empty Send. False: broken.
  bool Send(std::span<const std::string_view> parts, std::string& encrypted);
  bool Send(std::string_view plain, std::string& encrypted) { return Send(std::span(&plain, 1), encrypted); }
  // Appends the notice that nothing more will be sent.
  void End(std::string& encrypted);
  // Why it broke.
  const std::string& error() const;

 private:
  struct State;
  bool Handshake();
  std::unique_ptr<State> state_;
};

}  // namespace sluice::net
