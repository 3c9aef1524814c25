#include "net/http1_exchange.h"

#include <array>
#include <charconv>

#include "base/check.h"

namespace sluice::net {

using runtime::AnyOf;
using runtime::Task;

namespace {
constexpr size_t kHeadBytesUsual = 512;  // of an answer: one allocation then

template <typename T>
void AppendNumber(std::string& out, T value) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}
}  // namespace

Task<Result<std::string>> Http1Exchange::ReadBody() {
  HttpConnection& c = connection_;
  const size_t body_max = c.server_.options_.body_bytes_max;
  const MessageHead& h = head_;
  std::string body;
  if (h.content_length) {
    if (*h.content_length > body_max) {
      close_after_ = true;
      co_return Fail(Code::kTooLarge, "the request body has " + std::to_string(*h.content_length) +
                                          " bytes; the limit is " + std::to_string(body_max));
    }
    body.reserve(*h.content_length);
  }
  if (h.expects_continue && c.Inbox().empty()) {
    const std::array<std::string_view, 1> parts = {"HTTP/1.1 100 Continue\r\n\r\n"};
    c.wire_.Send(parts);
  }
  const HttpServerOptions& options = c.server_.options_;
  const TimePoint began = c.server_.loop_.Now();
  TimePoint piece = began;
  for (;;) {
    const Status fed = c.FeedInbox(&body, body_max);
    if (!fed) {
      close_after_ = true;
      co_return tl::unexpected(fed.error());
    }
    if (c.parser_.message_done()) break;
    c.timer_.Set(BodyDeadline(options, began, piece, body.size()));
    const uint32_t ready = co_await AnyOf(c.wire_.readable(), c.timer_);
    if ((ready & 1u) == 0) {
      close_after_ = true;
      co_return tl::unexpected(BodyLate(options));
    }
    const IoState state = c.ReceiveMore();
    if (state == IoState::kClosed) {
      broken_ = true;
      co_return Fail(Code::kCancelled, "the client left in the middle of its request");
    }
    if (state == IoState::kOk) piece = c.server_.loop_.Now();
  }
  co_return std::move(body);
}

runtime::Source& Http1Exchange::ClientReadable() { return connection_.wire_.readable(); }

bool Http1Exchange::ClientThere() {
  if (broken_) return false;
  if (connection_.cut_) {
    broken_ = true;
    return false;
  }
  if (connection_.inbox_.size() >= connection_.server_.options_.pipelined_bytes_max) {
    broken_ = true;  // sends without end while it should be reading
    return false;
  }
  if (connection_.ReceiveMore() == IoState::kClosed) broken_ = true;
  return !broken_;
}

void Http1Exchange::Begin(std::span<const Header> headers, std::optional<uint64_t> content_length) {
  chunked_ = !content_length && body_allowed_ && head_.minor_version >= 1;
  if (server_.draining() || head_.wants_close || (!content_length && body_allowed_ && !chunked_)) close_after_ = true;
  out_.reserve(kHeadBytesUsual);
  out_.append("HTTP/1.1 ");
  AppendNumber(out_, status_);
  out_.append(" ").append(ReasonPhrase(status_)).append("\r\ndate: ").append(server_.DateHeader());
  out_.append("\r\nserver: ").append(server_.options_.server_name).append("\r\n");
  for (const Header& header : headers) {
    out_.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  if (content_length) {
    out_.append("content-length: ");
    AppendNumber(out_, *content_length);
    out_.append("\r\n");
  }
  if (chunked_) out_.append("transfer-encoding: chunked\r\n");
  if (close_after_) {
    out_.append("connection: close\r\n");
  } else if (head_.minor_version == 0) {
    out_.append("connection: keep-alive\r\n");  // a client of HTTP/1.0 that asked for it waits for the word
  }
  out_.append("\r\n");
  waiting_ = true;
}

void Http1Exchange::Write(std::span<const std::string_view> parts, bool last) {
  SLUICE_CHECK(started_ && !finished_, "Write belongs between Start and the last Write");
  if (last) finished_ = true;
  if (broken_) return;
  size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  std::array<std::string_view, 16> all;
  size_t n = 0;
  char size_line[24];
  const std::string head = std::move(out_);
  out_.clear();
  all[n++] = head;
  if (body_allowed_ && bytes > 0) {
    if (chunked_) {
      char* end = std::to_chars(size_line, size_line + 16, bytes, 16).ptr;
      *end++ = '\r';
      *end++ = '\n';
      all[n++] = {size_line, end};
    }
    SLUICE_CHECK(parts.size() <= 12, "too many parts");
    for (const std::string_view part : parts) all[n++] = part;
    if (chunked_) all[n++] = last ? "\r\n0\r\n\r\n" : "\r\n";
  } else if (chunked_ && last) {
    all[n++] = "0\r\n\r\n";
  }
  const std::span<const std::string_view> views(all.data(), n);
  const IoResult io = connection_.wire_.Send(views);
  if (io.state == IoState::kClosed) {
    broken_ = true;
    return;
  }
  bytes_sent_ += io.bytes;
  size_t skip = io.bytes;
  for (const std::string_view view : views) {
    if (skip >= view.size()) {
      skip -= view.size();
    } else {
      out_.append(view.substr(skip));
      skip = 0;
    }
  }
  waiting_ = !out_.empty() || connection_.wire_.unsent();
}

Task<bool> Http1Exchange::Flush() {
  HttpConnection& c = connection_;
  c.timer_.SetAfter(c.server_.options_.write_timeout);
  size_t sent = 0;
  while ((sent < out_.size() || c.wire_.unsent()) && !broken_) {
    IoResult io{IoState::kOk};
    if (c.wire_.unsent()) {
      io.state = c.wire_.SendRest();
    } else {
      io = c.wire_.Send(std::string_view(out_).substr(sent));
    }
    if (io.state == IoState::kOk) {
      sent += io.bytes;
      bytes_sent_ += io.bytes;
      c.timer_.SetAfter(c.server_.options_.write_timeout);
    } else if (io.state == IoState::kClosed) {
      broken_ = true;
    } else {
      const uint32_t ready = co_await AnyOf(c.wire_.writable(), c.timer_);
      if ((ready & 1u) == 0) {
        broken_ = true;
        c.Cut();
      }
    }
  }
  out_.clear();
  waiting_ = false;
  co_return !broken_;
}

void Http1Exchange::Abort() {
  broken_ = true;
  connection_.Cut();
}

}  // namespace sluice::net
