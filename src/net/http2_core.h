// Http2Core: what a server's and a client's side of an HTTP/2 connection have in common: bytes in, bytes out, on
// nghttp2. Internal to net/; Http2Connection moves the bytes. Thread rule: one owner. Cost: about 1 us a frame.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

struct nghttp2_session;

namespace sluice::net {

class Http2Core {
 public:
  virtual ~Http2Core();
  Http2Core(const Http2Core&) = delete;

  // kInvalidArgument: this is no HTTP/2, or a flood; the connection is to be closed after what Pull still gives.
  Status Receive(std::string_view bytes);
  // Appends what is to be sent, until `out` has about `bytes_max`.
  void Pull(std::string& out, size_t bytes_max);
  // Called when there is something to pull that no Receive caused; it may be called often, and does not call back.
  void OnWork(std::function<void()> on_work) { on_work_ = std::move(on_work); }

  // No new streams; those that are open go on.
  virtual void Drain() = 0;
  // Drain() was called and waits for the connection's first stream, which may be on its way; one more call ends that.
  virtual bool awaiting_first() const { return false; }
  virtual size_t streams() const = 0;
  // Nothing will be received or sent any more.
  virtual bool over() const;

 protected:
  Http2Core() = default;
  void Worked();
  // For nghttp2's send_data callback: appends a frame's head and body. False: enough for this Pull.
  bool AppendFrame(std::string_view head, std::string_view body);

  nghttp2_session* session_ = nullptr;  // set by the heir

 private:
  std::function<void()> on_work_;
  bool receiving_ = false;
  std::string* pulled_ = nullptr;  // during Pull
  size_t pull_max_ = 0;
};

}  // namespace sluice::net
