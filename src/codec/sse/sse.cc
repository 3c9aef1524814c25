#include "codec/sse/sse.h"

namespace sluice::codec {

void AppendSseData(std::string& out, std::string_view data) {
  // CR, LF and CRLF all end a line for a reader, so each of them starts a new field here.
  while (true) {
    const size_t end = data.find_first_of("\r\n");
    out += "data: ";
    out += data.substr(0, end);
    out += '\n';
    if (end == std::string_view::npos) break;
    const bool crlf = data[end] == '\r' && end + 1 < data.size() && data[end + 1] == '\n';
    data.remove_prefix(end + (crlf ? 2 : 1));
  }
  out += '\n';
}

Status SseParser::Feed(std::string_view bytes, const std::function<void(const SseEvent&)>& on_event) {
  const auto too_large = [&] {
    failed_ = true;
    return Fail(Code::kTooLarge, "a server-sent event is larger than " + std::to_string(event_bytes_max_) +
                                     " bytes; the stream is given up");
  };
  if (failed_) return too_large();
  while (!bytes.empty()) {
    if (after_cr_) {
      after_cr_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view piece = bytes.substr(0, end);
    if (line_.size() + piece.size() + data_.size() > event_bytes_max_) return too_large();
    if (end == std::string_view::npos) {
      line_ += piece;
      break;
    }
    after_cr_ = bytes[end] == '\r';
    if (line_.empty()) {
      Line(piece, on_event);  // the common case: a whole line at once, not copied
    } else {
      line_ += piece;
      const std::string whole = std::move(line_);
      line_.clear();
      Line(whole, on_event);
    }
    bytes.remove_prefix(end + 1);
  }
  return {};
}

void SseParser::Line(std::string_view line, const std::function<void(const SseEvent&)>& on_event) {
  if (first_line_) {
    first_line_ = false;
    if (line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  }
  if (line.empty()) {
    if (!data_.empty()) {
      data_.pop_back();  // the '\n' after the last data line
      on_event({type_.empty() ? std::string_view("message") : std::string_view(type_), data_, id_});
    }
    data_.clear();
    type_.clear();
    return;
  }
  const size_t colon = line.find(':');
  if (colon == 0) return;  // a comment
  std::string_view value;
  if (colon != std::string_view::npos) {
    value = line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
  }
  TakeField(line.substr(0, colon), value);
}

void SseParser::TakeField(std::string_view name, std::string_view value) {
  if (name == "data") {
    data_ += value;
    data_ += '\n';
  } else if (name == "event") {
    type_ = value;
  } else if (name == "id") {
    if (value.find('\0') == std::string_view::npos) id_ = value;
  }  // "retry" is about reconnecting, which a completion stream never does; other names are ignored by the format
}

}  // namespace sluice::codec
