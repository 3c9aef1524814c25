// Http1Exchange: a request and its answer on an HTTP/1 connection. Internal to net/. Thread rule: the loop's thread.
// Ownership: lives in its connection's coroutine. Cost: an answer's head is one string; a body is not copied.
#pragma once

#include <string>

#include "net/http_connection.h"
#include "net/http_server.h"

namespace sluice::net {

class Http1Exchange final : public ServerExchange {
 public:
  explicit Http1Exchange(HttpConnection& connection)
      : ServerExchange(connection.server_, connection.parser_.head(), connection.peer_), connection_(connection) {}

  runtime::Task<Result<std::string>> ReadBody() override;
  runtime::Source& ClientReadable() override;
  bool ClientThere() override;
  using ServerExchange::Write;
  void Write(std::span<const std::string_view> parts, bool last) override;
  runtime::Task<bool> Flush() override;
  void Abort() override;

 private:
  friend class HttpConnection;
  void Begin(std::span<const Header> headers, std::optional<uint64_t> content_length) override;

  HttpConnection& connection_;
  std::string out_;  // head not yet sent, or what the socket did not take
  bool chunked_ = false;
  bool close_after_ = false;
};

}  // namespace sluice::net
