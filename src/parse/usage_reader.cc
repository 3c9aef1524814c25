#include "parse/usage_reader.h"

#include <charconv>

namespace sluice::parse {
namespace {

constexpr int64_t kTokensMax = int64_t{1} << 40;  // beyond it a count is no count

std::optional<int64_t> Count(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0 || value > kTokensMax) return std::nullopt;
  return value;
}

}  // namespace

void UsageReader::Set(std::optional<int64_t>& count, int64_t value, bool summed) {
  const int64_t sum = summed ? count.value_or(0) + value : value;
  count = sum > kTokensMax ? kTokensMax : sum;
}

void UsageReader::OnScalar(const JsonLexer& json, std::string_view text) {
  if (json.key() < Key::kPromptTokens) return;  // no key of a count
  const auto count = Count(text);
  if (!count) return;
  struct Row {
    Key key;
    std::optional<int64_t> Counts::* field;
  };
  static constexpr Row kUsageRows[] = {
      {Key::kPromptTokens, &Counts::prompt},         {Key::kInputTokens, &Counts::input},
      {Key::kCompletionTokens, &Counts::completion}, {Key::kOutputTokens, &Counts::completion},
      {Key::kCacheRead, &Counts::cache_read},        {Key::kCacheCreation, &Counts::cache_creation}};
  for (const Row& row : kUsageRows) {
    if (row.key != json.key()) continue;
    if (json.At({Key::kUsage, row.key}) || json.At({Key::kMessage, Key::kUsage, row.key}) ||
        json.At({Key::kResponse, Key::kUsage, row.key})) {
      Set(counts_.*row.field, *count, false);
      return;
    }
  }
  for (const Key details : {Key::kPromptDetails, Key::kInputDetails}) {
    if (json.At({Key::kUsage, details, Key::kCachedTokens}) ||
        json.At({Key::kResponse, Key::kUsage, details, Key::kCachedTokens})) {
      Set(counts_.cached, *count, false);
      return;
    }
  }
  static constexpr Row kMetaRows[] = {{Key::kPromptTokens, &Counts::prompt},
                                      {Key::kCompletionTokens, &Counts::completion},
                                      {Key::kCachedTokens, &Counts::cached}};
  for (const Row& row : kMetaRows) {
    if (json.At({Key::kMetaInfo, row.key})) Set(counts_.*row.field, *count, json.InList());
  }
}

void UsageReader::AppendText(std::string_view piece) {
  size_t searched = 0;   // up to here there is no key of counts
  bool may_pass = true;  // what lies before it may be members of the object that it is in; tried once
  for (size_t i = 0; i < piece.size();) {
    if (searched <= i) {
      searched = i + AnswerLexer::FindKeyOfCounts(piece.substr(i));
      may_pass = true;
    }
    if (may_pass && lexer_.between_members()) {
      i += lexer_.PassMembers(piece.substr(i, searched - i));
      may_pass = false;
    }
    if (lexer_.between_events()) i += lexer_.PassEvents(piece.substr(i, searched - i));
    if (i < piece.size()) i += lexer_.Take(piece.substr(i), *this);
  }
}

// GenerateResponse {chunk = 1 {prompt_tokens = 2, completion_tokens = 3, cached_tokens = 4},
//                   complete = 2 {prompt_tokens = 3, completion_tokens = 4, cached_tokens = 5}}
// EmbedResponse {embedding = 1, prompt_tokens = 2}: there, 2 is a number.
void UsageReader::ReadVllmResponse(std::string_view message) {
  ++messages_;
  ProtoReader response(message);
  while (const auto part = response.Next()) {
    if (part->kind == ProtoField::Kind::kNumber) {
      if (part->number == 2) Set(counts_.prompt, static_cast<int64_t>(part->value & 0xffffffff), false);
      continue;
    }
    if (part->number != 1 && part->number != 2) continue;
    const uint32_t first = part->number + 1;  // of the three counts
    ProtoReader fields(part->bytes);
    while (const auto field = fields.Next()) {
      if (field->kind != ProtoField::Kind::kNumber || field->value > 0xffffffff) continue;
      const auto value = static_cast<int64_t>(field->value);
      if (field->number == first) Set(counts_.prompt, value, false);
      if (field->number == first + 1) Set(counts_.completion, value, false);
      if (field->number == first + 2) Set(counts_.cached, value, false);
    }
  }
}

void UsageReader::Append(std::string_view piece) {
  switch (style_) {
    case UsageStyle::kNone:
      return;
    case UsageStyle::kText:
      AppendText(piece);
      return;
    case UsageStyle::kVllmGrpc:
      frames_.Feed(piece, [this](std::string_view message) { ReadVllmResponse(message); });
      return;
    case UsageStyle::kVertexGrpc:
      frames_.Feed(piece, [this](std::string_view message) {
        ProtoReader http_body(message);  // {content_type = 1, data = 2}
        while (const auto field = http_body.Next()) {
          if (field->number == 2) AppendText(field->bytes);
        }
      });
      return;
  }
}

std::optional<Usage> UsageReader::Find() const {
  const Counts& c = counts_;
  if (!c.prompt && !c.input) return std::nullopt;
  Usage usage;
  usage.completion_tokens = c.completion.value_or(0);
  if (c.prompt) {
    usage.prompt_tokens = *c.prompt;
  } else {
    usage.prompt_tokens = *c.input + c.cache_read.value_or(0) + c.cache_creation.value_or(0);
  }
  usage.cached_tokens = c.cached ? *c.cached : c.cache_read.value_or(0);
  return usage;
}

}  // namespace sluice::parse
