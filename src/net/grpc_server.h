// gRPC's framing on the server's side of HTTP/2: methods by path, messages in and out, a status at the end. For
// services whose messages are handled at once, without waiting: an endpoint picker, health.
// Why not gRPC's library: a request costs ten times as much there, and it brings a second HTTP/2 and threads of its
// own. Messages must not be compressed (a peer that does it hears so); deadlines are the client's to keep. Thread rule:
// the loop's thread. Ownership: a call lives in its stream and owns its handler. Cost: no copy of a message that
// arrives in one frame, none of one that is sent. Limits (GrpcMethods): bytes of a message, each way. Format:
// github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "net/http2_session.h"

namespace sluice::net {

enum GrpcStatus : int {
  kGrpcOk = 0,
  kGrpcInvalidArgument = 3,
  kGrpcNotFound = 5,
  kGrpcResourceExhausted = 8,
  kGrpcUnimplemented = 12,
};

class GrpcCall;

// What a method does with one call. OnClosed is the last call of all, and every handler gets it.
class GrpcHandler {
 public:
  virtual ~GrpcHandler() = default;
  virtual void OnMessage(std::string_view message) = 0;
  virtual void OnEnd() = 0;  // the client has sent everything
  virtual void OnClosed() {}
};

struct GrpcMethods {
  using Method = std::function<std::unique_ptr<GrpcHandler>(GrpcCall&)>;
  std::map<std::string, Method, std::less<>> by_path;  // "/package.Service/Method"
  size_t receive_bytes_max = 4 * 1024 * 1024;          // of a message
  size_t send_bytes_max = 4 * 1024 * 1024;
};

class GrpcCall final : public Http2Handler {
 public:
  // What a session does with a request; `methods` outlives the session.
  static Http2Session::Accept Accept(const GrpcMethods& methods);

  GrpcCall(Http2Stream& stream, const GrpcMethods& methods) : stream_(stream), methods_(methods) {}

  const MessageHead& head() const { return stream_.head(); }

  // A message is appended to what BeginMessage gives, and EndMessage sends it.
  std::string& BeginMessage();
  void EndMessage();
  // After the messages. What else the client sends is not looked at.
  void Close(int status, std::string_view message);
  bool closed() const { return closed_; }

  void OnData(std::string_view bytes) override;
  void OnEnd() override;
  void OnClosed() override;

 private:
  // The bytes used, 0 when the frame is not whole.
  size_t TakeFrame(std::string_view bytes);

  Http2Stream& stream_;
  const GrpcMethods& methods_;
  std::unique_ptr<GrpcHandler> handler_;
  std::string pending_;  // of a frame that has not come whole
  size_t begun_at_ = 0;
  bool closed_ = false;
};

}  // namespace sluice::net
