#include "net/http2_server.h"

#include <unistd.h>

#include <algorithm>

#include "net/http2_connection.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {

// Gives up its slot at the end of a connection's coroutine, however that ends.
struct GateSlot {
  runtime::Gate& gate;
  ~GateSlot() { gate.Leave(); }
};

// Holds a connection in the server's list. They are few and live long.
struct Listed {
  Listed(std::vector<Http2Connection*>& in, Http2Connection* what) : list(in), connection(what) { in.push_back(what); }
  ~Listed() { std::erase(list, connection); }
  Listed(const Listed&) = delete;
  std::vector<Http2Connection*>& list;
  Http2Connection* connection;
};

}  // namespace

Http2Server::Http2Server(runtime::Loop& loop, Http2ServerOptions options, Http2Session::Accept accept)
    : loop_(loop), options_(options), accept_(std::move(accept)), stop_accepting_(loop), gate_(loop), tasks_(loop) {}

Http2Server::~Http2Server() = default;

Status Http2Server::Listen(const Address& address) {
  auto listener = net::Listen(loop_, address);
  if (!listener) return tl::unexpected(listener.error());
  listener_ = std::move(*listener);
  address_ = LocalAddress(listener_->fd());
  tasks_.Spawn(Accept(this));
  return {};
}

Task<> Http2Server::Accept(Http2Server* server) {
  co_await AcceptConnections(server->loop_, *server->listener_, server->stop_accepting_,
                             [server](int fd) { server->StartConnection(fd); });
  server->listener_.Reset();
}

void Http2Server::StartConnection(int fd) {
  if (connections_.size() >= options_.connections_max || !gate_.Enter()) {
    close(fd);
    return;
  }
  tasks_.Spawn(RunConnection(this, fd));
}

Task<> Http2Server::RunConnection(Http2Server* server, int fd) {
  const GateSlot slot{server->gate_};
  Wire wire(server->loop_, runtime::DescriptorPtr(server->loop_, fd));
  if (server->options_.tls != nullptr) wire.Encrypt(*server->options_.tls);
  Http2Connection connection(server->loop_, std::move(wire), server->options_.times,
                             std::make_unique<Http2Session>(server->options_.session, server->accept_));
  const Listed listed(server->connections_, &connection);
  if (server->gate_.closed()) connection.Drain();
  co_await connection.Run();
}

Task<size_t> Http2Server::Drain(Duration timeout) {
  stop_accepting_.Set();
  gate_.Close();
  for (Http2Connection* connection : connections_) connection->Drain();
  runtime::Timer timer(loop_);
  timer.SetAfter(timeout);
  co_await AnyOf(gate_.drained(), timer);
  const size_t cut = connections_.size();
  for (Http2Connection* connection : connections_) connection->Cut();
  if (cut != 0) co_await AnyOf(gate_.drained());
  co_return cut;
}

}  // namespace sluice::net
