#include "net/http_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <ctime>

#include "base/check.h"
#include "net/http_connection.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {
// Gives up its slot at the end of a connection's coroutine, however that ends.
struct GateSlot {
  runtime::Gate& gate;
  ~GateSlot() { gate.Leave(); }
};

std::string DefaultErrorBody(const Error& error) { return error.message + "\n"; }
}  // namespace

HttpServer::HttpServer(runtime::Loop& loop, HttpServerOptions options, Handler handler)
    : loop_(loop),
      options_(std::move(options)),
      handler_(std::move(handler)),
      stop_accepting_(loop),
      gate_(loop),
      tasks_(loop) {
  if (!options_.error_body) options_.error_body = DefaultErrorBody;
}

HttpServer::~HttpServer() = default;

Status HttpServer::Listen(const Address& address, bool reuse_port) {
  auto listener = net::Listen(loop_, address, reuse_port);
  if (!listener) return tl::unexpected(listener.error());
  listener_ = std::move(*listener);
  address_ = LocalAddress(listener_->fd());
  tasks_.Spawn(AcceptConnections(loop_, listener_, stop_accepting_, [this](int fd) { StartConnection(fd); }));
  return {};
}

void HttpServer::StartConnection(int fd) {
  if (connections_.size() >= options_.connections_max || !gate_.Enter()) {
    static constexpr std::string_view kBusy =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n";
    [[maybe_unused]] const ssize_t n = send(fd, kBusy.data(), kBusy.size(), MSG_NOSIGNAL);
    close(fd);
    return;
  }
  tasks_.Spawn(RunConnection(this, fd));
}

Task<> HttpServer::RunConnection(HttpServer* server, int fd) {
  const GateSlot slot{server->gate_};
  HttpConnection connection(*server, fd);
  co_await connection.Run();
}

Task<size_t> HttpServer::Drain(Duration timeout) {
  stop_accepting_.Set();
  gate_.Close();
  for (size_t i = connections_.size(); i > 0; --i) connections_[i - 1]->Drain();
  runtime::Timer timer(loop_);
  timer.SetAfter(timeout);
  co_await AnyOf(gate_.drained(), timer);
  const size_t cut = connections_.size();
  for (HttpConnection* connection : connections_) connection->Cut();
  if (cut != 0) co_await AnyOf(gate_.drained());
  co_return cut;
}

std::string_view HttpServer::DateHeader() {
  const auto second = static_cast<int64_t>(loop_.UnixSeconds());
  if (second != date_second_) {
    date_second_ = second;
    const time_t t = second;
    tm parts;
    gmtime_r(&t, &parts);
    char text[64];
    const size_t n = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    date_.assign(text, n);
  }
  return date_;
}

const MessageHead& ServerExchange::head() const { return connection_.parser_.head(); }
const Address& ServerExchange::peer() const { return connection_.peer_; }

Task<Result<std::string>> ServerExchange::ReadBody() {
  HttpConnection& c = connection_;
  const size_t body_max = c.server_.options_.body_bytes_max;
  const MessageHead& h = c.parser_.head();
  std::string body;
  if (h.content_length) {
    if (*h.content_length > body_max) {
      close_after_ = true;
      co_return Fail(Code::kTooLarge, "the request body has " + std::to_string(*h.content_length) +
                                          " bytes; the limit is " + std::to_string(body_max));
    }
    body.reserve(*h.content_length);
  }
  if (h.expects_continue && c.Inbox().empty()) {
    const std::array<std::string_view, 1> parts = {"HTTP/1.1 100 Continue\r\n\r\n"};
    SendParts(c.descriptor_->fd(), parts);
  }
  c.timer_.SetAfter(c.server_.options_.body_timeout);
  for (;;) {
    const Status fed = c.FeedInbox(&body, body_max);
    if (!fed) {
      close_after_ = true;
      co_return tl::unexpected(fed.error());
    }
    if (c.parser_.message_done()) break;
    const uint32_t ready = co_await AnyOf(c.descriptor_->readable, c.timer_);
    if ((ready & 1u) == 0) {
      close_after_ = true;
      co_return Fail(Code::kTimeout, "the request's body did not arrive in time");
    }
    const IoState state = c.ReceiveMore();
    if (state == IoState::kClosed) {
      broken_ = true;
      co_return Fail(Code::kCancelled, "the client left in the middle of its request");
    }
    if (state == IoState::kOk) c.timer_.SetAfter(c.server_.options_.body_timeout);
  }
  body_read_ = true;
  co_return std::move(body);
}

runtime::Source& ServerExchange::ClientReadable() { return connection_.descriptor_->readable; }

bool ServerExchange::ClientThere() {
  if (broken_) return false;
  if (connection_.cut_) {
    broken_ = true;
    return false;
  }
  if (connection_.inbox_.size() >= connection_.server_.options_.pipelined_bytes_max) {
    broken_ = true;  // sends without end while it should be reading
    return false;
  }
  if (connection_.ReceiveMore() == IoState::kClosed) broken_ = true;
  return !broken_;
}

