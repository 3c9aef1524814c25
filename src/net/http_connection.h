// HttpConnection: one accepted connection of an HttpServer: reads heads and bodies, runs the handler for each request
// in turn. Internal to net/. Thread rule: the loop's thread. Ownership: lives in its coroutine's frame
// (HttpServer::RunConnection, RunEncrypted).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/http_server.h"
#include "net/wire.h"

namespace sluice::net {

class HttpConnection final : public ServerConnection {
 public:
  enum class End : uint8_t { kClosed, kHttp2 };

  // `first`: what was received before.
  HttpConnection(HttpServer& server, Wire wire, std::string first);

  // kHttp2: the client's first bytes are HTTP/2's; the wire and the inbox are to be taken.
  runtime::Task<End> Run();
  Wire TakeWire() { return std::move(wire_); }
  std::string TakeInbox() { return std::move(inbox_); }

  void Drain() override;
  void Cut() override;
  bool busy() const override { return busy_; }

 private:
  friend class Http1Exchange;
  enum class Next : uint8_t { kRequest, kClosed, kHttp2 };
  // Reads until the next head is complete.
  runtime::Task<Next> ReadHead();
  // Whether the connection's first bytes are, or may become, HTTP/2's preface.
  bool BeginsHttp2() const;
  // Answers a request that never reached a handler, and ends the connection.
  runtime::Task<> Refuse(Error error);
  // After the handler: takes what is left of the body so that the connection can go on. False: it cannot.
  runtime::Task<bool> SkipBody();
  // One recv into the inbox. kOk, kWouldBlock or kClosed.
  IoState ReceiveMore();
  // Feeds the parser from the inbox; appends body bytes to `body`.
  Status FeedInbox(std::string* body, size_t body_max);
  std::string_view Inbox() const { return std::string_view(inbox_).substr(inbox_at_); }

  HttpServer& server_;
  Wire wire_;
  runtime::Timer timer_;
  HttpParser parser_;
  Address peer_;
  std::string inbox_;  // received and not yet parsed
  size_t inbox_at_ = 0;
  std::vector<std::string_view> pieces_;
  bool first_ = true;  // nothing was answered yet
  bool busy_ = false;  // a request has begun and is not yet answered
  bool cut_ = false;
};

}  // namespace sluice::net
