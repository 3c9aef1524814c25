// ExtProcStream: the endpoint picker protocol for one request, as a state machine: ProcessingRequests in,
// ProcessingResponses out. Pure but for the Director, which decides.
// With a body, nothing is answered before its end; then the head's mutation, then the body in pieces of at most 62,000
// bytes. An answer that is streamed passes piece by piece; one that is not is held until its end, or until
// held_bytes_max, so that the client's model name can be put back in one go. Request trailers end a body as its last
// piece does (upstream never answers them). A response's head may come at any time after the request's: Envoy answers
// for itself too. A piece of body behind the end is passed over, because Envoy repeats the last one at times. Whatever
// else is out of order ends the stream with INVALID_ARGUMENT.
// While the director prepares, what comes of the request's side is remembered; an answer that comes before its
// request was sent on is Envoy's own, and ends the preparing.
// Thread rule: the loop's thread. Ownership: borrows everything; owns the request until it is routed.
// Cost: one copy of the request's head and body; no allocation for a piece of a streamed answer.
// Limits: Options; a message's size is the transport's.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "extproc/director.h"
#include "extproc/messages.h"
#include "parse/model_restorer.h"

namespace sluice::extproc {

// Where answers go. Begin() gives a string to append one message to, End() sends it.
class ReplySink {
 public:
  virtual std::string& Begin() = 0;
  virtual void End() = 0;
  // After the messages: the stream's gRPC status.
  virtual void Close(int grpc_status, std::string_view message) = 0;

 protected:
  ~ReplySink() = default;
};

class ExtProcStream {
 public:
  struct Options {
    size_t body_bytes_max = size_t{64} << 20;
    size_t held_bytes_max = size_t{1} << 20;
    bool use_subset_hint = true;
  };
  // Of the message that is being read or written: kept, so that the next one has room already.
  struct Scratch {
    ProcessingRequest in;
    HeadMutation mutation;
  };
  // What the streams of one loop share.
  struct Parts {
    Options options;
    Rng& rng;  // for request ids
    Scratch& scratch;
  };

  ExtProcStream(const Parts& parts, Director& director, ReplySink& sink);
  ExtProcStream(const ExtProcStream&) = delete;

  // Once the stream is closed, messages are ignored.
  void OnMessage(std::string_view message);
  // The peer is gone. Also a no-op once the stream is closed.
  void OnGone();
  // The peer has nothing more to say: a request that is complete still gets its answer.
  void OnEnd();
  // Takes a request back after it was dispatched: the client gets 429. Ignored when the answer is already complete.
  void Evict(std::string_view reason);

  bool closed() const { return closed_; }

 private:
  enum class Request : uint8_t { kNothing, kHead, kPreparing, kAnswered };
  enum class Response : uint8_t { kNothing, kHead, kDone };

  void OnRequestHeaders(std::string_view message);
  void OnRequestBody();
  void OnRequestTrailers();
  void OnResponseHeaders();
  void OnResponseBody();
  void OnResponseTrailers();

  void KeepHead(std::string_view message);
  void FindRequestId();
  HeadMutation& NewMutation();
  void AnswerBodyless();
  RequestText Text() const;
  // The request is complete. `last`: its body's end is its own, no trailers follow.
  void Prepare(bool last);
  // The request is sent on, or refused, and its trailers with it when they are there.
  void Finish();
  bool RouteAndAnswer();
  void AnswerRequestHead(const Routing& routing, size_t body_bytes, bool with_request_headers);
  void SendBody(Side side, std::string_view body, bool end_of_stream);
  void PassOn(std::string_view bytes, bool end);
  void Refuse(const Refusal& refusal);
  void OutOfOrder(std::string_view what);
  void Complete();
  void End(EndCause cause);
  void Close(int grpc_status, std::string_view message);

  Parts parts_;
  Director& director_;
  ReplySink& sink_;
  Request request_ = Request::kNothing;
  Response response_ = Response::kNothing;
  bool closed_ = false;
  bool routed_ = false;  // the director waits for OnEnd
  bool trailers_came_ = false;
  bool body_is_last_ = false;
  bool peer_ended_ = false;  // while the director prepared
  bool response_bodies_come_ = true;
  bool streaming_ = false;

  std::string head_;  // the message of the request's headers
  std::vector<HeaderView> headers_;
  std::string_view request_id_;  // in head_, or the one that was made
  std::string made_id_;
  std::string body_;
  std::optional<std::vector<std::string>> subset_;
  std::string held_;      // of an answer that is not streamed
  std::string restored_;  // scratch
  std::optional<parse::ModelRestorer> restorer_;
};

}  // namespace sluice::extproc
