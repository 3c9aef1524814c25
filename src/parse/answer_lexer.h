// AnswerLexer: follows an answer's bytes as they come, split anywhere: plain JSON, or events (SSE) with JSON in their
// data. It knows at each byte where in the JSON it is (the keys down to it, as far as they matter), and tells a sink of
// scalars and of strings. Which of the two an answer is shows in its first byte.
// Why: token counts and the model's name are read from and written into streams; keeping whole events for a parser
// would need as much memory as an answer is long (the Responses API repeats it in its last event).
// Thread rule: plain values, one owner. Cost: half an instruction a byte within long strings, five to ten elsewhere.
// Memory: about 100 bytes, whatever comes. Bytes that are no JSON give no or wrong events, never harm.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "base/byte_block.h"

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
  static constexpr size_t kDepth = 5;  // the deepest key that matters: cached_tokens, of an answer in a list

  // Takes the first one or more of the bytes `next` (not empty), and returns how many. `sink.OnString(lexer, begin)`
  // runs at the opening quote of a string that is a value (true), which is taken alone, and at the closing one (false),
  // which is the last byte taken; `sink.OnScalar(lexer, text)` behind a number, true, false or null (cut at kTextMax
  // bytes). Neither runs within an object or array under a key that none of those that matter can be in. A line end is
  // taken alone: it may be that of a line that the text came in.
  template <class Sink>
  size_t Take(std::string_view next, Sink& sink);
  // Whether the next key of the outermost object is expected.
  bool between_members() const { return expect_key_ && depth_ == 1 && state_ == State::kBetween && unheard_ == 0; }
  // Then, for who does not care for `text`: its size when it is whole members of that object with the commas behind
  // them, and may be left out. Else 0.
  static size_t PassMembers(std::string_view text);
  void Reset() { *this = JsonLexer(); }

  // The innermost key.
  Key key() const { return depth_ > 0 ? key_[depth_ - 1] : Key::kOther; }

  // Whether the keys down to here are exactly these. An array around everything counts as nothing.
  bool At(std::initializer_list<Key> path) const;
  // Whether everything is within one array.
  bool InList() const { return depth_ > 0 && !object_[0]; }

 private:
  static constexpr size_t kTextMax = 27;  // the longest key that matters
  enum class State : uint8_t { kBetween, kKey, kString, kScalar };

  void Open(bool object);
  void Close();
  void EndKey(std::string_view text);
  // Of `text`, how much is inside of a string: up to its end, an escape or a line end.
  static size_t FindStringEnd(std::string_view text) {
    return FindByte(text, [](ByteBlock c) { return (c == '"') | (c == '\\') | (c == '\n') | (c == '\r'); });
  }
  void Keep(std::string_view part);
  std::string_view Whole(std::string_view last_part);
  template <class Sink>
  size_t TakeScalar(std::string_view next, Sink& sink);
  template <class Sink>
  size_t TakeInside(std::string_view next, Sink& sink);
  // Where in the brackets and strings of some text one is.
  struct Nesting {
    size_t open = 0;
    bool in_string = false;
    bool escape = false;
  };
  // Follows only brackets and strings: up to behind the bracket that closes the last open one, or before a line end.
  static size_t Follow(std::string_view text, Nesting& nesting);
  size_t TakeUnheard(std::string_view next);
  // Of `text`, how much a scalar goes on for.
  static size_t FindScalarEnd(std::string_view text);
  bool InObject() const { return depth_ > 0 && object_[depth_ - 1]; }

  State state_ = State::kBetween;
  bool escape_ = false;
  bool expect_key_ = false;
  bool key_odd_ = false;  // too long or with escapes: none that matters
  size_t depth_ = 0;
  size_t unheard_ = 0;  // open brackets from one on that no sink hears from within; depth_ stays meanwhile
  std::array<bool, kDepth> object_{};
  std::array<Key, kDepth> key_{};
  std::array<char, kTextMax> text_{};  // of a key or a scalar
  size_t text_size_ = 0;
};

