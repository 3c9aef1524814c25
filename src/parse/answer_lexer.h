// AnswerLexer: follows an answer's bytes as they come, split anywhere: plain JSON, or events (SSE) with JSON in their
// data. It knows at each byte where in the JSON it is (the keys down to it, as far as they matter), and tells a sink of
// scalars and of strings. Which of the two an answer is shows in its first byte.
// Why: token counts and the model's name are read from and written into streams; keeping whole events for a parser
// would need as much memory as an answer is long (the Responses API repeats it in its last event).
// Thread rule: plain values, one owner. Cost: Step about 20 instructions a byte, Pass about 4: it takes the
// inside of keys, strings and numbers, and lines of no interest, in one go. Memory: about 100 bytes, whatever comes.
// Bytes that are no JSON give no or wrong events, never harm.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace sluice::parse {

// The keys that matter; kElement stands for being within an array.
enum class Key : uint8_t {
  kOther,
  kElement,
  kModel,
  kUsage,
  kMessage,
  kResponse,
  kMetaInfo,
  kPromptTokens,
  kInputTokens,
  kCompletionTokens,
  kOutputTokens,
  kPromptDetails,
  kInputDetails,
  kCachedTokens,
  kCacheRead,
  kCacheCreation,
};

// One JSON text.
class JsonLexer {
 public:
  static constexpr size_t kDepth = 5;  // keys are known so deep

  // Takes one byte. `sink.OnString(lexer, begin)` runs at the opening (true) and the closing quote of a string that is
  // a value; `sink.OnScalar(lexer, text)` behind a number, true, false or null (cut at kScalarMax bytes).
  template <class Sink>
  void Step(char c, Sink& sink);
  // Takes of `next` what lies within the key, string or scalar that it is in: no sink hears of that. Returns how many
  // bytes; none between them.
  size_t Pass(std::string_view next);
  void Reset() { *this = JsonLexer(); }

  // The innermost key.
  Key key() const { return depth_ > 0 && depth_ <= kDepth ? key_[depth_ - 1] : Key::kOther; }

  // Whether the keys down to here are exactly these. An array around everything counts as nothing.
  bool At(std::initializer_list<Key> path) const;
  // Whether everything is within one array.
  bool InList() const { return depth_ > 0 && !object_[0]; }

 private:
  static constexpr size_t kScalarMax = 24;
  static constexpr size_t kKeyMax = 27;
  enum class State : uint8_t { kBetween, kKey, kString, kScalar };

  void Open(bool object);
  void Close();
  void EndKey();
  bool InObject() const { return depth_ > 0 && depth_ <= kDepth && object_[depth_ - 1]; }

  State state_ = State::kBetween;
  bool escape_ = false;
  bool expect_key_ = false;
  bool key_odd_ = false;  // too long or with escapes: none that matters
  size_t depth_ = 0;
  std::array<bool, kDepth> object_{};
  std::array<Key, kDepth> key_{};
  std::array<char, kKeyMax> text_{};  // of a key or a scalar
  size_t text_size_ = 0;
};

// A whole answer.
class AnswerLexer {
 public:
  // As above, for one byte of the answer; also `sink.OnEnd()` behind each event, or never for plain JSON.
  template <class Sink>
  void Step(char c, Sink& sink);
  // Takes those of the next bytes that no sink would hear of, as far as they come together; returns how many.
  size_t Pass(std::string_view next);
  // For who is interested in token counts only. Between two events: takes those of the next ones that are complete, on
  // one line, and name no `usage` (but null) and no `meta_info`; returns how many bytes. About 3 instructions a byte.
  size_t PassWithoutCounts(std::string_view next);
  // Events with data that came to their end; [DONE] is none.
  uint64_t events() const { return events_; }

 private:
  enum class State : uint8_t { kStart, kJson, kField, kAfterColon, kData, kOtherLine };

  bool between_events() const {
    return state_ == State::kField && line_empty_ && data_size_ == 0 && field_size_ == 0 && !after_cr_;
  }
  template <class Sink>
  void StepLine(char c, Sink& sink);
  template <class Sink>
  void EndLine(Sink& sink);

  State state_ = State::kStart;
  bool after_cr_ = false;
  size_t field_size_ = 0;  // of the line's field name, as far as it agrees with "data"
  bool line_empty_ = true;
  size_t data_size_ = 0;  // of the event, counted to 6
  size_t done_size_ = 0;  // bytes that agree with "[DONE]"
  uint64_t events_ = 0;
  JsonLexer json_;
};

