#include "gateway/usage_tail.h"

#include <charconv>

namespace sluice::gateway {
namespace {

// The integer after `"name":` within `object`, or nothing.
std::optional<int64_t> IntField(std::string_view object, std::string_view quoted_name) {
  size_t at = object.find(quoted_name);
  if (at == std::string_view::npos) return std::nullopt;
  at += quoted_name.size();
  while (at < object.size() && (object[at] == ' ' || object[at] == ':')) ++at;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(object.data() + at, object.data() + object.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

// The text from the brace at `open` to its partner; empty when it is cut off. The usage object holds no strings with
// braces.
std::string_view Braced(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return text.substr(open, i - open + 1);
  }
  return {};
}

}  // namespace

void UsageTail::Append(std::string_view piece) {
  if (piece.size() >= kTailBytes) {
    tail_.assign(piece.substr(piece.size() - kTailBytes));
    return;
  }
  if (tail_.size() + piece.size() > 2 * kTailBytes) tail_.erase(0, tail_.size() - (kTailBytes - piece.size()));
  tail_.append(piece);
}

std::optional<Usage> UsageTail::Find() const {
  const std::string_view text = tail_;
  for (size_t at = text.rfind("\"usage\""); at != std::string_view::npos && at != 0;
       at = text.rfind("\"usage\"", at - 1)) {
    size_t open = at + 7;
    while (open < text.size() && (text[open] == ' ' || text[open] == ':')) ++open;
    if (open >= text.size() || text[open] != '{') continue;  // "usage":null
    const std::string_view object = Braced(text, open);
    if (object.empty()) continue;
    Usage usage;
    auto prompt = IntField(object, "\"prompt_tokens\"");
    if (!prompt) prompt = IntField(object, "\"input_tokens\"");
    if (!prompt) continue;
    usage.prompt_tokens = *prompt;
    auto completion = IntField(object, "\"completion_tokens\"");
    if (!completion) completion = IntField(object, "\"output_tokens\"");
    usage.completion_tokens = completion.value_or(0);
    usage.cached_tokens = IntField(object, "\"cached_tokens\"").value_or(0);
    return usage;
  }
  return std::nullopt;
}

}  // namespace sluice::gateway
