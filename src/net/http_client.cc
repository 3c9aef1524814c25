#include "net/http_client.h"

#include <array>
#include <cstring>

#include "base/check.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::AnyOfPtr;
using runtime::Task;

// One connection to an engine, in use by a call or idle in the pool. While idle it waits for readability itself:
// whatever arrives then is the peer's end of it.
class ClientConnection final : private runtime::Waiter {
 public:
  ClientConnection(HttpClient& owner, std::string pool_key, runtime::DescriptorPtr d)
      : client(owner),
        key(std::move(pool_key)),
        descriptor(std::move(d)),
        parser(HttpParser::Kind::kResponse, owner.options_.head) {}

  void BeginIdle() {
    idle_since = client.loop_.Now();
    descriptor->readable.Attach(*this, 0);
  }
  void EndIdle() { descriptor->readable.Detach(); }

  HttpClient& client;
  std::string key;
  runtime::DescriptorPtr descriptor;
  HttpParser parser;
  std::vector<std::string_view> pieces;
  TimePoint idle_since;
  bool reused = false;
  bool received_nothing = true;
  bool failed = false;

 private:
  void OnReady(unsigned) override { client.DropIdle(this); }
};

ClientCall::ClientCall(std::unique_ptr<ClientConnection> connection) : connection_(std::move(connection)) {}
ClientCall::ClientCall(ClientCall&&) noexcept = default;
ClientCall& ClientCall::operator=(ClientCall&& other) noexcept {
  if (this != &other) {
    ClientCall discard(std::move(connection_));
    connection_ = std::move(other.connection_);
  }
  return *this;
}
ClientCall::~ClientCall() {
  if (connection_ == nullptr || connection_->failed || !connection_->parser.message_done() ||
      !connection_->parser.keep_alive()) {
    return;
  }
  HttpClient& client = connection_->client;
  client.PutIdle(std::move(connection_));
}

runtime::Source& ClientCall::Readable() { return connection_->descriptor->readable; }
bool ClientCall::head_done() const { return connection_->parser.head_done(); }
bool ClientCall::done() const { return connection_->parser.message_done(); }
const MessageHead& ClientCall::head() const { return connection_->parser.head(); }
bool ClientCall::reused() const { return connection_->reused; }
bool ClientCall::received_nothing() const { return connection_->received_nothing; }

namespace {
// Moves the pieces, which lie in one writable buffer in ascending order, together. Events that arrived together are
// thereby one send to the client instead of several.
std::string_view Join(std::span<const std::string_view> pieces) {
  if (pieces.empty()) return {};
  char* const begin = const_cast<char*>(pieces.front().data());
  size_t size = pieces.front().size();
  for (const std::string_view piece : pieces.subspan(1)) {
    std::memmove(begin + size, piece.data(), piece.size());
    size += piece.size();
  }
  return {begin, size};
}
}  // namespace

ClientCall::Step ClientCall::Receive() {
  ClientConnection& c = *connection_;
  c.pieces.clear();
  const auto fail = [&](Error error) {
    c.failed = true;
    return Step{{}, std::move(error)};
  };
  const std::span<char> scratch = c.client.loop_.scratch();
  const IoResult io = net::Receive(c.descriptor->fd(), scratch);
  if (io.state == IoState::kWouldBlock) return {};
  if (io.state == IoState::kClosed) {
    const Status ended = c.parser.FeedEof();
    if (ended && c.parser.message_done()) return {};
    return fail({Code::kBadGateway, c.key + " closed the connection before its answer was complete", ""});
  }
  c.received_nothing = false;
  std::string_view bytes(scratch.data(), io.bytes);
  for (;;) {
    const auto used = c.parser.Feed(bytes, c.pieces);
    if (!used) return fail({Code::kBadGateway, c.key + " sent a malformed answer: " + used.error().message, ""});
    bytes.remove_prefix(*used);
    const bool interim = c.parser.message_done() && c.parser.head().status < 200;  // 100 Continue and the like
    if (interim) c.parser.Reset();
    if (c.parser.message_done()) {
      if (!bytes.empty()) c.failed = true;  // bytes after the answer: not a connection to keep
      break;
    }
    if (bytes.empty() && !(c.parser.head_done() && *used > 0)) break;
  }
  return {Join(c.pieces), std::nullopt};
}

HttpClient::HttpClient(runtime::Loop& loop, Options options) : loop_(loop), options_(options) {}

HttpClient::~HttpClient() {
  for (auto& [key, connections] : idle_) {
    for (auto& connection : connections) connection->EndIdle();
  }
}

std::unique_ptr<ClientConnection> HttpClient::TakeIdle(const std::string& key) {
  const auto found = idle_.find(key);
  if (found == idle_.end()) return nullptr;
  auto& connections = found->second;
  while (!connections.empty()) {
    std::unique_ptr<ClientConnection> connection = std::move(connections.back());
    connections.pop_back();
    --idle_count_;
    connection->EndIdle();
    if (loop_.Now() - connection->idle_since <= options_.idle_max) return connection;
  }
  return nullptr;
}

