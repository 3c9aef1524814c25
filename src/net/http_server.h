// HttpServer: HTTP/1.1 on one loop. A handler coroutine gets each request as a ServerExchange, reads the body if it
// wants it, and answers whole or as a stream.
//   Task<> Handle(ServerExchange& exchange) { co_await exchange.Respond(200, headers, body); }
// Thread rule: the loop's thread. Ownership: an exchange belongs to its connection's coroutine; references to it end
// with the handler. Cost: one coroutine frame a connection, one a request; one recv and one send a request; no buffer
// while idle. Limits (Options): connections, head bytes, headers, body bytes, time to send a head, idle time, time a
// client may take to read. Each has its own answer: 431, 413, 408, or the connection is closed.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
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
  Duration head_timeout = std::chrono::seconds(15);   // from the first byte of a request to the end of its head
  Duration body_timeout = std::chrono::seconds(60);   // between two pieces of a body
  Duration idle_timeout = std::chrono::seconds(120);  // between requests
  Duration write_timeout = std::chrono::seconds(60);  // a client that reads nothing for so long is dropped
  // Body (JSON) for errors that the server answers itself.
  std::function<std::string(const Error&)> error_body;
  std::string server_name = "sluice";
};

class HttpConnection;

class ServerExchange {
 public:
  explicit ServerExchange(HttpConnection& connection) : connection_(connection) {}
  ServerExchange(const ServerExchange&) = delete;

  const MessageHead& head() const;
  const Address& peer() const;

  // The whole body. kTooLarge beyond the limit, kTimeout when it stalls, kCancelled when the client left. On an error
  // the caller still answers (RespondError) unless the client is gone.
  runtime::Task<Result<std::string>> ReadBody();

  // Watching the client while something else is awaited: wait for ClientReadable(), then ask ClientThere(). A
  // half-closed client counts as gone, as in nginx.
  runtime::Source& ClientReadable();
  bool ClientThere();

  // A whole answer. False: the client is gone.
  runtime::Task<bool> Respond(int status, std::span<const Header> headers, std::string_view body);
  runtime::Task<bool> RespondError(const Error& error);

  // A streamed answer. Start() only prepares the head: it leaves together with the first Write(). With `content_length`
  // the body goes out unframed, else in chunks (or until close for HTTP/1.0).
  void Start(int status, std::span<const Header> headers, std::optional<uint64_t> content_length = std::nullopt);
  // Sends now what the socket takes and keeps the rest; `last` ends the body. One send for all parts (at most 12).
  void Write(std::span<const std::string_view> parts, bool last = false);
  void Write(std::string_view data, bool last = false) { Write(std::span(&data, 1), last); }
  // True when Write() left bytes behind: await Flush() before writing more. Flush() false: the client is gone.
  bool blocked() const { return !out_.empty() && !broken_ && started_; }
  runtime::Task<bool> Flush();
  // The body cannot be completed (the upstream died): the connection is cut, so that the client sees it.
  void Abort();

  bool started() const { return started_; }
  bool finished() const { return finished_; }
  bool client_gone() const { return broken_; }
  int status() const { return status_; }
  uint64_t bytes_sent() const { return bytes_sent_; }

 private:
  friend class HttpConnection;
  void AppendHead(int status, std::span<const Header> headers, std::optional<uint64_t> content_length, bool chunked);

  HttpConnection& connection_;
  std::string out_;  // head not yet sent, or what the socket did not take
  bool started_ = false;
  bool finished_ = false;
  bool broken_ = false;
  bool chunked_ = false;
  bool body_allowed_ = true;
  bool body_read_ = false;
  bool close_after_ = false;
  int status_ = 0;
  uint64_t bytes_sent_ = 0;
};

class HttpServer {
 public:
  using Handler = std::function<runtime::Task<>(ServerExchange&)>;

  HttpServer(runtime::Loop& loop, HttpServerOptions options, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;

  // Binds and starts accepting.
  Status Listen(const Address& address, bool reuse_port = false);
  const Address& address() const { return address_; }

  // Stops accepting, lets requests under way finish (connections close after them), returns when none is left or after
  // `timeout`; then what is left is cut. The number that was cut.
  runtime::Task<size_t> Drain(Duration timeout);

  size_t connections() const { return gate_.inside(); }
  size_t active_requests() const { return active_; }
  bool draining() const { return gate_.closed(); }

 private:
  friend class HttpConnection;
  friend class ServerExchange;
  void StartConnection(int fd);
  static runtime::Task<> RunConnection(HttpServer* server, int fd);
  std::string_view DateHeader();

  runtime::Loop& loop_;
  HttpServerOptions options_;
  Handler handler_;
  Address address_;
  runtime::DescriptorPtr listener_;
  runtime::Event stop_accepting_;
  runtime::Gate gate_;  // connections
  std::vector<HttpConnection*> connections_;
  size_t active_ = 0;
  std::string date_;
  int64_t date_second_ = -1;
  runtime::TaskScope tasks_;  // last: its tasks refer to the rest
};

}  // namespace sluice::net
