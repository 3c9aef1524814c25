// HttpServer: HTTP/1.1 and HTTP/2 on one loop and one port, in clear text or over TLS. A handler coroutine gets each
// request as a ServerExchange, reads the body if it wants it, and answers whole or as a stream.
//   Task<> Handle(ServerExchange& exchange) { co_await exchange.Respond(200, headers, body); }
// Which protocol a connection speaks is settled by ALPN over TLS, and by HTTP/2's preface in clear text.
// Thread rule: the loop's thread. Ownership: an exchange belongs to its connection's or stream's coroutine; references
// to it end with the handler. A TLS context is borrowed and may be replaced while connections run.
// Cost: one coroutine frame a connection, one a request; one recv and one send a request; no buffer while idle.
// Limits (Options): connections, requests at once, head bytes, headers, body bytes, time to send a head, idle time,
// time a client may take to read. Each has its own answer: 431, 413, 408, 503, or the connection is closed.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/http2_server.h"
#include "net/http_message.h"
#include "net/http_parser.h"
#include "net/socket.h"
#include "runtime/gate.h"
#include "runtime/loop.h"

namespace sluice::net {

struct HttpServerOptions {
  HttpParser::Limits head;
  size_t body_bytes_max = 64 * 1024 * 1024;
  size_t pipelined_bytes_max = 64 * 1024;  // read ahead while a response is under way
  size_t connections_max = 20'000;
  size_t requests_max = 20'000;                      // at once, where connections hold several
  Duration head_timeout = std::chrono::seconds(15);  // from the first byte of a request to the end of its head
  Duration body_timeout = std::chrono::seconds(60);  // between two pieces of a body
  // Bytes a second that a whole body must come with, beyond body_timeout; 0: however slowly. Else a client that sends a
  // byte now and then would never end.
  size_t body_rate_min = 500;
  Duration idle_timeout = std::chrono::seconds(120);  // between requests
  Duration write_timeout = std::chrono::seconds(60);  // a client that reads nothing for so long is dropped
  // Body (JSON) for errors that the server answers itself.
  std::function<std::string(const Error&)> error_body;
  std::string server_name = "sluice";
  Http2Session::Options http2{.forgo_at_once = false, .resets_at_once = 1000, .resets_per_second = 200};
  const TlsContext* tls = nullptr;  // null: clear text
};

// When a body is given up that began to come at `began`, had its last piece at `piece`, and has so many bytes.
TimePoint BodyDeadline(const HttpServerOptions& options, TimePoint began, TimePoint piece, size_t bytes);
// What the client is told.
Error BodyLate(const HttpServerOptions& options);

class HttpServer;
class Wire;

// One request and its answer, whatever protocol carries them.
class ServerExchange {
 public:
  ServerExchange(HttpServer& server, const MessageHead& head, const Address& peer)
      : server_(server), head_(head), peer_(peer) {}
  ServerExchange(const ServerExchange&) = delete;

  const MessageHead& head() const { return head_; }
  const Address& peer() const { return peer_; }

  // The whole body. kTooLarge beyond the limit, kTimeout when it stalls, kCancelled when the client left. On an error
  // the caller still answers (RespondError) unless the client is gone.
  virtual runtime::Task<Result<std::string>> ReadBody() = 0;

  // Watching the client while something else is awaited: wait for ClientReadable(), then ask ClientThere(). A
  // half-closed client counts as gone, as in nginx.
  virtual runtime::Source& ClientReadable() = 0;
  virtual bool ClientThere() = 0;

  // A whole answer. False: the client is gone.
  runtime::Task<bool> Respond(int status, std::span<const Header> headers, std::string_view body);
  runtime::Task<bool> RespondError(const Error& error);

