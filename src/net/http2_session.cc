#include "net/http2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/text.h"
#include "net/http2_fields.h"

namespace sluice::net {
namespace {

constexpr size_t kAcksUnsentMax = 1000;  // of settings and pings
constexpr size_t kSettingsMax = 32;      // in one frame
constexpr uint32_t kFrameBytesMax = 64 * 1024;
// Of a window; nghttp2 gives it back when half of it has been taken, so it need not hear of each frame.
constexpr uint32_t kWindowParts = 8;
// What most heads fit into without growing.
constexpr size_t kHeadersUsual = 16;
constexpr size_t kHeadBytesUsual = 512;

}  // namespace

// nghttp2's callbacks; `user` is the session.
struct Http2Callbacks {
  static Http2Session& SessionOf(void* user) { return *static_cast<Http2Session*>(user); }
  static Http2Stream* StreamOf(nghttp2_session* session, int32_t id) {
    return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int OnBeginHeaders(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    Http2Session& self = SessionOf(user);
    auto stream = std::make_unique<Http2Stream>(self, frame->hd.stream_id);
    if (nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream.get()) != 0) return 0;
    stream->head_.headers.Reserve(kHeadersUsual, kHeadBytesUsual);
    stream->index_ = self.streams_.size();
    self.streams_.push_back(stream.release());  // until OnStreamClose
    return 0;
  }

  static int OnHeader(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t, void* user) {
    Http2Stream* stream = StreamOf(session, frame->hd.stream_id);
    if (stream == nullptr || stream->handler_ != nullptr) return 0;  // trailers are not looked at
    stream->head_bytes_ += name_size + value_size + 32;
    const Http2Session::Options& options = SessionOf(user).options_;
    stream->head_too_large_ |=
        stream->head_bytes_ > options.head_bytes_max || stream->head_.headers.size() >= options.headers_max;
    if (stream->head_too_large_) return 0;
    const std::string_view field = View(name, name_size), text = View(value, value_size);
    if (field == ":method") {
      stream->head_.method = text;
    } else if (field == ":path") {
      stream->head_.target = text;
    } else if (field == ":authority") {
      stream->head_.headers.Add("host", text);
    } else if (!field.starts_with(':')) {
      stream->head_.headers.Add(field, text);
    }
    return 0;
  }

  static int OnFrame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) SessionOf(user).PingAnswered();
    const bool head = frame->hd.type == NGHTTP2_HEADERS;
    if (!head && frame->hd.type != NGHTTP2_DATA) return 0;
    Http2Stream* stream = StreamOf(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    if (head && frame->headers.cat == NGHTTP2_HCAT_REQUEST) SessionOf(user).Head(*stream);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && stream->handler_ != nullptr) stream->handler_->OnEnd();
    return 0;
  }

  static int OnData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
    Http2Session& self = SessionOf(user);
    self.GiveConnectionWindow(size);
    if (Http2Stream* stream = StreamOf(session, id); stream != nullptr) self.Received(*stream, View(bytes, size));
    return 0;
  }

  // An answer that ended before its request: the peer need not send the rest.
  static int OnSent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (!SessionOf(user).options_.forgo_at_once) return 0;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    if (nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int OnStreamClose(nghttp2_session* session, int32_t id, uint32_t, void* user) {
    if (Http2Stream* stream = StreamOf(session, id); stream != nullptr) {
      nghttp2_session_set_stream_user_data(session, id, nullptr);
      SessionOf(user).Close(stream);
    }
    return 0;
  }

  // How much of a stream's body may go into the next frame; SendData then takes it.
  static ssize_t Read(nghttp2_session* session, int32_t, uint8_t*, size_t size, uint32_t* flags,
                      nghttp2_data_source* source, void*) {
    auto& stream = *static_cast<Http2Stream*>(source->ptr);
    const size_t left = stream.out_.size() - stream.out_at_;
    if (left == 0 && !stream.finished_) {
      stream.deferred_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    const size_t taken = std::min(left, size);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (taken == left && stream.finished_) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (stream.trailers_.size() > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        std::vector<nghttp2_nv> trailers;
        for (const Header header : stream.trailers_) trailers.push_back(ToNv(header.name, header.value));
        nghttp2_submit_trailer(session, stream.id_, trailers.data(), trailers.size());
      }
    }
    return static_cast<ssize_t>(taken);
  }

  static int SendData(nghttp2_session*, nghttp2_frame*, const uint8_t* frame_head, size_t size,
                      nghttp2_data_source* source, void* user) {
    Http2Session& self = SessionOf(user);
    auto& stream = *static_cast<Http2Stream*>(source->ptr);
    const std::string_view body = std::string_view(stream.out_).substr(stream.out_at_, size);
    if (!self.AppendFrame(View(frame_head, 9), body)) return NGHTTP2_ERR_WOULDBLOCK;
    stream.out_at_ += size;
    if (stream.out_at_ == stream.out_.size()) {
      stream.out_at_ = 0;
      stream.out_.clear();
      if (stream.out_.capacity() > 4096) stream.out_.shrink_to_fit();  // a quiet stream holds no large buffer
    }
    self.GiveWindow(stream);
    if (stream.handler_ != nullptr) stream.handler_->OnSent();
    return 0;
  }

  static const nghttp2_session_callbacks* All() {
    static const nghttp2_session_callbacks* const all = [] {
      nghttp2_session_callbacks* callbacks = nullptr;
      SLUICE_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0, "out of memory");
      nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, OnBeginHeaders);
      nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
      nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
      nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, OnSent);
      nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnStreamClose);
      nghttp2_session_callbacks_set_send_data_callback(callbacks, SendData);
      return callbacks;
    }();
    return all;
  }

  static nghttp2_option* NewOption(const Http2Session::Options& options) {
    nghttp2_option* o = nullptr;
    SLUICE_CHECK(nghttp2_option_new(&o) == 0, "out of memory");
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_max_outbound_ack(o, kAcksUnsentMax);
    nghttp2_option_set_max_settings(o, kSettingsMax);
    nghttp2_option_set_stream_reset_rate_limit(o, options.resets_at_once, options.resets_per_second);
    return o;
  }
};

