// Http2Session: the server's side of one HTTP/2 connection without its socket: bytes in, bytes out, a handler for each
// stream. On nghttp2, which knows the protocol; here are the limits, the flow of bytes and the streams' lives.
// A handler is called while bytes are received or pulled; what it sends is collected and leaves with the next Pull, so
// all answers of one wake-up go out together. A peer that does not read a stream's answers gets no window to send more
// of that stream; the connection's own window is always given back, so one slow stream holds up no other.
// Thread rule: one owner. Ownership: owns streams and handlers; a Http2Stream lives until its handler's OnClosed.
// Cost: about 1 us a frame; one copy of what is sent. Limits: Options; floods (settings, pings, continuations) end the
// connection. Resets count as the options say: Envoy ends every ext_proc stream with one, a stranger should not.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/http2_core.h"
#include "net/http_message.h"

namespace sluice::net {

class Http2Session;

// What a stream's owner does with it. OnClosed is the last call, and every stream gets it.
class Http2Handler {
 public:
  virtual ~Http2Handler() = default;
  virtual void OnData(std::string_view bytes) = 0;
  virtual void OnEnd() = 0;  // the peer has sent everything
  virtual void OnClosed() = 0;
  virtual void OnSent() {}  // some of what waited has left
};

class Http2Stream {
 public:
  Http2Stream(Http2Session& session, int32_t id) : session_(session), id_(id) {}
  Http2Stream(const Http2Stream&) = delete;

  const MessageHead& head() const { return head_; }
  MessageHead TakeHead() { return std::move(head_); }

  // The answer's head; `end`: there is nothing behind it. Once.
  void Start(int status, std::span<const Header> headers, bool end);
  bool started() const { return started_; }
  // Body: append to it, then Send(). What was appended before stays.
  std::string& out() { return out_; }
  size_t unsent() const { return out_.size() - out_at_; }
  void Send();
  // Ends the answer behind what was appended, with trailers or without. Once.
  void Finish(std::span<const Header> trailers);
  bool finished() const { return finished_; }
  // The answer cannot be completed: the peer is told so, and OnClosed follows.
  void Reset();
  // The answer is whole, and the rest of the request is not wanted: the peer is told so.
  void Forgo();

 private:
  friend class Http2Session;
  friend struct Http2Callbacks;
  Http2Session& session_;
  int32_t id_;
  MessageHead head_;
  size_t head_bytes_ = 0;
  bool head_too_large_ = false;
  std::unique_ptr<Http2Handler> handler_;
  std::string out_;
  size_t out_at_ = 0;      // of it, sent
  size_t unconsumed_ = 0;  // bytes received that the peer has no window for again
  HeaderList trailers_;
  bool started_ = false;
  bool finished_ = false;
  bool deferred_ = false;  // nghttp2 waits for Send()
  size_t index_ = 0;       // in the session's list
};

class Http2Session final : public Http2Core {
 public:
  struct Options {
    uint32_t streams_max = 1000;        // at once
    size_t head_bytes_max = 64 * 1024;  // names, values and 32 bytes each, as HTTP counts
    size_t headers_max = 1000;
    uint32_t stream_window = 1024 * 1024;  // bytes a peer may send of one stream before it hears back
    uint32_t connection_window = 16 * 1024 * 1024;
    size_t unsent_bytes_max = 1024 * 1024;  // of one stream, before its peer has to wait
    // An answer that ends before its request also ends that, at once. False: Forgo() does. (Some clients lose an answer
    // behind which the stream is reset while they still send.)
    bool forgo_at_once = true;
    // Streams that the peer resets: so many at once, and then a second. The default is far beyond what Envoy does.
    uint64_t resets_at_once = 1'000'000;
    uint64_t resets_per_second = 200'000;
  };
  // Makes the handler of a request whose head has come; null when it answered the request itself.
  using Accept = std::function<std::unique_ptr<Http2Handler>(Http2Stream&)>;

  Http2Session(const Options& options, Accept accept);
  ~Http2Session() override;  // streams that are still open are closed

  // Tells the peer not to open streams any more (GOAWAY); those that are open go on. A peer that has not opened any is
  // told with its first one: many clients lose a request that they were about to send when they hear it.
  void Drain() override;
  bool awaiting_first() const override { return draining_ && !told_; }
  size_t streams() const override { return streams_.size(); }
  bool over() const override;

 private:
  friend class Http2Stream;
  friend struct Http2Callbacks;
  void Head(Http2Stream& stream);
  void Received(Http2Stream& stream, std::string_view bytes);
  void GiveWindow(Http2Stream& stream);
  void GiveConnectionWindow(size_t bytes);
  void Close(Http2Stream* stream);
  void TellDraining();
  void PingAnswered();

  Options options_;
  Accept accept_;
  std::vector<Http2Stream*> streams_;
  bool used_ = false;  // there was a stream
  size_t unconsumed_ = 0;  // bytes received that the connection has no window for again
  bool draining_ = false;
  bool told_ = false;      // the peer hears that it should open no streams
  bool refusing_ = false;  // the peer knows that it may open no streams
};

}  // namespace sluice::net