// Line ends are none of a JSON text's strings, but of the lines that it came in.
inline size_t JsonLexer::Pass(std::string_view next) {
  if (state_ == State::kBetween || escape_) return 0;
  const bool scalar = state_ == State::kScalar;
  size_t n = 0;
  for (; n < next.size(); ++n) {
    const char c = next[n];
    if (c == '"' || c == '\n' || c == '\r') break;
    if (scalar ? c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == ':' || c == '{' || c == '['
               : c == '\\') {
      break;
    }
  }
  if (state_ == State::kString) return n;
  const size_t room = (scalar ? kScalarMax : kKeyMax) - text_size_;
  std::copy_n(next.data(), std::min(n, room), text_.data() + text_size_);
  text_size_ += std::min(n, room);
  if (!scalar) key_odd_ |= n > room;
  return n;
}

template <class Sink>
void JsonLexer::Step(char c, Sink& sink) {
  if (state_ == State::kString || state_ == State::kKey) {
    if (escape_) {
      escape_ = false;
      return;
    }
    if (c == '\\') {
      escape_ = key_odd_ = true;
    } else if (c == '"') {
      if (state_ == State::kKey)
        EndKey();
      else
        sink.OnString(*this, false);
      state_ = State::kBetween;
    } else if (state_ == State::kKey) {
      if (text_size_ < kKeyMax)
        text_[text_size_++] = c;
      else
        key_odd_ = true;
    }
    return;
  }
  const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
  const bool mark = c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':' || c == '"';
  if (state_ == State::kScalar) {
    if (!space && !mark) {
      if (text_size_ < kScalarMax) text_[text_size_++] = c;
      return;
    }
    state_ = State::kBetween;
    sink.OnScalar(*this, std::string_view(text_.data(), text_size_));
  }
  if (space || c == ':') return;
  if (c == '{' || c == '[') {
    Open(c == '{');
  } else if (c == '}' || c == ']') {
    Close();
  } else if (c == ',') {
    expect_key_ = InObject();
  } else if (c == '"') {
    text_size_ = 0;
    if (expect_key_) {
      state_ = State::kKey;
      key_odd_ = expect_key_ = false;
    } else {
      state_ = State::kString;
      sink.OnString(*this, true);
    }
  } else {
    state_ = State::kScalar;
    text_[0] = c;
    text_size_ = 1;
  }
}

inline size_t AnswerLexer::Pass(std::string_view next) {
  if (state_ == State::kOtherLine) return std::min(next.find_first_of("\r\n"), next.size());
  // In the data of an event, the first bytes are still compared with [DONE].
  if (state_ != State::kJson && (state_ != State::kData || data_size_ < 6)) return 0;
  return json_.Pass(next);
}

template <class Sink>
void AnswerLexer::Step(char c, Sink& sink) {
  if (state_ == State::kStart) {
    const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    if (space || static_cast<unsigned char>(c) > 0x7f) return;  // or a byte order mark
    state_ = c == '{' || c == '[' ? State::kJson : State::kField;
  }
  if (state_ == State::kJson)
    json_.Step(c, sink);
  else
    StepLine(c, sink);
}

template <class Sink>
void AnswerLexer::StepLine(char c, Sink& sink) {
  const bool second_half = after_cr_ && c == '\n';  // of a line end that was taken already
  after_cr_ = c == '\r';
  if (second_half) return;
  if (c == '\n' || c == '\r') {
    EndLine(sink);
    return;
  }
  line_empty_ = false;
  constexpr std::string_view kDataField = "data";
  constexpr std::string_view kDone = "[DONE]";
  switch (state_) {
    case State::kField:
      if (c == ':') {
        state_ = field_size_ == kDataField.size() ? State::kAfterColon : State::kOtherLine;
      } else if (field_size_ < kDataField.size() && c == kDataField[field_size_]) {
        ++field_size_;
      } else {
        state_ = State::kOtherLine;
      }
      return;
    case State::kAfterColon:
      state_ = State::kData;
      if (c == ' ') return;
      [[fallthrough]];
    case State::kData:
      if (data_size_ < kDone.size()) {
        if (c == kDone[data_size_]) ++done_size_;
        ++data_size_;
      }
      json_.Step(c, sink);
      return;
    default:
      return;
  }
}

template <class Sink>
void AnswerLexer::EndLine(Sink& sink) {
  if (line_empty_) {
    if (data_size_ > 0 && done_size_ < 6) ++events_;
    json_.Step(' ', sink);  // ends a scalar
    json_.Reset();
    data_size_ = done_size_ = 0;
    sink.OnEnd();
  } else if (state_ == State::kData) {
    json_.Step('\n', sink);
  }
  state_ = State::kField;
  field_size_ = 0;
  line_empty_ = true;
}

}  // namespace sluice::parse
