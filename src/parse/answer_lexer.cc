#include "parse/answer_lexer.h"

#include <algorithm>
#include <cstring>
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

size_t FindFrom(std::string_view text, size_t from, std::string_view wanted) {
  const void* found = memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

// Whether a JSON text may have token counts. Keys with escapes are none that matter.
bool MayHaveCounts(std::string_view json) {
  constexpr std::string_view kUsage = "\"usage\"";
  for (size_t at = 0; (at = FindFrom(json, at, kUsage)) != std::string_view::npos;) {
    at += kUsage.size();
    if (!json.substr(at).starts_with(":null")) return true;
  }
  return FindFrom(json, 0, "\"meta_info\"") != std::string_view::npos;
}

struct Event {
  std::string_view data;
  size_t size = 0;  // with its line ends
};

// The event at the beginning of `text`, when it is whole and of one line of data, perhaps behind its name.
std::optional<Event> OneLineEvent(std::string_view text) {
  constexpr std::string_view kName = "event:", kField = "data:";
  size_t begin = 0;
  if (text.starts_with(kName)) begin = text.find('\n') + 1;  // 0 without a line's end: no data then
  if (!text.substr(begin).starts_with(kField)) return std::nullopt;
  begin += kField.size();
  const size_t end = text.find('\n', begin);
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view data = text.substr(begin, end - begin);
  const std::string_view line_end = data.ends_with('\r') ? "\r\n" : "\n";
  data.remove_suffix(line_end.size() - 1);
  if (!text.substr(end + 1).starts_with(line_end) || data.find('\r') != std::string_view::npos) return std::nullopt;
  if (data.starts_with(' ')) data.remove_prefix(1);
  return Event{data, end + 1 + line_end.size()};
}

}  // namespace

size_t AnswerLexer::PassWithoutCounts(std::string_view next) {
  if (!between_events()) return 0;
  size_t passed = 0;
  while (const auto event = OneLineEvent(next.substr(passed))) {
    if (MayHaveCounts(event->data)) break;
    if (!event->data.empty() && !event->data.starts_with("[DONE]")) ++events_;
    passed += event->size;
  }
  return passed;
}

void JsonLexer::Open(bool object) {
  if (depth_ < kDepth) {
    object_[depth_] = object;
    key_[depth_] = object ? Key::kOther : Key::kElement;
  }
  ++depth_;
  expect_key_ = InObject();
}

void JsonLexer::Close() {
  if (depth_ > 0) --depth_;
  expect_key_ = false;
}

void JsonLexer::EndKey() {
  const Key key = key_odd_ ? Key::kOther : KeyOf(std::string_view(text_.data(), text_size_));
  key_[depth_ - 1] = key;  // keys are read within known depth only
}

bool JsonLexer::At(std::initializer_list<Key> path) const {
  size_t level = InList() ? 1 : 0;
  if (depth_ > kDepth || depth_ != level + path.size()) return false;
  return std::all_of(path.begin(), path.end(), [&](Key key) { return key_[level++] == key; });
}

}  // namespace sluice::parse
