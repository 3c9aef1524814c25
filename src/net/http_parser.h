// HttpParser: an incremental HTTP/1.1 parser for one connection, requests or responses, over llhttp in its strict mode
// (no obs-fold, no bare LF, no Content-Length beside Transfer-Encoding).
// Thread rule: one owner. Ownership: body pieces are views into the bytes that were fed.
// Cost: one pass; the head is copied once, the body is not.
// Limits: request line and headers together `head_bytes_max`, `headers_max` headers.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/http_message.h"

namespace sluice::net {

class HttpParser {
 public:
  enum class Kind : uint8_t { kRequest, kResponse };
  struct Limits {
    size_t head_bytes_max = 64 * 1024;
    size_t headers_max = 128;
  };

  HttpParser(Kind kind, Limits limits);
  ~HttpParser();
  HttpParser(HttpParser&&) noexcept;
  HttpParser& operator=(HttpParser&&) noexcept;

  // Begins the next message. `no_body`: the response to a HEAD request.
  void Reset(bool no_body = false);

  // Consumes bytes up to the end of the head (first call that reaches it) or of the message, whichever comes first, and
  // appends body pieces to `body`. Returns how many bytes were used; the rest belongs to the next call.
  // After head_done() turns true the caller goes on with the remaining bytes; after message_done() it calls Reset().
  Result<size_t> Feed(std::string_view bytes, std::vector<std::string_view>& body);
  // The peer closed: ends a close-delimited response; an error in the middle of anything else.
  Status FeedEof();

  bool head_done() const { return head_done_; }
  bool message_done() const { return message_done_; }
  bool started() const { return started_; }        // at least one byte of this message was seen
  bool keep_alive() const { return keep_alive_; }  // valid when message_done()
  MessageHead& head() { return head_; }
  const MessageHead& head() const { return head_; }

 private:
  struct Llhttp;
  friend struct Llhttp;
  // Where in the head a byte of what is being fed will be.
  size_t InHead(const char* at) const;
  // What was parsed of a head. kHeadersTooLarge: more than the limit.
  Status KeepHead(std::string_view bytes);

  std::unique_ptr<Llhttp> llhttp_;
  Limits limits_;
  MessageHead head_;
  std::optional<Error> error_;
  const char* fed_ = nullptr;  // the first of the bytes that are being fed
  std::vector<std::string_view>* body_ = nullptr;
  bool head_done_ = false;
  bool message_done_ = false;
  bool started_ = false;
  bool keep_alive_ = false;
  bool no_body_ = false;
};

}  // namespace sluice::net
