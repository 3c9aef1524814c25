// A client on nghttp2 without a socket, for tests of Http2Session: what it sends is taken with Take(), what it gets is
// kept by stream.
#pragma once

#include <nghttp2/nghttp2.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "net/http2_session.h"

namespace sluice::net {

class Http2ClientFixture {
 public:
  struct Answer {
    std::map<std::string, std::string> headers;  // trailers too
    std::string body;
    std::optional<uint32_t> closed;  // the error code
  };

  explicit Http2ClientFixture(uint32_t window = 65'535) {
    nghttp2_session_callbacks* callbacks = nullptr;
    SLUICE_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0, "memory");
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
    nghttp2_option* option = nullptr;
    SLUICE_CHECK(nghttp2_option_new(&option) == 0, "memory");
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_client_new2(&session_, callbacks, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}};
    nghttp2_submit_settings(session_, 0, settings, 1);
  }
  ~Http2ClientFixture() { nghttp2_session_del(session_); }
  Http2ClientFixture(const Http2ClientFixture&) = delete;

  // A request that stays open for Send(), unless `end`.
  int32_t Open(const std::vector<std::pair<std::string, std::string>>& headers, bool end = false) {
    std::vector<nghttp2_nv> all;
    for (const auto& [name, value] : headers) {
      all.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                     reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                     NGHTTP2_NV_FLAG_NONE});
    }
    const nghttp2_data_provider body{.source = {.ptr = this}, .read_callback = Read};
    return nghttp2_submit_request(session_, nullptr, all.data(), all.size(), end ? nullptr : &body, nullptr);
  }
  int32_t OpenGrpc(const std::string& path) {
    return Open({{":method", "POST"},
                 {":scheme", "http"},
                 {":authority", "a"},
                 {":path", path},
                 {"content-type", "application/grpc"},
                 {"te", "trailers"}});
  }
  void Send(int32_t stream, std::string_view bytes, bool end = false) {
    unsent_[stream].bytes += bytes;
    unsent_[stream].end |= end;
    nghttp2_session_resume_data(session_, stream);
  }
  void SendMessage(int32_t stream, std::string_view message, bool end = false) {
    std::string frame(1, '\0');
    for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(message.size() >> shift);
    frame += message;
    Send(stream, frame, end);
  }
  void Reset(int32_t stream) { nghttp2_submit_rst_stream(session_, 0, stream, NGHTTP2_CANCEL); }
  // Lets the server send more of what it has for this stream.
  void GiveWindow(int32_t stream, size_t bytes) { nghttp2_session_consume(session_, stream, bytes); }
  bool went_away() const { return went_away_; }

  std::string Take() {
    std::string out;
    const uint8_t* bytes = nullptr;
    for (ssize_t n = 0; (n = nghttp2_session_mem_send(session_, &bytes)) > 0;) {
      out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
    }
    return out;
  }
  void Receive(std::string_view bytes) {
    SLUICE_CHECK(nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) >= 0,
                 "the server speaks HTTP/2");
  }
  // Until neither has anything to say.
  Status Talk(Http2Session& server) {
    for (;;) {
      const std::string to_server = Take();
      if (!to_server.empty()) {
        if (const Status received = server.Receive(to_server); !received) return received;
      }
      std::string to_client;
      server.Pull(to_client, size_t{1} << 20);
      Receive(to_client);
      if (to_client.empty() && to_server.empty()) return {};
    }
  }

  std::map<int32_t, Answer> answers;

 private:
  struct Unsent {
    std::string bytes;
    bool end = false;
  };
  static Http2ClientFixture& Self(void* user) { return *static_cast<Http2ClientFixture*>(user); }
  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t, void* user) {
    Self(user).answers[frame->hd.stream_id].headers[std::string(reinterpret_cast<const char*>(name), name_size)] =
        std::string(reinterpret_cast<const char*>(value), value_size);
    return 0;
  }
  static int OnData(nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
    Self(user).answers[id].body.append(reinterpret_cast<const char*>(bytes), size);
    return 0;
  }
  static int OnClose(nghttp2_session*, int32_t id, uint32_t code, void* user) {
    Self(user).answers[id].closed = code;
    return 0;
  }
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY) Self(user).went_away_ = true;
    return 0;
  }
  static ssize_t Read(nghttp2_session*, int32_t id, uint8_t* out, size_t size, uint32_t* flags, nghttp2_data_source*,
                      void* user) {
    Unsent& unsent = Self(user).unsent_[id];
    if (unsent.bytes.empty() && !unsent.end) return NGHTTP2_ERR_DEFERRED;
    const size_t taken = unsent.bytes.copy(reinterpret_cast<char*>(out), size);
    unsent.bytes.erase(0, taken);
    if (unsent.bytes.empty() && unsent.end) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(taken);
  }

  nghttp2_session* session_ = nullptr;
  std::map<int32_t, Unsent> unsent_;
  bool went_away_ = false;
};

}  // namespace sluice::net
