#include "net/http_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

#include "base/check.h"
#include "net/http2_exchange.h"
#include "net/http_connection.h"
#include "net/port_handover.h"
#include "net/wire.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {
// Gives up its slot at the end of a connection's coroutine, however that ends.
struct GateSlot {
  runtime::Gate& gate;
  ~GateSlot() { gate.Leave(); }
};

// A connection that has not said anything yet.
class Handshaking final : public ServerConnection {
 public:
  Handshaking(std::vector<ServerConnection*>& list, Wire& wire) : ServerConnection(list), wire_(wire) {}
  void Drain() override {}
  void Cut() override { shutdown(wire_.fd(), SHUT_RDWR); }
  bool busy() const override { return false; }

 private:
  Wire& wire_;
};

constexpr double kBodySecondsMax = 1e6;

std::string DefaultErrorBody(const Error& error) { return error.message + "\n"; }
}  // namespace

TimePoint BodyDeadline(const HttpServerOptions& options, TimePoint began, TimePoint piece, size_t bytes) {
  if (options.body_rate_min == 0) return piece + options.body_timeout;
  const double seconds = static_cast<double>(bytes) / static_cast<double>(options.body_rate_min);
  return std::min(piece, began + FromSeconds(std::min(seconds, kBodySecondsMax))) + options.body_timeout;
}

Error BodyLate(const HttpServerOptions& options) {
  std::string message = "the request's body did not arrive in time";
  if (options.body_rate_min != 0) {
    message += "; it must come with " + std::to_string(options.body_rate_min) + " bytes a second at least";
  }
  return Error{Code::kTimeout, std::move(message), ""};
}

HttpServer::HttpServer(runtime::Loop& loop, HttpServerOptions options, Handler handler)
    : loop_(loop),
      options_(std::move(options)),
      handler_(std::move(handler)),
      stop_accepting_(loop),
      accepted_all_(loop),
      gate_(loop),
      tasks_(loop) {
  if (!options_.error_body) options_.error_body = DefaultErrorBody;
  options_.http2.head_bytes_max = options_.head.head_bytes_max;
  options_.http2.headers_max = options_.head.headers_max;
  http2_times_ = {.preface_timeout = options_.head_timeout,
                  .write_timeout = options_.write_timeout,
                  .idle_timeout = options_.idle_timeout};
}

HttpServer::~HttpServer() = default;

Status HttpServer::Listen(const Address& address, bool reuse_port) {
  auto listener = net::Listen(loop_, address, reuse_port);
  if (!listener) return tl::unexpected(listener.error());
  listener_ = std::move(*listener);
  address_ = LocalAddress(listener_->fd());
  shared_port_ = reuse_port;
  tasks_.Spawn(Accept(this));
  return {};
}

Task<> HttpServer::Accept(HttpServer* server) {
  const std::function<void(int)> start = [server](int fd) { server->StartConnection(fd); };
  co_await AcceptConnections(server->loop_, *server->listener_, server->stop_accepting_, start);
  if (server->shared_port_) {
    server->handed_over_ = co_await HandOver(server->loop_, server->listener_, start);
  } else {
    AcceptWaiting(server->listener_->fd(), start);
    server->listener_.Reset();
  }
  server->accepted_all_.Set();
}

void HttpServer::StartConnection(int fd) {
  if (gate_.inside() >= options_.connections_max || !gate_.Enter()) {
    static constexpr std::string_view kBusy =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n";
    if (options_.tls == nullptr) [[maybe_unused]]
      const ssize_t n = send(fd, kBusy.data(), kBusy.size(), MSG_NOSIGNAL);
    close(fd);
    return;
  }
  tasks_.Spawn(options_.tls == nullptr ? RunConnection(this, fd) : RunEncrypted(this, fd));
}

Task<> HttpServer::RunConnection(HttpServer* server, int fd) {
  const GateSlot slot{server->gate_};
  std::optional<HttpConnection> connection;
  connection.emplace(*server, Wire(server->loop_, runtime::DescriptorPtr(server->loop_, fd)), std::string());
  const HttpConnection::End end = co_await connection->Run();
  if (end != HttpConnection::End::kHttp2) co_return;
  Wire wire = connection->TakeWire();
  std::string first = connection->TakeInbox();
  connection.reset();
  co_await server->SpeakHttp2(std::move(wire), std::move(first));
}

Task<> HttpServer::RunEncrypted(HttpServer* server, int fd) {
  const GateSlot slot{server->gate_};
  Wire wire(server->loop_, runtime::DescriptorPtr(server->loop_, fd));
  wire.Encrypt(*server->options_.tls);
  {
    const Handshaking handshaking(server->connections_, wire);
    const Status agreed = co_await wire.Handshake(server->options_.head_timeout);
    if (!agreed) {
      static constexpr std::string_view kWantsTls =
          "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 48\r\nconnection: close\r\n\r\n"
          "this port speaks TLS: write https:// in the URL\n";
      const std::array<std::string_view, 1> parts = {kWantsTls};
      if (wire.spoken_in_clear()) SendParts(wire.fd(), parts);
      co_return;
    }
  }
  std::string first = wire.TakeEarly();
  if (wire.protocol() == "h2") {
    co_await server->SpeakHttp2(std::move(wire), std::move(first));
  } else {
    HttpConnection connection(*server, std::move(wire), std::move(first));
    co_await connection.Run();
  }
}

Task<> HttpServer::SpeakHttp2(Wire wire, std::string first) {
  Http2Front front(*this, std::move(wire));
  co_await front.Run(std::move(first));
}

Task<size_t> HttpServer::Drain(Duration timeout) {
  draining_ = true;
  runtime::Timer timer(loop_);
  timer.SetAfter(timeout);
  if (listener_) {
    stop_accepting_.Set();
    co_await AnyOf(accepted_all_);
  } else {
    accepted_all_.Set();
  }
  gate_.Close();
  for (size_t i = connections_.size(); i > 0; --i) connections_[i - 1]->Drain();
  co_await AnyOf(gate_.drained(), timer);
  size_t cut = 0;
  for (ServerConnection* connection : connections_) {
    cut += connection->busy() ? 1 : 0;
    connection->Cut();
  }
  co_await AnyOf(gate_.drained());
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

void ServerExchange::Start(int status, std::span<const Header> headers, std::optional<uint64_t> content_length) {
  SLUICE_CHECK(!started_, "an exchange is answered once");
  started_ = true;
  status_ = status;
  body_allowed_ = head_.method != "HEAD" && status >= 200 && status != 204 && status != 304;
  Begin(headers, content_length);
}

Task<bool> ServerExchange::Respond(int status, std::span<const Header> headers, std::string_view body) {
  Start(status, headers, body.size());
  Write(body, /*last=*/true);
  if (blocked()) co_await Flush();
  co_return !broken_;
}

Task<bool> ServerExchange::RespondError(const Error& error) {
  const std::string body = server_.options_.error_body(error);
  std::array<Header, 2> headers = {Header{"content-type", body.starts_with('{') ? "application/json" : "text/plain"}};
  size_t n = 1;
  const int status = Info(error.code).http_status;
  if (error.code == Code::kResourceExhausted || error.code == Code::kUnavailable) headers[n++] = {"retry-after", "1"};
  co_return co_await Respond(status, std::span<const Header>(headers.data(), n), body);
}

}  // namespace sluice::net