void Http2Stream::Start(int status, std::span<const Header> headers, bool end) {
  SLUICE_CHECK(!started_, "a stream is answered once");
  started_ = true;
  finished_ = end;
  const std::string code = std::to_string(status);
  thread_local std::vector<nghttp2_nv> all;  // nghttp2 copies it
  all.clear();
  all.push_back(ToNv(":status", code));
  for (const Header& header : headers) all.push_back(ToNv(header.name, header.value));
  const nghttp2_data_provider body{.source = {.ptr = this}, .read_callback = Http2Callbacks::Read};
  nghttp2_submit_response(session_.session_, id_, all.data(), all.size(), end ? nullptr : &body);
  session_.Worked();
}

void Http2Stream::Send() {
  if (!deferred_) return;
  deferred_ = false;
  nghttp2_session_resume_data(session_.session_, id_);
  session_.Worked();
}

void Http2Stream::Finish(std::span<const Header> trailers) {
  SLUICE_CHECK(started_ && !finished_, "Finish belongs behind Start, once");
  finished_ = true;
  for (const Header& header : trailers) trailers_.Add(header.name, header.value);
  Send();
}

void Http2Stream::Reset() {
  finished_ = true;
  nghttp2_submit_rst_stream(session_.session_, NGHTTP2_FLAG_NONE, id_, NGHTTP2_INTERNAL_ERROR);
  session_.Worked();
}

void Http2Stream::Forgo() {
  nghttp2_submit_rst_stream(session_.session_, NGHTTP2_FLAG_NONE, id_, NGHTTP2_NO_ERROR);
  session_.Worked();
}

Http2Session::Http2Session(const Options& options, Accept accept) : options_(options), accept_(std::move(accept)) {
  nghttp2_option* option = Http2Callbacks::NewOption(options_);
  const int made = nghttp2_session_server_new2(&session_, Http2Callbacks::All(), this, option);
  nghttp2_option_del(option);
  SLUICE_CHECK(made == 0, "out of memory");
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options_.stream_window},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kFrameBytesMax},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(options_.head_bytes_max)},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<int32_t>(options_.connection_window));
}

// nghttp2 does not call back for streams that are open when a session is deleted.
Http2Session::~Http2Session() {
  while (!streams_.empty()) Close(streams_.back());
}

void Http2Session::Drain() {
  if (used_ || draining_) TellDraining();
  draining_ = true;
}

// In two steps, or streams that are on their way would be lost: first the peer hears that it should open no more, and
// when it has answered a ping behind that, no more are taken.
void Http2Session::TellDraining() {
  if (told_) return;
  told_ = true;
  nghttp2_submit_shutdown_notice(session_);
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
}

void Http2Session::PingAnswered() {
  if (!told_ || refusing_) return;
  refusing_ = true;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
}

bool Http2Session::over() const {
  if (refusing_ && streams_.empty() && nghttp2_session_want_write(session_) == 0) return true;
  return Http2Core::over();
}

void Http2Session::Head(Http2Stream& stream) {
  used_ = true;
  if (draining_) TellDraining();
  if (stream.head_too_large_) {
    stream.Start(431, {}, /*end=*/true);
    return;
  }
  stream.handler_ = accept_(stream);
}

void Http2Session::Received(Http2Stream& stream, std::string_view bytes) {
  stream.unconsumed_ += bytes.size();
  // Of a refused stream the rest is of no interest.
  if (stream.handler_ != nullptr && !stream.finished_) stream.handler_->OnData(bytes);
  GiveWindow(stream);
}

void Http2Session::GiveConnectionWindow(size_t bytes) {
  unconsumed_ += bytes;
  if (unconsumed_ < options_.connection_window / kWindowParts) return;
  nghttp2_session_consume_connection(session_, std::exchange(unconsumed_, 0));
}

void Http2Session::GiveWindow(Http2Stream& stream) {
  if (stream.unconsumed_ < options_.stream_window / kWindowParts ||
      stream.out_.size() - stream.out_at_ > options_.unsent_bytes_max)
    return;
  nghttp2_session_consume_stream(session_, stream.id_, stream.unconsumed_);
  stream.unconsumed_ = 0;
}

void Http2Session::Close(Http2Stream* stream) {
  const std::unique_ptr<Http2Stream> owned(stream);
  streams_.back()->index_ = owned->index_;
  streams_[owned->index_] = streams_.back();
  streams_.pop_back();
  if (owned->handler_ != nullptr) owned->handler_->OnClosed();
}

}  // namespace sluice::net
