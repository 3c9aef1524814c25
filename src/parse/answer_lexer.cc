#include "parse/answer_lexer.h"

#include <algorithm>

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

}  // namespace

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
