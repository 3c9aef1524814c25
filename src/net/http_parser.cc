#include "net/http_parser.h"

#include <llhttp.h>

#include "base/check.h"
#include "base/text.h"

namespace sluice::net {

struct HttpParser::Llhttp {
  llhttp_t parser;
  HttpParser* owner;

  static HttpParser& Owner(llhttp_t* p) { return *static_cast<Llhttp*>(p->data)->owner; }

  static int OnUrl(llhttp_t* p, const char* at, size_t n) {
    Owner(p).head_.target.append(at, n);
    return 0;
  }
  static int OnField(llhttp_t* p, const char* at, size_t n) {
    HttpParser& o = Owner(p);
    if (o.head_done_) return 0;  // a trailer: not forwarded, not kept
    if (o.head_.headers.size() > o.limits_.headers_max) {
      o.error_ = Error{Code::kHeadersTooLarge, "more than " + std::to_string(o.limits_.headers_max) + " headers", ""};
      return -1;
    }
    o.head_.headers.NameAt(o.InHead(at), n);
    return 0;
  }
  static int OnFieldComplete(llhttp_t* p) {
    HttpParser& o = Owner(p);
    if (!o.head_done_) o.head_.headers.BeginValue();
    return 0;
  }
  static int OnValue(llhttp_t* p, const char* at, size_t n) {
    HttpParser& o = Owner(p);
    if (!o.head_done_) o.head_.headers.ValueAt(o.InHead(at), n);
    return 0;
  }
  static int OnHeadersComplete(llhttp_t* p) {
    HttpParser& o = Owner(p);
    o.head_done_ = true;
    o.head_.minor_version = llhttp_get_http_minor(p);
    o.head_.status = llhttp_get_status_code(p);
    if (p->type == HTTP_REQUEST) {
      o.head_.method = llhttp_method_name(static_cast<llhttp_method_t>(llhttp_get_method(p)));
      o.head_.wants_close = llhttp_should_keep_alive(p) == 0;
    }
    if ((p->flags & F_CHUNKED) != 0) o.head_.chunked = true;
    if ((p->flags & F_CONTENT_LENGTH) != 0) o.head_.content_length = p->content_length;
    if (o.no_body_) return 1;
    return HPE_PAUSED;
  }
  static int OnBody(llhttp_t* p, const char* at, size_t n) {
    Owner(p).body_->push_back({at, n});
    return 0;
  }
  static int OnMessageComplete(llhttp_t* p) {
    HttpParser& o = Owner(p);
    o.message_done_ = true;
    o.keep_alive_ = llhttp_should_keep_alive(p) != 0;
    return HPE_PAUSED;
  }

  static const llhttp_settings_t& Settings() {
    static const llhttp_settings_t settings = [] {
      llhttp_settings_t s;
      llhttp_settings_init(&s);
      s.on_url = &OnUrl;
      s.on_header_field = &OnField;
      s.on_header_field_complete = &OnFieldComplete;
      s.on_header_value = &OnValue;
      s.on_headers_complete = &OnHeadersComplete;
      s.on_body = &OnBody;
      s.on_message_complete = &OnMessageComplete;
      return s;
    }();
    return settings;
  }
};

HttpParser::HttpParser(Kind kind, Limits limits) : llhttp_(std::make_unique<Llhttp>()), limits_(limits) {
  llhttp_init(&llhttp_->parser, kind == Kind::kRequest ? HTTP_REQUEST : HTTP_RESPONSE, &Llhttp::Settings());
  llhttp_->parser.data = llhttp_.get();
}
HttpParser::~HttpParser() = default;
HttpParser::HttpParser(HttpParser&&) noexcept = default;
HttpParser& HttpParser::operator=(HttpParser&&) noexcept = default;

void HttpParser::Reset(bool no_body) {
  llhttp_reset(&llhttp_->parser);
  head_.method.clear();
  head_.target.clear();
  head_.headers.Clear();
  head_.status = 0;
  head_.content_length.reset();
  head_.chunked = head_.expects_continue = head_.wants_close = false;
  error_.reset();
  head_done_ = message_done_ = started_ = keep_alive_ = false;
  no_body_ = no_body;
}

Result<size_t> HttpParser::Feed(std::string_view bytes, std::vector<std::string_view>& body) {
  SLUICE_CHECK(!message_done_, "Reset() first");
  if (bytes.empty()) {
    if (!head_done_) return 0;
    bytes = std::string_view("", 0);  // a message without a body completes without another byte
  }
  started_ = true;
  llhttp_->owner = this;
  body_ = &body;
  llhttp_t* parser = &llhttp_->parser;
  if (llhttp_get_errno(parser) == HPE_PAUSED) llhttp_resume(parser);
  if (llhttp_get_errno(parser) == HPE_PAUSED_UPGRADE) llhttp_resume_after_upgrade(parser);
  const bool in_head = !head_done_;
  fed_ = bytes.data();
  const llhttp_errno_t code = llhttp_execute(parser, bytes.data(), bytes.size());
  if (code == HPE_OK || code == HPE_PAUSED || code == HPE_PAUSED_UPGRADE) {
    const size_t used =
        code == HPE_OK ? bytes.size() : static_cast<size_t>(llhttp_get_error_pos(parser) - bytes.data());
    if (!in_head) return used;
    if (const Status kept = KeepHead(bytes.substr(0, used)); !kept) return tl::unexpected(kept.error());
    return used;
  }
  if (error_) return tl::unexpected(*error_);
  const char* reason = llhttp_get_error_reason(parser);
  return Fail(Code::kInvalidArgument,
              std::string("malformed HTTP: ") + (reason != nullptr && *reason != 0 ? reason : "syntax"));
}

size_t HttpParser::InHead(const char* at) const { return head_.headers.bytes() + static_cast<size_t>(at - fed_); }

Status HttpParser::KeepHead(std::string_view bytes) {
  if (head_.headers.bytes() + bytes.size() > limits_.head_bytes_max) {
    return Fail(Code::kHeadersTooLarge,
                "the request line and headers are over " + std::to_string(limits_.head_bytes_max) + " bytes");
  }
  head_.headers.AppendText(bytes);
  if (head_done_) {
    const auto expect = head_.headers.Get("expect");
    head_.expects_continue = expect && EqualsIgnoreCase(*expect, "100-continue");
  }
  return {};
}

Status HttpParser::FeedEof() {
  std::vector<std::string_view> none;
  llhttp_->owner = this;
  body_ = &none;
  llhttp_t* parser = &llhttp_->parser;
  if (llhttp_get_errno(parser) == HPE_PAUSED) llhttp_resume(parser);
  const llhttp_errno_t code = llhttp_finish(parser);
  if (message_done_) {
    keep_alive_ = false;
    return {};
  }
  if (code == HPE_OK && !started_) return {};
  return Fail(Code::kBadGateway, "the connection was closed in the middle of a message");
}

}  // namespace sluice::net
