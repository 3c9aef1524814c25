// HttpConnection: one accepted connection of an HttpServer: reads heads and bodies, runs the handler for each request
// in turn. Internal to net/. Thread rule: the loop's thread. Ownership: lives in its coroutine's frame
// (HttpServer::RunConnection).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/http_server.h"

namespace sluice::net {

class HttpConnection {
 public:
  HttpConnection(HttpServer& server, int fd);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;

  runtime::Task<> Run();
  // Ends an idle connection, or lets the running request finish and then ends it.
  void Drain();
  // Ends it now: reads and writes fail from here on.
  void Cut();
  // A request has begun and is not yet answered.
  bool busy() const { return busy_; }

 private:
  friend class ServerExchange;
  // Reads until the next head is complete. False: nothing more to do on this connection.
  runtime::Task<bool> ReadHead();
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
  runtime::DescriptorPtr descriptor_;
  runtime::Timer timer_;
  HttpParser parser_;
  Address peer_;
  std::string inbox_;  // received and not yet parsed
  size_t inbox_at_ = 0;
  std::vector<std::string_view> pieces_;
  bool busy_ = false;
  bool cut_ = false;
  size_t index_;  // in the server's list
};

}  // namespace sluice::net