void HttpClient::PutIdle(std::unique_ptr<ClientConnection> connection) {
  auto& connections = idle_[connection->key];
  if (connections.size() >= options_.idle_per_address_max) return;
  connection->BeginIdle();
  connections.push_back(std::move(connection));
  ++idle_count_;
}

void HttpClient::DropIdle(ClientConnection* connection) {
  auto& connections = idle_[connection->key];
  for (auto& slot : connections) {
    if (slot.get() != connection) continue;
    slot->EndIdle();
    std::swap(slot, connections.back());
    connections.pop_back();
    --idle_count_;
    return;
  }
}

void HttpClient::Forget(const Address& address) {
  const auto found = idle_.find(address.ToString());
  if (found == idle_.end()) return;
  for (auto& connection : found->second) connection->EndIdle();
  idle_count_ -= found->second.size();
  idle_.erase(found);
}

Task<Result<ClientCall>> HttpClient::Start(ClientRequest request, runtime::Source* cancel) {
  std::string key = request.address.ToString();
  std::unique_ptr<ClientConnection> connection;
  if (!request.fresh) connection = TakeIdle(key);
  if (connection != nullptr) {
    connection->reused = true;
    connection->received_nothing = true;
  } else {
    auto descriptor = co_await Connect(loop_, request.address, options_.connect_timeout, cancel);
    if (!descriptor) co_return tl::unexpected(descriptor.error());
    connection = std::make_unique<ClientConnection>(*this, std::move(key), std::move(*descriptor));
  }
  connection->parser.Reset(request.method == "HEAD");

  std::string& head = request_head_;
  head.clear();
  head.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\nhost: ");
  head.append(request.host.empty() ? std::string_view(connection->key) : request.host).append("\r\n");
  for (const Header& header : request.headers) {
    head.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    head.append("content-length: ").append(std::to_string(request.body.size())).append("\r\n");
  }
  head.append("\r\n");

  std::array<std::string_view, 2> parts = {head, request.body};
  const int fd = connection->descriptor->fd();
  std::string rest_of_head;  // request_head_ may be reused by another call while this one waits
  std::optional<runtime::Timer> timer;
  for (;;) {
    const IoResult io = SendParts(fd, parts);
    if (io.state == IoState::kClosed) {
      connection->failed = true;
      if (connection->reused) {  // the peer had closed it while it was idle; nothing of the answer can exist
        request.fresh = true;
        co_return co_await Start(request, cancel);
      }
      co_return Fail(Code::kBadGateway, connection->key + " closed the connection while the request was being sent");
    }
    size_t sent = io.bytes;
    for (std::string_view& part : parts) {
      const size_t taken = std::min(sent, part.size());
      part.remove_prefix(taken);
      sent -= taken;
    }
    if (parts[0].empty() && parts[1].empty()) break;
    if (rest_of_head.empty() && !parts[0].empty()) {
      rest_of_head = parts[0];
      parts[0] = rest_of_head;
    }
    if (!timer) timer.emplace(loop_);
    timer->SetAfter(options_.write_timeout);
    // The engine may answer (413) before it has read everything; its answer then waits in the socket.
    runtime::Source* writable = &connection->descriptor->writable;
    runtime::Source* readable = &connection->descriptor->readable;
    runtime::Source* expired = &*timer;
    const uint32_t ready = co_await AnyOfPtr(writable, readable, expired, cancel);
    if ((ready & 8u) != 0) co_return Fail(Code::kCancelled, "the request was cancelled");
    if ((ready & 2u) != 0) break;
    if ((ready & 1u) == 0) co_return Fail(Code::kUpstreamTimeout, connection->key + " does not read the request");
  }
  co_return ClientCall(std::move(connection));
}

Task<Result<FetchResponse>> HttpClient::FetchOnce(const ClientRequest& request, runtime::Timer& timer,
                                                  size_t body_bytes_max, bool* stale) {
  *stale = false;
  auto call = co_await Start(request, &timer);
  if (!call) co_return tl::unexpected(call.error());
  FetchResponse response;
  while (!call->done()) {
    const uint32_t ready = co_await AnyOf(call->Readable(), timer);
    if ((ready & 1u) == 0) {
      co_return Fail(Code::kUpstreamTimeout, request.address.ToString() + " did not answer in time");
    }
    const ClientCall::Step step = call->Receive();
    if (step.error) {
      *stale = call->reused() && call->received_nothing();
      co_return tl::unexpected(*step.error);
    }
    if (response.body.size() + step.body.size() > body_bytes_max) {
      co_return Fail(Code::kBadGateway, request.address.ToString() + " answered with more than " +
                                            std::to_string(body_bytes_max) + " bytes");
    }
    response.body.append(step.body);
  }
  response.status = call->head().status;
  response.headers = call->head().headers;
  co_return response;
}

Task<Result<FetchResponse>> HttpClient::Fetch(ClientRequest request, Duration timeout, size_t body_bytes_max) {
  runtime::Timer timer(loop_);
  timer.SetAfter(timeout);
  bool stale = false;
  auto response = co_await FetchOnce(request, timer, body_bytes_max, &stale);
  if (!response && stale) {
    request.fresh = true;
    response = co_await FetchOnce(request, timer, body_bytes_max, &stale);
  }
  co_return response;
}

}  // namespace sluice::net
