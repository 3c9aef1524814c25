// Server-sent events (WHATWG HTML §9.2): the framing of every streamed answer. The writer appends one event; the parser
// takes bytes split anywhere and gives whole events.
// Thread rule: plain values, one owner. Cost: one pass over the bytes; the parser keeps at most one event's bytes.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::codec {

// Appends "data: <data>\n\n"; each line of `data` gets its own field, as the format demands.
void AppendSseData(std::string& out, std::string_view data);
// The end of an OpenAI stream.
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";

struct SseEvent {
  std::string_view type;  // "message" when the sender named none
  std::string_view data;  // lines joined by '\n'
  std::string_view id;    // the last id seen in the stream
};

class SseParser {
 public:
  // An event (its fields and the line being read) may take this many bytes.
  explicit SseParser(size_t event_bytes_max) : event_bytes_max_(event_bytes_max) {}

  // Feeds bytes as they came; `on_event` runs for each event that they complete. Views in it live during the call only.
  // kTooLarge when an event passes the limit: the stream is then unusable, and every further call says so too.
  Status Feed(std::string_view bytes, const std::function<void(const SseEvent&)>& on_event);
  // Whether an event has begun and not ended: at the end of a stream this means that it was cut.
  bool InEvent() const { return !line_.empty() || !data_.empty() || !type_.empty(); }

 private:
  void Line(std::string_view line, const std::function<void(const SseEvent&)>& on_event);
  void TakeField(std::string_view name, std::string_view value);

  size_t event_bytes_max_;
  std::string line_;  // a line whose end has not come yet
  std::string data_;
  std::string type_;
  std::string id_;
  bool after_cr_ = false;  // the last byte was CR: a LF that follows belongs to it
  bool first_line_ = true;
  bool failed_ = false;
};

}  // namespace sluice::codec
