#include "net/http_client.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "base/check.h"
#include "net/http2_client.h"
#include "net/http2_connection.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::AnyOfPtr;
using runtime::Task;

// One connection to an engine, in use by a call or idle in the pool. While idle it waits for readability itself:
// whatever arrives then is the peer's end of it.
class ClientConnection final : private runtime::Waiter {
 public:
  ClientConnection(HttpClient& owner, std::string pool_key, std::string address, Wire w)
      : client(owner),
        key(std::move(pool_key)),
        peer(std::move(address)),
        wire(std::move(w)),
        parser(HttpParser::Kind::kResponse, owner.options_.head) {}

  void BeginIdle() {
    idle_since = client.loop_.Now();
    wire.readable().Attach(*this, 0);
  }
  void EndIdle() { wire.readable().Detach(); }

  HttpClient& client;
  std::string key;   // in the pool of idle ones
  std::string peer;  // for errors
  Wire wire;
  HttpParser parser;
  std::vector<std::string_view> pieces;
  TimePoint idle_since;
  bool reused = false;
  bool received_nothing = true;
  bool failed = false;

 private:
  void OnReady(unsigned) override { client.DropIdle(this); }
};

// An HTTP/2 connection that calls share. Its coroutine (RunLink) holds it too.
struct Http2Link {
  Http2Link(runtime::Loop& loop, Wire wire, const Http2Times& times, std::unique_ptr<Http2ClientSession> owned)
      : session(owned.get()), connection(loop, std::move(wire), times, std::move(owned)) {}

  // Takes one more call.
  bool Free() const { return session != nullptr && !connection.ending() && session->Free(); }

  Http2ClientSession* session;  // null: it has ended
  Http2Connection connection;
};

ClientTransport::ClientTransport(std::unique_ptr<TlsContext> tls, std::string peer_name)
    : tls_(std::move(tls)), peer_name_(std::move(peer_name)) {
  static std::atomic<uint64_t> made = 0;
  key_ = std::to_string(++made) + " ";
}

ClientCall::ClientCall(std::unique_ptr<ClientConnection> connection) : connection_(std::move(connection)) {}
ClientCall::ClientCall(std::shared_ptr<Http2Call> call) : http2_(std::move(call)) {}
ClientCall::ClientCall(ClientCall&&) noexcept = default;
ClientCall& ClientCall::operator=(ClientCall&& other) noexcept {
  if (this != &other) {
    const ClientCall discard(std::move(*this));
    connection_ = std::move(other.connection_);
    http2_ = std::move(other.http2_);
  }
  return *this;
}
ClientCall::~ClientCall() {
  if (http2_ != nullptr && http2_->session != nullptr) http2_->session->Cancel(*http2_);
  if (connection_ == nullptr || connection_->failed || !connection_->parser.message_done() ||
      !connection_->parser.keep_alive()) {
    return;
  }
  HttpClient& client = connection_->client;
  client.PutIdle(std::move(connection_));
}

runtime::Source& ClientCall::Readable() { return http2_ ? http2_->changed : connection_->wire.readable(); }
bool ClientCall::head_done() const { return http2_ ? http2_->head_done : connection_->parser.head_done(); }
bool ClientCall::done() const {
  return http2_ ? http2_->ended && http2_->body.empty() : connection_->parser.message_done();
}
const MessageHead& ClientCall::head() const { return http2_ ? http2_->head : connection_->parser.head(); }
bool ClientCall::reused() const { return http2_ ? http2_->reused : connection_->reused; }
bool ClientCall::received_nothing() const { return http2_ ? http2_->received_nothing : connection_->received_nothing; }

