// Http2ClientSession: the client's side of one HTTP/2 connection without its socket, and Http2Call, a request on it.
// Internal to net/: HttpClient gives calls out. Thread rule: one owner. Ownership: a call is shared by the session,
// until its stream is closed, and by who reads its answer. Cost: one copy of a request's body and of its answer.
// Limits: a call's unread answer by its window, its head by Options; streams by the peer's settings.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "net/http2_core.h"
#include "net/http_message.h"
#include "net/http_parser.h"
#include "runtime/source.h"

namespace sluice::net {

class Http2ClientSession;

struct Http2Call {
  explicit Http2Call(runtime::Loop& loop) : changed(loop) {}

  Http2ClientSession* session = nullptr;  // null: its stream is closed
  int32_t id = 0;
  MessageHead head;
  size_t head_bytes = 0;
  std::string body;         // came and was not taken
  std::string taken;        // what was taken last
  std::string_view unsent;  // of the request's body
  bool body_gone = false;   // the request's body must not be read any more
  bool head_done = false;
  bool ended = false;  // the answer is whole
  bool received_nothing = true;
  bool reused = false;     // its connection had served before
  std::string peer;        // for errors
  std::string problem;     // why it will never be whole
  runtime::Event changed;  // something came, or some of the request has left
};

class Http2ClientSession final : public Http2Core {
 public:
  explicit Http2ClientSession(HttpParser::Limits head);
  ~Http2ClientSession() override;  // calls that are open fail

  struct Request {
    std::string_view method, scheme, authority, target;
    std::span<const Header> headers;
    std::string_view body;
  };
  void Submit(const Request& request, const std::shared_ptr<Http2Call>& call);
  // Its answer is not wanted any more.
  void Cancel(Http2Call& call);
  // The peer may send so many bytes more.
  void Taken(Http2Call& call, size_t bytes);
  // Whether one more request may be sent.
  bool Free() const;

  void Drain() override { draining_ = true; }
  size_t streams() const override { return calls_.size(); }
  bool over() const override { return (draining_ && calls_.empty()) || Http2Core::over(); }

 private:
  friend struct Http2ClientCallbacks;
  void Close(int32_t id, std::string problem);

  HttpParser::Limits head_limits_;
  std::unordered_map<int32_t, std::shared_ptr<Http2Call>> calls_;
  bool draining_ = false;
};

}  // namespace sluice::net
