// Http2Server: HTTP/2 on one loop, in clear text with prior knowledge (h2c) or, with a TLS context, by ALPN "h2".
// Many streams share a connection; what they answer during one wake-up leaves in one send (Http2Session).
// Thread rule: the loop's thread. Ownership: owns its connections, which own their streams; a TLS context is borrowed.
// Cost: one coroutine frame a connection, one recv and one send a wake-up.
// Limits (Options): connections, and Http2Session's; time for a preface and a TLS handshake, time that a peer reads
// nothing, time without any stream. A dead peer is found by TCP keep-alive.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/http2_session.h"
#include "net/socket.h"
#include "runtime/gate.h"
#include "runtime/loop.h"

namespace sluice::net {

class TlsContext;

// How long a connection waits.
struct Http2Times {
  Duration preface_timeout = std::chrono::seconds(15);  // with the TLS handshake
  Duration write_timeout = std::chrono::seconds(60);    // for a peer that reads nothing
  Duration idle_timeout = std::chrono::hours(1);        // without a stream
};

struct Http2ServerOptions {
  Http2Session::Options session;
  size_t connections_max = 1000;
  Http2Times times;
  const TlsContext* tls = nullptr;  // null: clear text
};

class Http2Connection;

class Http2Server {
 public:
  Http2Server(runtime::Loop& loop, Http2ServerOptions options, Http2Session::Accept accept);
  ~Http2Server();
  Http2Server(const Http2Server&) = delete;

  // Binds and starts accepting.
  Status Listen(const Address& address);
  const Address& address() const { return address_; }

  // Stops accepting and tells peers to open no more streams (GOAWAY); returns when the open ones are done or after
  // `timeout`; then what is left is cut. The number of connections that were cut.
  runtime::Task<size_t> Drain(Duration timeout);

  size_t connections() const { return connections_.size(); }

 private:
  friend class Http2Connection;
  void StartConnection(int fd);
  static runtime::Task<> Accept(Http2Server* server);
  static runtime::Task<> RunConnection(Http2Server* server, int fd);

  runtime::Loop& loop_;
  Http2ServerOptions options_;
  Http2Session::Accept accept_;
  Address address_;
  runtime::DescriptorPtr listener_;
  runtime::Event stop_accepting_;
  runtime::Gate gate_;  // connections
  std::vector<Http2Connection*> connections_;
  runtime::TaskScope tasks_;  // last: its tasks refer to the rest
};

}  // namespace sluice::net