  // A streamed answer. Start() only prepares the head: it leaves together with the first Write(). With `content_length`
  // the body goes out unframed, else in chunks (or until close for HTTP/1.0); HTTP/2 has frames of its own.
  void Start(int status, std::span<const Header> headers, std::optional<uint64_t> content_length = std::nullopt);
  // Sends now what the client takes and keeps the rest; `last` ends the body. One send for all parts (at most 12).
  virtual void Write(std::span<const std::string_view> parts, bool last) = 0;
  void Write(std::string_view data, bool last = false) { Write(std::span(&data, 1), last); }
  // True when Write() left bytes behind: await Flush() before writing more. Flush() false: the client is gone.
  bool blocked() const { return waiting_ && !broken_; }
  virtual runtime::Task<bool> Flush() = 0;
  // The body cannot be completed (the upstream died): the connection or stream is cut, so that the client sees it.
  virtual void Abort() = 0;

  bool started() const { return started_; }
  bool finished() const { return finished_; }
  bool client_gone() const { return broken_; }
  int status() const { return status_; }
  uint64_t bytes_sent() const { return bytes_sent_; }

 protected:
  ~ServerExchange() = default;
  // The head, in the protocol's own form.
  virtual void Begin(std::span<const Header> headers, std::optional<uint64_t> content_length) = 0;

  HttpServer& server_;
  const MessageHead& head_;
  const Address& peer_;
  bool started_ = false;
  bool finished_ = false;
  bool broken_ = false;
  bool waiting_ = false;  // something was written and has not left
  bool body_allowed_ = true;
  int status_ = 0;
  uint64_t bytes_sent_ = 0;
};

// What a server holds of each connection, in its list.
class ServerConnection {
 public:
  explicit ServerConnection(std::vector<ServerConnection*>& list) : list_(list), index_(list.size()) {
    list_.push_back(this);
  }
  ServerConnection(const ServerConnection&) = delete;
  // The connection ends with the requests under way; one that is idle ends now.
  virtual void Drain() = 0;
  // Ends it now: reads and writes fail from here on.
  virtual void Cut() = 0;
  virtual bool busy() const = 0;

 protected:
  ~ServerConnection() {
    list_.back()->index_ = index_;
    list_[index_] = list_.back();
    list_.pop_back();
  }

 private:
  std::vector<ServerConnection*>& list_;
  size_t index_;
};

class HttpServer {
 public:
  using Handler = std::function<runtime::Task<>(ServerExchange&)>;

  HttpServer(runtime::Loop& loop, HttpServerOptions options, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;

  // Binds and starts accepting. `reuse_port`: beside other processes, one of which takes over at Drain().
  Status Listen(const Address& address, bool reuse_port = false);
  const Address& address() const { return address_; }

  // Stops accepting (what waits to be accepted is), lets requests under way finish (connections close after them),
  // returns when none is left or after `timeout`; then what is left is cut. The number of requests that were cut.
  // With another process on the port, no connection is lost: new ones go to that one, and one that is idle, which may
  // have a request on its way, closes after its next answer, which says so.
  runtime::Task<size_t> Drain(Duration timeout);

  size_t connections() const { return gate_.inside(); }
  size_t active_requests() const { return active_; }
  bool draining() const { return draining_; }

 private:
  friend class HttpConnection;
  friend class Http1Exchange;
  friend class Http2Exchange;
  friend class Http2Front;
  friend class ServerExchange;
  void StartConnection(int fd);
  static runtime::Task<> Accept(HttpServer* server);
  // A connection without a request is of no use any more.
  bool closing_idle() const { return draining_ && accepted_all_.ready() && !handed_over_; }
  static runtime::Task<> RunConnection(HttpServer* server, int fd);
  static runtime::Task<> RunEncrypted(HttpServer* server, int fd);
  runtime::Task<> SpeakHttp2(Wire wire, std::string first);
  std::string_view DateHeader();

  runtime::Loop& loop_;
  HttpServerOptions options_;
  Http2Times http2_times_;
  Handler handler_;
  Address address_;
  runtime::DescriptorPtr listener_;
  runtime::Event stop_accepting_;
  runtime::Event accepted_all_;  // the listener is closed
  bool shared_port_ = false;
  bool draining_ = false;
  bool handed_over_ = false;  // new connections go to another process
  runtime::Gate gate_;        // connections
  std::vector<ServerConnection*> connections_;
  size_t active_ = 0;
  std::string date_;
  int64_t date_second_ = -1;
  runtime::TaskScope tasks_;  // last: its tasks refer to the rest
};

}  // namespace sluice::net
