#include "parse/answer_lexer.h"

#include <algorithm>
#include <bit>
#include <optional>
namespace sluice::parse {
namespace {

Key KeyOf(std::string_view text) {
  struct Row {
    std::string_view text;
    Key key;
  };
  static constexpr Row kRows[] = {{"model", Key::kModel},
                                  {"usage", Key::kUsage},
                                  {"message", Key::kMessage},
                                  {"response", Key::kResponse},
                                  {"meta_info", Key::kMetaInfo},
                                  {"prompt_tokens", Key::kPromptTokens},
                                  {"input_tokens", Key::kInputTokens},
                                  {"completion_tokens", Key::kCompletionTokens},
                                  {"output_tokens", Key::kOutputTokens},
                                  {"prompt_tokens_details", Key::kPromptDetails},
                                  {"input_tokens_details", Key::kInputDetails},
                                  {"cached_tokens", Key::kCachedTokens},
                                  {"cache_read_input_tokens", Key::kCacheRead},
                                  {"cache_creation_input_tokens", Key::kCacheCreation}};
  for (const Row& row : kRows) {
    if (row.text == text) return row.key;
  }
  return Key::kOther;
}

// Keys within which others matter.
constexpr bool IsPathTo(Key key) {
  return key == Key::kUsage || key == Key::kMessage || key == Key::kResponse || key == Key::kMetaInfo ||
         key == Key::kPromptDetails || key == Key::kInputDetails;
}

constexpr std::array<bool, 256> SetOf(std::string_view characters) {
  std::array<bool, 256> set{};
  for (const char c : characters) set[static_cast<unsigned char>(c)] = true;
  return set;
}
constexpr std::array<bool, 256> kEndsScalar = SetOf("\",:{}[] \t\r\n");

struct Event {
  std::string_view data;
  size_t size = 0;  // with its line ends
};

size_t FindLineEnd(std::string_view text) {
  return FindByte(text, [](ByteBlock c) { return (c == '\n') | (c == '\r'); });
}
// How many bytes the line end at `text` has; 0: there is none, or one that is not common.
size_t LineEndSize(std::string_view text) {
  if (text.starts_with('\n')) return 1;
  return text.starts_with("\r\n") ? 2 : 0;
}

// The event at the beginning of `text`, when it is whole and of one line of data, perhaps behind its name.
std::optional<Event> OneLineEvent(std::string_view text) {
  constexpr std::string_view kName = "event:", kField = "data:";
  size_t begin = 0;
  if (text.starts_with(kName)) {
    begin = FindLineEnd(text);
    begin += LineEndSize(text.substr(begin));
  }
  if (!text.substr(begin).starts_with(kField)) return std::nullopt;
  begin += kField.size();
  std::string_view data = text.substr(begin);
  data = data.substr(0, FindLineEnd(data));
  const size_t end = begin + data.size();
  const size_t line_end = LineEndSize(text.substr(end));
  if (line_end == 0 || LineEndSize(text.substr(end + line_end)) != line_end) return std::nullopt;
  if (data.starts_with(' ')) data.remove_prefix(1);
  return Event{data, end + 2 * line_end};
}

// Whether a key that token counts are under begins here. `"usage":null`, which engines write into each event, is none.
bool IsKeyOfCounts(std::string_view text) {
  constexpr std::string_view kUsage = "\"usage\"", kMetaInfo = "\"meta_info\"";
  if (text.starts_with(kUsage)) return !text.substr(kUsage.size()).starts_with(":null");
  return text.starts_with(kMetaInfo);
}

}  // namespace

size_t AnswerLexer::FindKeyOfCounts(std::string_view text) {
  size_t n = 0;
  for (; n + kByteBlock + 5 <= text.size(); n += kByteBlock) {
    const char* const at = text.data() + n;
    const auto second = LoadBlock(at + 1);
    const auto like = (LoadBlock(at) == '"') &
                      (((second == 'u') & (LoadBlock(at + 4) == 'g')) | ((second == 'm') & (LoadBlock(at + 5) == '_')));
    for (uint32_t bits = BitsOf(like); bits != 0; bits &= bits - 1) {
      const size_t found = n + static_cast<size_t>(std::countr_zero(bits));
      if (IsKeyOfCounts(text.substr(found))) return found;
    }
  }
  while ((n = std::min(text.find('"', n), text.size())) < text.size() && !IsKeyOfCounts(text.substr(n))) ++n;
  return n;
}

size_t AnswerLexer::PassEvents(std::string_view next) {
  size_t passed = 0;
  while (const auto event = OneLineEvent(next.substr(passed))) {
    if (!event->data.empty() && !event->data.starts_with("[DONE]")) ++events_;
    passed += event->size;
  }
  return passed;
}

void JsonLexer::Open(bool object) {
  const bool first = depth_ == 0 || (depth_ == 1 && InList());
  if (depth_ == kDepth || (!first && !IsPathTo(key()))) {
    unheard_ = 1;
    return;
  }
  object_[depth_] = object;
  key_[depth_] = object ? Key::kOther : Key::kElement;
  ++depth_;
  expect_key_ = object;
}

void JsonLexer::Close() {
  if (depth_ > 0) --depth_;
  expect_key_ = false;
}

size_t JsonLexer::Follow(std::string_view text, Nesting& nesting) {
  size_t escaped = nesting.escape ? 0 : std::string_view::npos;  // where the latest escaped byte is
  nesting.escape = false;
  for (size_t begin = 0; begin < text.size(); begin += kByteBlock) {
    const ByteBlock c = LoadBlock(text.substr(begin));
    const ByteBlock letter = c | 0x20;  // '[' and '{' are one then, and so are their closing ones
    uint32_t marks = BitsOf((c == '"') | (c == '\\') | (letter == '{') | (letter == '}') | (c == '\n') | (c == '\r'));
    for (; marks != 0; marks &= marks - 1) {
      const size_t at = begin + static_cast<size_t>(std::countr_zero(marks));
      const char mark = text[at];
      if (mark == '\n' || mark == '\r') {
        nesting.escape = at == escaped;
        return at;
      }
      if (at == escaped) continue;
      if (mark == '"') {
        nesting.in_string = !nesting.in_string;
      } else if (mark == '\\') {
        if (nesting.in_string) escaped = at + 1;
      } else if (!nesting.in_string) {
        nesting.open += mark == '{' || mark == '[' ? 1 : size_t{0} - 1;
        if (nesting.open == 0) return at + 1;
      }
    }
  }
  nesting.escape = escaped == text.size();
  return text.size();
}

size_t JsonLexer::TakeUnheard(std::string_view next) {
  Nesting nesting{.open = unheard_, .in_string = state_ == State::kString, .escape = escape_};
  size_t n = Follow(next, nesting);
  unheard_ = nesting.open;
  state_ = nesting.in_string ? State::kString : State::kBetween;
  escape_ = nesting.escape;
  if (unheard_ == 0) expect_key_ = false;
  if (n > 0) return n;
  escape_ = false;
  return 1;  // a line end
}

size_t JsonLexer::PassMembers(std::string_view text) {
  Nesting nesting{.open = 1};
  if (!text.ends_with(',') || Follow(text, nesting) != text.size()) return 0;
  return nesting.open == 1 && !nesting.in_string ? text.size() : 0;
}

// Keeps a part of a key or a scalar, as far as there is room.
void JsonLexer::Keep(std::string_view part) {
  const size_t room = kTextMax - text_size_;
  key_odd_ |= part.size() > room;
  text_size_ += part.copy(text_.data() + text_size_, room);
}

// The key or scalar that ends with this part: mostly the part itself.
std::string_view JsonLexer::Whole(std::string_view last_part) {
  if (text_size_ == 0) return last_part;
  Keep(last_part);
  return {text_.data(), text_size_};
}

size_t JsonLexer::FindScalarEnd(std::string_view text) {
  size_t n = 0;
  while (n < text.size() && !kEndsScalar[static_cast<unsigned char>(text[n])]) ++n;
  return n;
}

void JsonLexer::EndKey(std::string_view text) {
  key_[depth_ - 1] = key_odd_ ? Key::kOther : KeyOf(text);  // keys are read within known depth only
}

bool JsonLexer::At(std::initializer_list<Key> path) const {
  size_t level = InList() ? 1 : 0;
  if (depth_ != level + path.size()) return false;
  return std::all_of(path.begin(), path.end(), [&](Key key) { return key_[level++] == key; });
}

}  // namespace sluice::parse