// A whole answer.
class AnswerLexer {
 public:
  // As above, of an answer; also `sink.OnEnd()` behind each event, or never for plain JSON.
  template <class Sink>
  size_t Take(std::string_view next, Sink& sink);
  bool between_events() const {
    return state_ == State::kField && line_empty_ && data_size_ == 0 && field_size_ == 0 && !after_cr_;
  }
  // For who is interested in token counts only. Between two events: takes those of the next ones that are whole and on
  // one line, and only counts them; returns how many bytes. Not for text beyond FindKeyOfCounts.
  size_t PassEvents(std::string_view next);
  // Likewise between two members of a JSON text's outermost object: takes all of `next`, when it is such, or nothing.
  bool between_members() const {
    return (state_ == State::kJson || (state_ == State::kData && data_size_ == kDone.size())) &&
           json_.between_members();
  }
  static size_t PassMembers(std::string_view next) { return JsonLexer::PassMembers(next); }
  // Where in `text` the first key begins that token counts may be under (but "usage":null), or its size. Within a
  // string quotes have backslashes, so text that a model wrote is hardly taken for one; if it is, that costs time only.
  static size_t FindKeyOfCounts(std::string_view text);
  // Events with data that came to their end; [DONE] is none.
  uint64_t events() const { return events_; }

 private:
  static constexpr std::string_view kDone = "[DONE]";
  enum class State : uint8_t { kStart, kJson, kField, kAfterColon, kData, kOtherLine };

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

template <class Sink>
size_t JsonLexer::TakeInside(std::string_view next, Sink& sink) {
  if (escape_) {
    escape_ = false;
    return 1;
  }
  const size_t n = FindStringEnd(next);
  if (n == next.size() || next[n] != '"') {
    if (state_ == State::kKey) Keep(next.substr(0, n));
    if (n > 0) return n;
    if (next[0] == '\\') escape_ = true;
    key_odd_ = true;
    return 1;
  }
  if (state_ == State::kKey)
    EndKey(Whole(next.substr(0, n)));
  else
    sink.OnString(*this, false);
  state_ = State::kBetween;
  return n + 1;
}

template <class Sink>
size_t JsonLexer::TakeScalar(std::string_view next, Sink& sink) {
  const size_t n = FindScalarEnd(next);
  if (n == next.size()) {
    Keep(next);
  } else {
    state_ = State::kBetween;
    sink.OnScalar(*this, Whole(next.substr(0, n)));
  }
  return n;
}

template <class Sink>
size_t JsonLexer::Take(std::string_view next, Sink& sink) {
  if (unheard_ > 0) return TakeUnheard(next);
  if (state_ == State::kKey || state_ == State::kString) return TakeInside(next, sink);
  size_t n = state_ == State::kScalar ? TakeScalar(next, sink) : 0;
  for (; n < next.size() && (next[n] == ' ' || next[n] == ':' || next[n] == ',' || next[n] == '\t'); ++n) {
    if (next[n] == ',') expect_key_ = InObject();
  }
  if (n == next.size()) return n;
  if (next[n] == '"' && expect_key_) {
    state_ = State::kKey;
    key_odd_ = expect_key_ = false;
    text_size_ = 0;
    ++n;
    return n + (n < next.size() ? TakeInside(next.substr(n), sink) : 0);
  }
  if (n > 0) return n;
  switch (next[0]) {
    case '{':
    case '[':
      Open(next[0] == '{');
      return 1;
    case '}':
    case ']':
      Close();
      return 1;
    case '\n':
    case '\r':
      return 1;
    case '"':
      state_ = State::kString;
      sink.OnString(*this, true);
      return 1;
    default:
      state_ = State::kScalar;
      text_size_ = 0;
      return TakeScalar(next, sink);
  }
}

template <class Sink>
size_t AnswerLexer::Take(std::string_view next, Sink& sink) {
  const char c = next.front();
  const bool line_end = c == '\n' || c == '\r';
  if (state_ == State::kStart) {
    const bool space = line_end || c == ' ' || c == '\t';
    if (space || static_cast<unsigned char>(c) > 0x7f) return 1;  // or a byte order mark
    state_ = c == '{' || c == '[' ? State::kJson : State::kField;
  }
  if (state_ == State::kJson) return json_.Take(next, sink);
  if (state_ == State::kOtherLine && !line_end) return std::min(next.find_first_of("\r\n"), next.size());
  // In the data of an event, the first bytes are still compared with [DONE].
  if (state_ == State::kData && data_size_ == kDone.size() && !line_end) return json_.Take(next, sink);
  StepLine(c, sink);
  return 1;
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
      json_.Take(std::string_view(&c, 1), sink);
      return;
    default:
      return;
  }
}

template <class Sink>
void AnswerLexer::EndLine(Sink& sink) {
  if (line_empty_) {
    if (data_size_ > 0 && done_size_ < kDone.size()) ++events_;
    json_.Take(" ", sink);  // ends a scalar
    json_.Reset();
    data_size_ = done_size_ = 0;
    sink.OnEnd();
  } else if (state_ == State::kData) {
    json_.Take("\n", sink);
  }
  state_ = State::kField;
  field_size_ = 0;
  line_empty_ = true;
}

}  // namespace sluice::parse