ClientCall::Step ClientCall::ReceiveHttp2() {
  Http2Call& c = *http2_;
  c.taken.clear();
  c.taken.swap(c.body);
  if (c.problem.empty()) c.changed.Clear();
  if (!c.taken.empty() && c.session != nullptr) c.session->Taken(c, c.taken.size());
  if (!c.problem.empty() && c.taken.empty()) return {{}, Error{Code::kBadGateway, c.peer + " " + c.problem, ""}};
  return {c.taken, std::nullopt};
}

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
  if (http2_ != nullptr) return ReceiveHttp2();
  ClientConnection& c = *connection_;
  c.pieces.clear();
  const auto fail = [&](Error error) {
    c.failed = true;
    return Step{{}, std::move(error)};
  };
  std::span<char> got;
  const IoState state = c.wire.Receive(got);
  if (state == IoState::kWouldBlock || (state == IoState::kOk && got.empty())) return {};
  if (state == IoState::kClosed) {
    const Status ended = c.parser.FeedEof();
    if (ended && c.parser.message_done()) return {};
    return fail({Code::kBadGateway, c.peer + " closed the connection before its answer was complete", ""});
  }
  c.received_nothing = false;
  std::string_view bytes(got.data(), got.size());
  for (;;) {
    const auto used = c.parser.Feed(bytes, c.pieces);
    if (!used) return fail({Code::kBadGateway, c.peer + " sent a malformed answer: " + used.error().message, ""});
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

void ClientCall::ExpectStream() {
  if (connection_ != nullptr) AcknowledgeLess(connection_->wire.fd());
}

HttpClient::HttpClient(runtime::Loop& loop, Options options)
    : loop_(loop),
      options_(options),
      http2_times_{.preface_timeout = options.connect_timeout,
                   .write_timeout = options.write_timeout,
                   .idle_timeout = options.idle_max},
      tasks_(loop) {}

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
    if (loop_.Now() - connection->idle_since > options_.idle_max) continue;
    connection->reused = true;
    connection->received_nothing = true;
    return connection;
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
  const std::string peer = address.ToString();
  const auto forget = [this](const std::string& key) {
    const auto found = idle_.find(key);
    if (found == idle_.end()) return;
    for (auto& connection : found->second) connection->EndIdle();
    idle_count_ -= found->second.size();
    idle_.erase(found);
  };
  forget(peer);
  std::erase_if(peers_, [&](auto& item) {  // of whatever transport
    auto& [key, known] = item;
    if (!key.ends_with(" " + peer)) return false;
    forget(key);
    for (const auto& link : known.links) link->connection.Drain();
    return known.links.empty() && !known.opening && known.awaiting.empty();
  });
}

namespace {
// Encrypted bytes are kept until the socket takes them, so they are made in pieces.
IoResult SendSome(Wire& wire, std::span<const std::string_view, 2> parts) {
  if (!wire.encrypted()) [[likely]]
    return wire.Send(parts);
  if (wire.unsent()) {
    const IoState state = wire.SendRest();
    if (state != IoState::kOk) return {state};
  }
  const std::array<std::string_view, 2> piece = {parts[0], parts[1].substr(0, 64 * 1024)};
  return wire.Send(piece);
}
}  // namespace

Task<Result<Wire>> HttpClient::Open(const ClientRequest& request, runtime::Source* cancel) {
  auto descriptor = co_await Connect(loop_, request.address, options_.connect_timeout, cancel);
  if (!descriptor) co_return tl::unexpected(descriptor.error());
  Wire wire(loop_, std::move(*descriptor));
  if (request.transport == nullptr || request.transport->tls() == nullptr) co_return std::move(wire);
  const std::string& name = request.transport->peer_name();
  wire.Encrypt(*request.transport->tls(), name.empty() ? request.address.host : name);
  const Status agreed = co_await wire.Handshake(options_.connect_timeout, cancel);
  if (agreed) co_return std::move(wire);
  Error error = agreed.error();
  if (error.code != Code::kCancelled) error.code = Code::kUnavailable;
  error.message = "no TLS with " + request.address.ToString() + ": " + error.message;
  co_return tl::unexpected(std::move(error));
}

