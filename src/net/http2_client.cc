#include "net/http2_client.h"

#include <nghttp2/nghttp2.h>

#include <array>
#include <charconv>
#include <vector>

#include "base/check.h"
#include "base/text.h"
#include "net/http2_fields.h"

namespace sluice::net {
namespace {

constexpr uint32_t kStreamWindow = 1024 * 1024;
constexpr int32_t kConnectionWindow = 64 * 1024 * 1024;

}  // namespace

// nghttp2's callbacks; `user` is the session.
struct Http2ClientCallbacks {
  static Http2ClientSession& SessionOf(void* user) { return *static_cast<Http2ClientSession*>(user); }
  static Http2Call* CallOf(void* user, int32_t id) {
    const auto found = SessionOf(user).calls_.find(id);
    return found == SessionOf(user).calls_.end() ? nullptr : found->second.get();
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t, void* user) {
    Http2Call* call = CallOf(user, frame->hd.stream_id);
    if (call == nullptr || call->head_done) return 0;  // trailers are not looked at
    const std::string_view field = View(name, name_size), text = View(value, value_size);
    call->head_bytes += name_size + value_size + 32;
    const HttpParser::Limits& limits = SessionOf(user).head_limits_;
    if (call->head_bytes > limits.head_bytes_max || call->head.headers.size() >= limits.headers_max) {
      call->problem = "sent a head that is too large";
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // resets the stream
    }
    if (field == ":status") {
      call->head.status = ParseNumber<int>(text).value_or(0);
    } else {
      call->head.headers.Add(field, text);
    }
    return 0;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    const bool head = frame->hd.type == NGHTTP2_HEADERS;
    if (!head && frame->hd.type != NGHTTP2_DATA) return 0;
    Http2Call* call = CallOf(user, frame->hd.stream_id);
    if (call == nullptr) return 0;
    call->received_nothing = false;
    if (head && !call->head_done) {
      if (call->head.status < 200) {  // 100 Continue and the like
        call->head = {};
        return 0;
      }
      call->head_done = true;
      if (const auto length = call->head.headers.Get("content-length")) {
        call->head.content_length = ParseNumber<uint64_t>(*length);
      }
    }
    call->ended = call->ended || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    call->changed.Set();
    return 0;
  }

  static int OnData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
    nghttp2_session_consume_connection(session, size);
    if (Http2Call* call = CallOf(user, id); call != nullptr) {
      call->body += View(bytes, size);
      call->changed.Set();
    }
    return 0;
  }

  static int OnStreamClose(nghttp2_session*, int32_t id, uint32_t code, void* user) {
    SessionOf(user).Close(
        id, std::string("ended the request before its answer was complete: ") + nghttp2_http2_strerror(code));
    return 0;
  }

  static ssize_t Read(nghttp2_session*, int32_t, uint8_t*, size_t size, uint32_t* flags, nghttp2_data_source* source,
                      void*) {
    const auto& call = *static_cast<Http2Call*>(source->ptr);
    if (call.body_gone) return NGHTTP2_ERR_DEFERRED;
    const size_t taken = std::min(call.unsent.size(), size);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (taken == call.unsent.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(taken);
  }

  static int SendData(nghttp2_session*, nghttp2_frame*, const uint8_t* frame_head, size_t size,
                      nghttp2_data_source* source, void* user) {
    auto& call = *static_cast<Http2Call*>(source->ptr);
    if (call.body_gone) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!SessionOf(user).AppendFrame(View(frame_head, 9), call.unsent.substr(0, size))) return NGHTTP2_ERR_WOULDBLOCK;
    call.unsent.remove_prefix(size);
    call.changed.Set();
    return 0;
  }

  static const nghttp2_session_callbacks* All() {
    static const nghttp2_session_callbacks* const all = [] {
      nghttp2_session_callbacks* callbacks = nullptr;
      SLUICE_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0, "out of memory");
      nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
      nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
      nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnStreamClose);
      nghttp2_session_callbacks_set_send_data_callback(callbacks, SendData);
      return callbacks;
    }();
    return all;
  }
};

Http2ClientSession::Http2ClientSession(HttpParser::Limits head) : head_limits_(head) {
  nghttp2_option* option = nullptr;
  SLUICE_CHECK(nghttp2_option_new(&option) == 0, "out of memory");
  nghttp2_option_set_no_auto_window_update(option, 1);
  const int made = nghttp2_session_client_new2(&session_, Http2ClientCallbacks::All(), this, option);
  nghttp2_option_del(option);
  SLUICE_CHECK(made == 0, "out of memory");
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(head.head_bytes_max)},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
}

Http2ClientSession::~Http2ClientSession() {
  while (!calls_.empty()) Close(calls_.begin()->first, "closed the connection before its answer was complete");
}

void Http2ClientSession::Submit(const Request& request, const std::shared_ptr<Http2Call>& call) {
  std::vector<nghttp2_nv> all;
  all.reserve(request.headers.size() + 5);
  all.push_back(ToNv(":method", request.method));
  all.push_back(ToNv(":scheme", request.scheme));
  all.push_back(ToNv(":authority", request.authority));
  all.push_back(ToNv(":path", request.target));
  for (const Header& header : request.headers) {
    if (!IsHopByHop(header.name)) all.push_back(ToNv(header.name, header.value));
  }
  std::array<char, 24> digits;
  const bool has_body = !request.body.empty() || request.method == "POST" || request.method == "PUT";
  if (has_body) {
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), request.body.size());
    all.push_back(ToNv("content-length", {digits.data(), end.ptr}));
  }
  call->unsent = request.body;
  const nghttp2_data_provider body{.source = {.ptr = call.get()}, .read_callback = Http2ClientCallbacks::Read};
  call->id = nghttp2_submit_request(session_, nullptr, all.data(), all.size(), request.body.empty() ? nullptr : &body,
                                    nullptr);
  if (call->id < 0) {  // no identifiers are left
    call->problem = "takes no more requests on this connection";
    call->changed.Set();
    draining_ = true;
    return;
  }
  call->session = this;
  calls_.emplace(call->id, call);
  Worked();
}

void Http2ClientSession::Cancel(Http2Call& call) {
  call.body_gone = true;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call.id, NGHTTP2_CANCEL);
  Worked();
}

void Http2ClientSession::Taken(Http2Call& call, size_t bytes) {
  nghttp2_session_consume_stream(session_, call.id, bytes);
  Worked();
}

bool Http2ClientSession::Free() const {
  return !draining_ && nghttp2_session_check_request_allowed(session_) != 0 &&
         calls_.size() < nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

void Http2ClientSession::Close(int32_t id, std::string problem) {
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  Http2Call& call = *found->second;
  call.session = nullptr;
  if (!call.ended && call.problem.empty()) call.problem = std::move(problem);
  call.changed.Set();
  calls_.erase(found);
}

}  // namespace sluice::net
