#include "net/http2_core.h"

#include <nghttp2/nghttp2.h>

namespace sluice::net {

Http2Core::~Http2Core() { nghttp2_session_del(session_); }

Status Http2Core::Receive(std::string_view bytes) {
  receiving_ = true;
  const ssize_t read = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  receiving_ = false;
  if (read >= 0) return {};
  return Fail(Code::kInvalidArgument,
              std::string("not HTTP/2, or too much of it: ") + nghttp2_strerror(static_cast<int>(read)));
}

void Http2Core::Worked() {
  if (!receiving_ && on_work_) on_work_();
}

void Http2Core::Pull(std::string& out, size_t bytes_max) {
  pulled_ = &out;
  pull_max_ = bytes_max;
  while (out.size() < bytes_max) {
    const uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
    if (size <= 0) break;
    out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  }
  pulled_ = nullptr;
}

bool Http2Core::AppendFrame(std::string_view head, std::string_view body) {
  if (pulled_->size() >= pull_max_) return false;
  pulled_->append(head).append(body);
  return true;
}

bool Http2Core::over() const {
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

}  // namespace sluice::net