Task<Result<ClientCall>> HttpClient::Start(ClientRequest request, runtime::Source* cancel) {
  std::unique_ptr<ClientConnection> connection;
  if (request.transport != nullptr) {
    auto opened = co_await OpenOver(request, cancel);
    if (!opened) co_return tl::unexpected(opened.error());
    if (opened->call) co_return std::move(*opened->call);
    connection = std::move(opened->http1);
  } else {
    std::string peer = request.address.ToString();
    if (!request.fresh) connection = TakeIdle(peer);
    if (connection == nullptr) {
      auto wire = co_await Open(request, cancel);
      if (!wire) co_return tl::unexpected(wire.error());
      connection = std::make_unique<ClientConnection>(*this, peer, peer, std::move(*wire));
    }
  }
  connection->parser.Reset(request.method == "HEAD");

  std::string& head = request_head_;
  head.clear();
  head.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\nhost: ");
  head.append(request.host.empty() ? std::string_view(connection->peer) : request.host).append("\r\n");
  for (const Header& header : request.headers) {
    head.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    head.append("content-length: ").append(std::to_string(request.body.size())).append("\r\n");
  }
  head.append("\r\n");

  std::array<std::string_view, 2> parts = {head, request.body};
  Wire& wire = connection->wire;
  std::string rest_of_head;  // request_head_ may be reused by another call while this one waits
  std::optional<runtime::Timer> timer;
  for (;;) {
    const IoResult io = SendSome(wire, parts);
    if (io.state == IoState::kClosed) {
      connection->failed = true;
      if (connection->reused) {  // the peer had closed it while it was idle; nothing of the answer can exist
        request.fresh = true;
        co_return co_await Start(request, cancel);
      }
      co_return Fail(Code::kBadGateway, connection->peer + " closed the connection while the request was being sent");
    }
    size_t sent = io.bytes;
    for (std::string_view& part : parts) {
      const size_t taken = std::min(sent, part.size());
      part.remove_prefix(taken);
      sent -= taken;
    }
    if (parts[0].empty() && parts[1].empty() && !wire.unsent()) break;
    if (wire.encrypted() && !wire.unsent()) continue;
    if (rest_of_head.empty() && !parts[0].empty()) {
      rest_of_head = parts[0];
      parts[0] = rest_of_head;
    }
    if (!timer) timer.emplace(loop_);
    timer->SetAfter(options_.write_timeout);
    // The engine may answer (413) before it has read everything; its answer then waits in the socket. What is encrypted
    // may be TLS's own.
    runtime::Source* writable = &wire.writable();
    runtime::Source* readable = wire.encrypted() ? nullptr : &wire.readable();
    runtime::Source* expired = &*timer;
    const uint32_t ready = co_await AnyOfPtr(writable, readable, expired, cancel);
    if ((ready & 8u) != 0) co_return Fail(Code::kCancelled, "the request was cancelled");
    if ((ready & 2u) != 0) break;
    if ((ready & 1u) == 0) co_return Fail(Code::kUpstreamTimeout, connection->peer + " does not read the request");
  }
  co_return ClientCall(std::move(connection));
}

// Over a transport
// ---------------------------------------------------------------------------------------------------------

std::shared_ptr<Http2Link> HttpClient::FreeLink(const Peer& peer) {
  for (const auto& link : peer.links) {
    if (link->Free()) return link;
  }
  return nullptr;
}

Task<> HttpClient::RunLink(HttpClient* client, std::string key, std::shared_ptr<Http2Link> link, std::string early) {
  co_await link->connection.Run(early);
  link->session = nullptr;
  if (const auto peer = client->peers_.find(key); peer != client->peers_.end()) std::erase(peer->second.links, link);
}

