#include "openai/logprobs.h"

#include <algorithm>

#include "codec/json/write.h"

namespace sluice::openai {
namespace {

// JSON has no infinity; vLLM writes -9999 for impossible tokens.
double Finite(double logprob) { return std::max(logprob, -9999.0); }

std::string Shown(const TokenText& token, TokenStyle style) {
  return style == TokenStyle::kId ? "token_id:" + std::to_string(token.id) : token.bytes;
}

void AppendChatToken(codec::JsonWriter& writer, const TokenText& token, TokenStyle style) {
  writer.Field("token", Shown(token, style)).Field("logprob", Finite(token.logprob)).Key("bytes").BeginArray();
  for (const char c : token.bytes) writer.Int(static_cast<unsigned char>(c));
  writer.EndArray();
}

size_t Characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void AppendTop(codec::JsonWriter& writer, const TokenLogprobs& entry, TokenStyle style) {
  std::vector<std::string> seen;
  const auto add = [&](const TokenText& token) {
    std::string name = Shown(token, style);
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) return;
    writer.Field(name, Finite(token.logprob));
    seen.push_back(std::move(name));
  };
  writer.BeginObject();
  add(entry.chosen);
  for (const TokenText& token : entry.top) add(token);
  writer.EndObject();
}

// One position of the legacy layout; `entry` is null for the first prompt token.
struct Position {
  const TokenText* token;
  const TokenLogprobs* entry;
};

void AppendPositions(std::string& out, const std::vector<Position>& positions, TokenStyle style, size_t& offset) {
  codec::JsonWriter writer(out);
  writer.BeginObject().Key("text_offset").BeginArray();
  for (const Position& position : positions) {
    writer.Uint(offset);
    offset += Characters(Shown(*position.token, style));
  }
  writer.EndArray().Key("token_logprobs").BeginArray();
  for (const Position& position : positions) {
    if (position.entry == nullptr)
      writer.Null();
    else
      writer.Double(Finite(position.entry->chosen.logprob));
  }
  writer.EndArray().Key("tokens").BeginArray();
  for (const Position& position : positions) writer.String(Shown(*position.token, style));
  writer.EndArray().Key("top_logprobs").BeginArray();
  for (const Position& position : positions) {
    if (position.entry == nullptr)
      writer.Null();
    else
      AppendTop(writer, *position.entry, style);
  }
  writer.EndArray().EndObject();
}

}  // namespace

void AppendChatLogprobs(std::string& out, std::span<const TokenLogprobs> tokens, TokenStyle style) {
  codec::JsonWriter writer(out);
  writer.BeginObject().Key("content").BeginArray();
  for (const TokenLogprobs& entry : tokens) {
    writer.BeginObject();
    AppendChatToken(writer, entry.chosen, style);
    writer.Key("top_logprobs").BeginArray();
    for (const TokenText& token : entry.top) {
      writer.BeginObject();
      AppendChatToken(writer, token, style);
      writer.EndObject();
    }
    writer.EndArray().EndObject();
  }
  writer.EndArray().EndObject();
}

void LegacyLogprobs::Append(std::string& out, std::span<const TokenLogprobs> tokens) {
  std::vector<Position> positions;
  for (const TokenLogprobs& entry : tokens) positions.push_back({&entry.chosen, &entry});
  AppendPositions(out, positions, style_, offset_);
}

void LegacyLogprobs::AppendWithPrompt(std::string& out, const TokenText& first_prompt_token,
                                      const PromptLogprobs& prompt, std::span<const TokenLogprobs> tokens) {
  std::vector<Position> positions = {{&first_prompt_token, nullptr}};
  for (const auto& entry : prompt) {
    if (entry) positions.push_back({&entry->chosen, &*entry});
  }
  for (const TokenLogprobs& entry : tokens) positions.push_back({&entry.chosen, &entry});
  AppendPositions(out, positions, style_, offset_);
}

void AppendPromptLogprobs(std::string& out, const PromptLogprobs& prompt) {
  codec::JsonWriter writer(out);
  writer.BeginArray();
  for (const auto& entry : prompt) {
    if (!entry) {
      writer.Null();
      continue;
    }
    const auto add = [&](const TokenText& token, size_t rank) {
      writer.Key(std::to_string(token.id)).BeginObject().Field("logprob", Finite(token.logprob)).Key("rank");
      if (rank > 0)
        writer.Uint(rank);
      else
        writer.Null();
      writer.Field("decoded_token", token.bytes).EndObject();
    };
    size_t rank = 0;
    for (size_t i = 0; i < entry->top.size(); ++i) {
      if (entry->top[i].id == entry->chosen.id) rank = i + 1;
    }
    writer.BeginObject();
    add(entry->chosen, rank);
    for (size_t i = 0; i < entry->top.size(); ++i) {
      if (entry->top[i].id != entry->chosen.id) add(entry->top[i], i + 1);
    }
    writer.EndObject();
  }
  writer.EndArray();
}

}  // namespace sluice::openai
