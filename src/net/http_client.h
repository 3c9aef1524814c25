// HttpClient: HTTP/1.1 requests from one loop, with kept-alive connections per address.
//   Result<ClientCall> call = co_await client.Start(request, &cancel);   // connected, request written
//   while (!call->done()) { co_await AnyOf(call->Readable(), …); ClientCall::Step step = call->Receive(); … }
// Or Fetch() for a whole answer.
// Thread rule: the loop's thread. Ownership: a ClientCall owns its connection; destroying it before done() closes the
// connection, which is how a request is cancelled. Calls must not outlive the client.
// Cost: a reused connection costs one send and one recv a small request. Idle connections are watched without a system
// call and dropped when the peer closes them.
// Limits (Options): idle connections per address, head size, connect time.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/http_message.h"
#include "net/http_parser.h"
#include "net/socket.h"
#include "runtime/loop.h"

namespace sluice::net {

class ClientConnection;

struct ClientRequest {
  Address address;
  std::string_view method = "GET";
  std::string_view target = "/";
  std::span<const Header> headers;  // without host, content-length, connection
  std::string_view body;            // must live until Start() returns
  std::string_view host;            // empty: the address
  bool fresh = false;               // do not reuse a kept-alive connection
};

class ClientCall {
 public:
  ClientCall(ClientCall&&) noexcept;
  ClientCall& operator=(ClientCall&&) noexcept;
  ~ClientCall();

  // What one recv brought, without framing. `body` is a view into the loop's scratch: use it before the next wait.
  struct Step {
    std::string_view body;
    std::optional<Error> error;  // the connection broke or sent something that is not HTTP; the call is over
  };
  runtime::Source& Readable();
  Step Receive();

  bool head_done() const;
  bool done() const;  // the whole response has been received
  const MessageHead& head() const;
  // On a kept-alive connection a failure before any response byte may only mean that the peer had just closed it: the
  // request can be sent once more with `fresh`.
  bool reused() const;
  bool received_nothing() const;

 private:
  friend class HttpClient;
  explicit ClientCall(std::unique_ptr<ClientConnection> connection);
  std::unique_ptr<ClientConnection> connection_;
};

struct FetchResponse {
  int status = 0;
  HeaderList headers;
  std::string body;
};

class HttpClient {
 public:
  struct Options {
    HttpParser::Limits head;
    Duration connect_timeout = std::chrono::seconds(3);
    Duration write_timeout = std::chrono::seconds(60);
    size_t idle_per_address_max = 1024;
    Duration idle_max = std::chrono::seconds(60);  // shorter than the server's idle_timeout
  };

  HttpClient(runtime::Loop& loop, Options options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;

  // Connects (or reuses) and writes the request. kUnavailable: no connection could be made, nothing was sent.
  // kBadGateway: it broke while the request was being written.
  runtime::Task<Result<ClientCall>> Start(ClientRequest request, runtime::Source* cancel = nullptr);

  // A whole small answer within `timeout`. A stale kept-alive connection is tried once more.
  runtime::Task<Result<FetchResponse>> Fetch(ClientRequest request, Duration timeout, size_t body_bytes_max);

  // Closes the idle connections to an address that left the pool.
  void Forget(const Address& address);
  size_t idle_connections() const { return idle_count_; }

 private:
  friend class ClientCall;
  friend class ClientConnection;
  std::unique_ptr<ClientConnection> TakeIdle(const std::string& key);
  void PutIdle(std::unique_ptr<ClientConnection> connection);
  void DropIdle(ClientConnection* connection);
  runtime::Task<Result<FetchResponse>> FetchOnce(const ClientRequest& request, runtime::Timer& timer,
                                                 size_t body_bytes_max, bool* stale);

  runtime::Loop& loop_;
  Options options_;
  std::unordered_map<std::string, std::vector<std::unique_ptr<ClientConnection>>> idle_;
  size_t idle_count_ = 0;
  std::string request_head_;  // reused while building a request
};

}  // namespace sluice::net