void ServerExchange::AppendHead(int status, std::span<const Header> headers, std::optional<uint64_t> content_length,
                                bool chunked) {
  HttpServer& server = connection_.server_;
  status_ = status;
  char line[32];
  out_.append(line, static_cast<size_t>(std::snprintf(line, sizeof line, "HTTP/1.1 %d ", status)));
  out_.append(ReasonPhrase(status)).append("\r\ndate: ").append(server.DateHeader());
  out_.append("\r\nserver: ").append(server.options_.server_name).append("\r\n");
  for (const Header& header : headers) {
    out_.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  if (content_length) {
    out_.append(line, static_cast<size_t>(std::snprintf(line, sizeof line, "content-length: %llu\r\n",
                                                        static_cast<unsigned long long>(*content_length))));
  }
  if (chunked) out_.append("transfer-encoding: chunked\r\n");
  if (server.draining()) close_after_ = true;
  if (close_after_) out_.append("connection: close\r\n");
  out_.append("\r\n");
}

void ServerExchange::Start(int status, std::span<const Header> headers, std::optional<uint64_t> content_length) {
  SLUICE_CHECK(!started_, "an exchange is answered once");
  started_ = true;
  const MessageHead& h = head();
  body_allowed_ = h.method != "HEAD" && status >= 200 && status != 204 && status != 304;
  chunked_ = !content_length && body_allowed_ && h.minor_version >= 1;
  if (!content_length && body_allowed_ && !chunked_) close_after_ = true;
  AppendHead(status, headers, content_length, chunked_);
}

void ServerExchange::Write(std::span<const std::string_view> parts, bool last) {
  SLUICE_CHECK(started_ && !finished_, "Write belongs between Start and the last Write");
  if (last) finished_ = true;
  if (broken_) return;
  size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  std::array<std::string_view, 16> all;
  size_t n = 0;
  char size_line[24];
  const std::string head = std::move(out_);
  out_.clear();
  all[n++] = head;
  if (body_allowed_ && bytes > 0) {
    if (chunked_) {
      const int size = std::snprintf(size_line, sizeof size_line, "%zx\r\n", bytes);
      all[n++] = {size_line, static_cast<size_t>(size)};
    }
    SLUICE_CHECK(parts.size() <= 12, "too many parts");
    for (const std::string_view part : parts) all[n++] = part;
    if (chunked_) all[n++] = last ? "\r\n0\r\n\r\n" : "\r\n";
  } else if (chunked_ && last) {
    all[n++] = "0\r\n\r\n";
  }
  const std::span<const std::string_view> views(all.data(), n);
  IoResult io = SendParts(connection_.descriptor_->fd(), views);
  if (io.state == IoState::kClosed) {
    broken_ = true;
    return;
  }
  bytes_sent_ += io.bytes;
  size_t skip = io.bytes;
  for (const std::string_view view : views) {
    if (skip >= view.size()) {
      skip -= view.size();
    } else {
      out_.append(view.substr(skip));
      skip = 0;
    }
  }
}

Task<bool> ServerExchange::Flush() {
  HttpConnection& c = connection_;
  c.timer_.SetAfter(c.server_.options_.write_timeout);
  size_t sent = 0;
  while (sent < out_.size() && !broken_) {
    const std::array<std::string_view, 1> parts = {std::string_view(out_).substr(sent)};
    const IoResult io = SendParts(c.descriptor_->fd(), parts);
    if (io.state == IoState::kOk) {
      sent += io.bytes;
      bytes_sent_ += io.bytes;
      c.timer_.SetAfter(c.server_.options_.write_timeout);
    } else if (io.state == IoState::kClosed) {
      broken_ = true;
    } else {
      const uint32_t ready = co_await AnyOf(c.descriptor_->writable, c.timer_);
      if ((ready & 1u) == 0) {
        broken_ = true;
        c.Cut();
      }
    }
  }
  out_.clear();
  co_return !broken_;
}

Task<bool> ServerExchange::Respond(int status, std::span<const Header> headers, std::string_view body) {
  Start(status, headers, body.size());
  Write(body, /*last=*/true);
  if (blocked()) co_await Flush();
  co_return !broken_;
}

Task<bool> ServerExchange::RespondError(const Error& error) {
  const std::string body = connection_.server_.options_.error_body(error);
  std::array<Header, 2> headers = {Header{"content-type", body.starts_with('{') ? "application/json" : "text/plain"}};
  size_t n = 1;
  const int status = Info(error.code).http_status;
  if (error.code == Code::kResourceExhausted || error.code == Code::kUnavailable) headers[n++] = {"retry-after", "1"};
  co_return co_await Respond(status, std::span<const Header>(headers.data(), n), body);
}

void ServerExchange::Abort() {
  broken_ = true;
  connection_.Cut();
}

}  // namespace sluice::net
