// HttpClient: HTTP requests from one loop, with kept-alive connections per address: HTTP/1.1 in clear text, or what a
// request's ClientTransport says: TLS, HTTP/2 (one connection carries many calls).
//   Result<ClientCall> call = co_await client.Start(request, &cancel);   // connected, request written
//   while (!call->done()) { co_await AnyOf(call->Readable(), …); ClientCall::Step step = call->Receive(); … }
// Or Fetch() for a whole answer.
// Thread rule: the loop's thread. Ownership: a ClientCall owns its connection; destroying it before done() closes the
// connection, which is how a request is cancelled. Calls must not outlive the client.
// Cost: a reused connection costs one send and one recv a small request. Idle connections are watched without a system
// call and dropped when the peer closes them.
// Limits (Options): idle connections per address, head size, connect time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/http2_server.h"
#include "net/http_message.h"
#include "net/http_parser.h"
#include "net/socket.h"
#include "net/wire.h"
#include "runtime/loop.h"

namespace sluice::net {

class ClientConnection;
struct Http2Call;
struct Http2Link;

// How a server is spoken to. Immutable; must outlive the requests that name it.
class ClientTransport {
 public:
  // HTTP/2 in clear text, without asking.
  static ClientTransport H2c() { return ClientTransport(nullptr, {}); }
  // TLS; ALPN settles on HTTP/2 or HTTP/1.1. `peer_name`: what its certificate must name; empty: its address.
  static ClientTransport Tls(TlsContext context, std::string peer_name) {
    return ClientTransport(std::make_unique<TlsContext>(std::move(context)), std::move(peer_name));
  }
  const TlsContext* tls() const { return tls_.get(); }
  const std::string& peer_name() const { return peer_name_; }
  std::string_view scheme() const { return tls_ != nullptr ? "https" : "http"; }
  // Connections are not shared between transports.
  const std::string& key() const { return key_; }

 private:
  ClientTransport(std::unique_ptr<TlsContext> tls, std::string peer_name);
  std::unique_ptr<TlsContext> tls_;
  std::string peer_name_;
  std::string key_;
};

struct ClientRequest {
  Address address;
  std::string_view method = "GET";
  std::string_view target = "/";
  std::span<const Header> headers;             // without host, content-length, connection
  std::string_view body;                       // must live until Start() returns
  std::string_view host;                       // empty: the address
  bool fresh = false;                          // do not reuse a kept-alive connection
  const ClientTransport* transport = nullptr;  // null: HTTP/1.1 in clear text
};

class ClientCall {
 public:
  ClientCall(ClientCall&&) noexcept;
  ClientCall& operator=(ClientCall&&) noexcept;
  ~ClientCall();

  // What one recv brought, without framing. `body` is a view into the loop's scratch: use it before the next wait.
  struct Step {
    std::string_view body;
    std::optional<Error> error;  // the connection broke or sent something that is not HTTP; the call is over
  };
  runtime::Source& Readable();
  Step Receive();
  // The rest of the answer comes in many small pieces, over some time: it may be received more cheaply.
  void ExpectStream();

  bool head_done() const;
  bool done() const;  // the whole response has been received
  const MessageHead& head() const;
  // On a kept-alive connection a failure before any response byte may only mean that the peer had just closed it: the
  // request can be sent once more with `fresh`.
  bool reused() const;
  bool received_nothing() const;

 private:
  friend class HttpClient;
  explicit ClientCall(std::unique_ptr<ClientConnection> connection);
  explicit ClientCall(std::shared_ptr<Http2Call> call);
  Step ReceiveHttp2();
  std::unique_ptr<ClientConnection> connection_;  // HTTP/1: the call's own
  std::shared_ptr<Http2Call> http2_;              // HTTP/2: a stream of a connection that others use too
};

struct FetchResponse {
  int status = 0;
  HeaderList headers;
  std::string body;
};

class HttpClient {
 public:
  struct Options {
    HttpParser::Limits head;
    Duration connect_timeout = std::chrono::seconds(3);
    Duration write_timeout = std::chrono::seconds(60);
    size_t idle_per_address_max = 1024;
    Duration idle_max = std::chrono::seconds(60);  // shorter than the server's idle_timeout
  };

  HttpClient(runtime::Loop& loop, Options options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;

  // Connects (or reuses) and writes the request. kUnavailable: no connection could be made, nothing was sent.
  // kBadGateway: it broke while the request was being written.
  runtime::Task<Result<ClientCall>> Start(ClientRequest request, runtime::Source* cancel = nullptr);

  // A whole small answer within `timeout`. A stale kept-alive connection is tried once more.
  runtime::Task<Result<FetchResponse>> Fetch(ClientRequest request, Duration timeout, size_t body_bytes_max);

  // Closes the idle connections to an address that left the pool; those with calls end with the last one.
  void Forget(const Address& address);
  size_t idle_connections() const { return idle_count_; }
  size_t http2_connections() const;

 private:
  friend class ClientCall;
  friend class ClientConnection;
  std::unique_ptr<ClientConnection> TakeIdle(const std::string& key);
  void PutIdle(std::unique_ptr<ClientConnection> connection);
  void DropIdle(ClientConnection* connection);
  runtime::Task<Result<FetchResponse>> FetchOnce(const ClientRequest& request, runtime::Timer& timer,
                                                 size_t body_bytes_max, bool* stale);

  // What is known of a peer that is spoken to over a transport.
  struct Peer {
    std::vector<std::shared_ptr<Http2Link>> links;
    bool http1 = false;                     // it chose HTTP/1.1 the last time
    bool opening = false;                   // a call connects
    std::vector<runtime::Event*> awaiting;  // calls that wait for that
  };
  // Either.
  struct Opened {
    std::unique_ptr<ClientConnection> http1;
    std::optional<ClientCall> call;  // HTTP/2: the request was sent
  };
  // Connects and agrees on a protocol.
  runtime::Task<Result<Wire>> Open(const ClientRequest& request, runtime::Source* cancel);
  runtime::Task<Result<Opened>> OpenOver(ClientRequest request, runtime::Source* cancel);
  // Waits while another call opens a connection that this one may share. False: `cancel` came first.
  runtime::Task<bool> AwaitOpening(Peer& peer, runtime::Source* cancel);
  runtime::Task<Result<Opened>> StartHttp2(ClientRequest request, std::shared_ptr<Http2Link> link, bool reused,
                                           runtime::Source* cancel);
  static std::shared_ptr<Http2Link> FreeLink(const Peer& peer);
  static runtime::Task<> RunLink(HttpClient* client, std::string key, std::shared_ptr<Http2Link> link,
                                 std::string early);

  runtime::Loop& loop_;
  Options options_;
  Http2Times http2_times_;
  std::unordered_map<std::string, std::vector<std::unique_ptr<ClientConnection>>> idle_;
  std::unordered_map<std::string, Peer> peers_;
  size_t idle_count_ = 0;
  std::string request_head_;  // reused while building a request
  runtime::TaskScope tasks_;  // last: its tasks refer to the rest
};

}  // namespace sluice::net
