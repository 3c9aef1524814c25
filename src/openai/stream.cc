#include "openai/stream.h"

#include "codec/json/write.h"
#include "codec/sse/sse.h"
#include "openai/error_body.h"

namespace sluice::openai {
namespace {

using codec::JsonWriter;

std::string Prefix(const ResponseHead& head, std::string_view object) {
  std::string out = "data: ";
  JsonWriter writer(out);
  writer.Raw("{")
      .Field("id", head.id)
      .Field("object", object)
      .Field("created", head.created)
      .Field("model", head.model);
  out += ",\"choices\":[";
  return out;
}

void AppendIds(std::string& out, std::span<const TokenId> ids) {
  JsonWriter writer(out);
  writer.Ints(ids);
}

void AppendContinuousUsage(std::string& out, const Usage& usage) {
  out += ",\"usage\":";
  JsonWriter writer(out);
  writer.BeginObject().Field("prompt_tokens", usage.prompt_tokens);
  writer.Field("total_tokens", usage.prompt_tokens + usage.completion_tokens);
  writer.Field("completion_tokens", usage.completion_tokens).Field("completion_tokens_details", nullptr).EndObject();
}

void AppendFinalUsage(std::string& out, const Usage& usage, std::string_view fingerprint) {
  out += "],\"usage\":";
  JsonWriter writer(out);
  writer.BeginObject().Field("prompt_tokens", usage.prompt_tokens);
  writer.Field("total_tokens", usage.prompt_tokens + usage.completion_tokens)
      .Field("completion_tokens", usage.completion_tokens);
  writer.Key("prompt_tokens_details").BeginObject().Field("cached_tokens", usage.cached_tokens);
  if (usage.created_cache_tokens) writer.Field("created_cache_tokens", *usage.created_cache_tokens);
  writer.EndObject().EndObject();
  out += ",\"system_fingerprint\":";
  codec::AppendQuoted(out, fingerprint);
  out += "}\n\n";
}

void AppendToolDeltas(std::string& out, std::span<const ToolDelta> deltas) {
  JsonWriter writer(out);
  writer.BeginArray();
  for (const ToolDelta& delta : deltas) {
    writer.BeginObject();
    if (!delta.id.empty()) writer.Field("id", delta.id).Field("type", "function");
    writer.Field("index", delta.index).Key("function").BeginObject();
    if (!delta.id.empty()) writer.Field("name", delta.name);
    if (!delta.arguments.empty()) writer.Field("arguments", delta.arguments);
    writer.EndObject().EndObject();
  }
  writer.EndArray();
}

// From the end of the choice to the end of the event.
void AppendTail(std::string& out, const StreamDelta& delta, std::string_view fingerprint) {
  out += "}]";
  if (delta.usage != nullptr) AppendContinuousUsage(out, *delta.usage);
  if (delta.last) {
    out += ",\"system_fingerprint\":";
    codec::AppendQuoted(out, fingerprint);
  }
  out += "}\n\n";
}

}  // namespace

ChatStream::ChatStream(const ResponseHead& head, TokenStyle style)
    : prefix_(Prefix(head, "chat.completion.chunk")), fingerprint_(head.fingerprint), style_(style) {}

void ChatStream::AppendRole(std::string& out, int index, const std::vector<TokenId>* prompt_token_ids,
                            const Usage* usage) const {
  out += prefix_;
  out += "{\"index\":";
  codec::AppendInt(out, index);
  out += ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]";
  if (usage != nullptr) AppendContinuousUsage(out, *usage);
  out += ",\"prompt_token_ids\":";
  if (prompt_token_ids != nullptr)
    AppendIds(out, *prompt_token_ids);
  else
    out += "null";
  out += ",\"prompt_text\":null}\n\n";
}

void ChatStream::AppendDelta(std::string& out, const StreamDelta& delta) const {
  out += prefix_;
  out += "{\"index\":";
  codec::AppendInt(out, delta.index);
  out += ",\"delta\":{";
  if (!delta.tool_calls.empty()) {
    out += "\"content\":";
    if (delta.content.empty())
      out += "null";
    else
      codec::AppendQuoted(out, delta.content);
    out += ",\"tool_calls\":";
    AppendToolDeltas(out, delta.tool_calls);
  } else if (!delta.content.empty() || delta.finish == nullptr) {
    out += "\"content\":";
    codec::AppendQuoted(out, delta.content);
  }
  out += "},\"logprobs\":";
  if (delta.logprobs)
    AppendChatLogprobs(out, *delta.logprobs, style_);
  else
    out += "null";
  out += ",\"finish_reason\":";
  if (delta.finish != nullptr) {
    codec::AppendQuoted(out, delta.finish->reason);
    out += ",\"stop_reason\":";
    AppendStopReason(out, *delta.finish);
  } else {
    out += "null";
  }
  out += ",\"token_ids\":";
  if (delta.token_ids)
    AppendIds(out, *delta.token_ids);
  else
    out += "null";
  AppendTail(out, delta, fingerprint_);
}

void ChatStream::AppendUsageEvent(std::string& out, const Usage& usage) const {
  out += prefix_;
  AppendFinalUsage(out, usage, fingerprint_);
}

CompletionStream::CompletionStream(const ResponseHead& head, TokenStyle style, size_t choices)
    : prefix_(Prefix(head, "text_completion")),
      fingerprint_(head.fingerprint),
      legacy_(choices, LegacyLogprobs(style)) {}

void CompletionStream::AppendDelta(std::string& out, const StreamDelta& delta) {
  std::string logprobs = "null";
  if (delta.logprobs) {
    logprobs.clear();
    legacy_.at(static_cast<size_t>(delta.index)).Append(logprobs, *delta.logprobs);
  }
  AppendChoice(out, delta, logprobs);
}

void CompletionStream::AppendEcho(std::string& out, const StreamDelta& delta, const TokenText& first_token,
                                  const PromptLogprobs& prompt) {
  std::string logprobs = "null";
  if (delta.logprobs) {
    logprobs.clear();
    legacy_.at(static_cast<size_t>(delta.index)).AppendWithPrompt(logprobs, first_token, prompt, *delta.logprobs);
  }
  AppendChoice(out, delta, logprobs);
}

void CompletionStream::AppendChoice(std::string& out, const StreamDelta& delta, std::string_view logprobs) const {
  out += prefix_;
  out += "{\"index\":";
  codec::AppendInt(out, delta.index);
  out += ",\"text\":";
  codec::AppendQuoted(out, delta.content);
  out += ",\"logprobs\":";
  out += logprobs;
  out += ",\"finish_reason\":";
  if (delta.finish != nullptr) {
    codec::AppendQuoted(out, delta.finish->reason);
    out += ",\"stop_reason\":";
    AppendStopReason(out, *delta.finish);
  } else {
    out += "null,\"stop_reason\":null";
  }
  out += ",\"prompt_token_ids\":";
  if (delta.prompt_token_ids != nullptr)
    AppendIds(out, *delta.prompt_token_ids);
  else
    out += "null";
  out += ",\"token_ids\":";
  if (delta.token_ids)
    AppendIds(out, *delta.token_ids);
  else
    out += "null";
  AppendTail(out, delta, fingerprint_);
}

void CompletionStream::AppendUsageEvent(std::string& out, const Usage& usage) const {
  out += prefix_;
  AppendFinalUsage(out, usage, fingerprint_);
}

void AppendErrorEvent(std::string& out, const Error& error) { codec::AppendSseData(out, ErrorBody(error)); }

}  // namespace sluice::openai