Task<bool> HttpClient::AwaitOpening(Peer& peer, runtime::Source* cancel) {
  runtime::Event opened(loop_);
  peer.awaiting.push_back(&opened);
  struct Leave {
    ~Leave() { std::erase(peer.awaiting, event); }
    Peer& peer;
    runtime::Event* event;
  } const leave{peer, &opened};
  runtime::Source* source = &opened;
  const uint32_t ready = co_await AnyOfPtr(source, cancel);
  co_return (ready & 2u) == 0;
}

Task<Result<HttpClient::Opened>> HttpClient::OpenOver(ClientRequest request, runtime::Source* cancel) {
  const std::string name = request.address.ToString();
  const std::string key = request.transport->key() + name;
  Peer& peer = peers_[key];  // stays where it is
  while (!request.fresh) {
    if (const auto link = FreeLink(peer)) co_return co_await StartHttp2(request, link, /*reused=*/true, cancel);
    if (auto idle = TakeIdle(key)) co_return Opened{.http1 = std::move(idle)};
    if (!peer.opening || peer.http1) break;
    const bool opened = co_await AwaitOpening(peer, cancel);
    if (!opened) co_return Fail(Code::kCancelled, "connecting to " + name + " was cancelled");
  }
  // Others wait for what comes of this, however it ends.
  struct Told {
    explicit Told(Peer& of) : peer(of) { peer.opening = true; }
    Told(const Told&) = delete;
    ~Told() {
      peer.opening = false;
      for (runtime::Event* event : peer.awaiting) event->Set();
    }
    Peer& peer;
  };
  std::optional<Told> told;
  told.emplace(peer);
  auto wire = co_await Open(request, cancel);
  if (!wire) co_return tl::unexpected(wire.error());
  const bool http2 = request.transport->tls() == nullptr || wire->protocol() == "h2";
  peer.http1 = !http2;
  if (!http2) {
    co_return Opened{.http1 = std::make_unique<ClientConnection>(*this, key, name, std::move(*wire))};
  }
  std::string early = wire->TakeEarly();
  auto link = std::make_shared<Http2Link>(loop_, std::move(*wire), http2_times_,
                                          std::make_unique<Http2ClientSession>(options_.head));
  peer.links.push_back(link);
  tasks_.Spawn(RunLink(this, key, link, std::move(early)));
  told.reset();
  co_return co_await StartHttp2(request, link, /*reused=*/false, cancel);
}

Task<Result<HttpClient::Opened>> HttpClient::StartHttp2(ClientRequest request, std::shared_ptr<Http2Link> link,
                                                        bool reused, runtime::Source* cancel) {
  const std::string name = request.address.ToString();
  auto call = std::make_shared<Http2Call>(loop_);
  call->reused = reused;
  call->peer = name;
  link->session->Submit({.method = request.method,
                         .scheme = request.transport->scheme(),
                         .authority = request.host.empty() ? std::string_view(name) : request.host,
                         .target = request.target,
                         .headers = request.headers,
                         .body = request.body},
                        call);
  ClientCall out(call);
  // The body is the caller's only until this returns. An answer may come before it has left; then it never does.
  runtime::Timer timer(loop_);
  while (!call->unsent.empty() && !call->head_done && call->problem.empty()) {
    call->changed.Clear();
    timer.SetAfter(options_.write_timeout);
    runtime::Source* changed = &call->changed;
    runtime::Source* expired = &timer;
    const uint32_t ready = co_await AnyOfPtr(changed, expired, cancel);
    if ((ready & 4u) != 0) co_return Fail(Code::kCancelled, "the request was cancelled");
    if ((ready & 1u) == 0) co_return Fail(Code::kUpstreamTimeout, name + " does not read the request");
  }
  call->body_gone = !call->unsent.empty();
  if (!call->head_done && call->problem.empty()) call->changed.Clear();
  co_return Opened{.call = std::move(out)};
}

size_t HttpClient::http2_connections() const {
  size_t n = 0;
  for (const auto& [key, peer] : peers_) n += peer.links.size();
  return n;
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
