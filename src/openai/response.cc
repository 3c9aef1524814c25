#include "openai/response.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/base64.h"
#include "codec/json/write.h"

namespace sluice::openai {
namespace {

using codec::JsonWriter;

void AppendHead(JsonWriter& writer, const ResponseHead& head, std::string_view object) {
  writer.BeginObject()
      .Field("id", head.id)
      .Field("object", object)
      .Field("created", head.created)
      .Field("model", head.model);
}

void AppendTokenIds(JsonWriter& writer, std::string_view name, const std::optional<std::vector<TokenId>>& ids) {
  writer.Key(name);
  if (ids)
    writer.Ints(std::span<const TokenId>(*ids));
  else
    writer.Null();
}

void AppendFinish(JsonWriter& writer, std::string& out, const Finish& finish) {
  writer.Field("finish_reason", finish.reason).Key("stop_reason");
  AppendStopReason(out, finish);
}

void AppendToolCalls(JsonWriter& writer, const std::vector<ToolCall>& calls) {
  writer.Key("tool_calls").BeginArray();
  for (const ToolCall& call : calls) {
    writer.BeginObject().Field("id", call.id).Field("type", "function").Key("function");
    writer.BeginObject().Field("name", call.name).Field("arguments", call.arguments).EndObject().EndObject();
  }
  writer.EndArray();
}

void AppendPrompt(JsonWriter& writer, std::string& out, const PromptExtras& prompt) {
  writer.Key("prompt_logprobs");
  if (prompt.logprobs)
    AppendPromptLogprobs(out, *prompt.logprobs);
  else
    writer.Null();
  AppendTokenIds(writer, "prompt_token_ids", prompt.token_ids);
}

std::string Base64Floats(const std::vector<float>& values) {
  static_assert(std::endian::native == std::endian::little, "the format is little-endian");
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return Base64Encode(bytes);
}

}  // namespace

std::string MakeId(std::string_view prefix, std::string_view client_id, Rng& rng) {
  std::string id(prefix);
  if (!client_id.empty()) return id += client_id;
  static constexpr std::string_view kHex = "0123456789abcdef";
  const uint64_t bits = rng();
  for (int shift = 60; shift >= 0; shift -= 4) id += kHex[bits >> shift & 15];
  return id;
}

void AppendUsage(std::string& out, const Usage& usage) {
  JsonWriter writer(out);
  writer.BeginObject().Field("prompt_tokens", usage.prompt_tokens);
  writer.Field("total_tokens", usage.prompt_tokens + usage.completion_tokens)
      .Field("completion_tokens", usage.completion_tokens);
  writer.Key("prompt_tokens_details")
      .BeginObject()
      .Field("cached_tokens", usage.cached_tokens)
      .Key("created_cache_tokens");
  if (usage.created_cache_tokens)
    writer.Int(*usage.created_cache_tokens);
  else
    writer.Null();
  writer.Field("multimodal_tokens", nullptr).EndObject().Field("completion_tokens_details", nullptr).EndObject();
}

void AppendStopReason(std::string& out, const Finish& finish) {
  if (finish.stop_text)
    codec::AppendQuoted(out, *finish.stop_text);
  else if (finish.stop_token)
    codec::AppendInt(out, *finish.stop_token);
  else
    out += "null";
}

std::string ChatBody(const ResponseHead& head, const std::vector<ChatChoice>& choices, const Usage& usage,
                     const PromptExtras& prompt, TokenStyle style) {
  std::string out;
  JsonWriter writer(out);
  AppendHead(writer, head, "chat.completion");
  writer.Key("choices").BeginArray();
  for (const ChatChoice& choice : choices) {
    writer.BeginObject().Field("index", choice.index).Key("message").BeginObject().Field("role", "assistant");
    writer.Field("content", choice.content);
    for (const char* absent : {"refusal", "annotations", "audio", "function_call"}) writer.Field(absent, nullptr);
    if (!choice.tool_calls.empty()) AppendToolCalls(writer, choice.tool_calls);
    writer.Field("reasoning", nullptr).EndObject().Key("logprobs");
    if (choice.logprobs)
      AppendChatLogprobs(out, *choice.logprobs, style);
    else
      writer.Null();
    AppendFinish(writer, out, choice.finish);
    AppendTokenIds(writer, "token_ids", choice.token_ids);
    writer.Field("routed_experts", nullptr).EndObject();
  }
  writer.EndArray().Field("service_tier", nullptr).Field("system_fingerprint", head.fingerprint).Key("usage");
  AppendUsage(out, usage);
  AppendPrompt(writer, out, prompt);
  for (const char* absent : {"prompt_text", "kv_transfer_params", "ec_transfer_params", "metrics"})
    writer.Field(absent, nullptr);
  writer.EndObject();
  return out;
}

std::string CompletionBody(const ResponseHead& head, const std::vector<CompletionChoice>& choices, const Usage& usage,
                           TokenStyle style) {
  std::string out;
  JsonWriter writer(out);
  AppendHead(writer, head, "text_completion");
  writer.Key("choices").BeginArray();
  for (const CompletionChoice& choice : choices) {
    writer.BeginObject().Field("index", choice.index).Field("text", choice.text).Key("logprobs");
    LegacyLogprobs legacy(style);
    if (!choice.logprobs)
      writer.Null();
    else if (choice.echo_first_token && choice.prompt.logprobs)
      legacy.AppendWithPrompt(out, *choice.echo_first_token, *choice.prompt.logprobs, *choice.logprobs);
    else
      legacy.Append(out, *choice.logprobs);
    AppendFinish(writer, out, choice.finish);
    AppendTokenIds(writer, "token_ids", choice.token_ids);
    AppendPrompt(writer, out, choice.prompt);
    writer.Field("routed_experts", nullptr).EndObject();
  }
  writer.EndArray().Field("service_tier", nullptr).Field("system_fingerprint", head.fingerprint).Key("usage");
  AppendUsage(out, usage);
  for (const char* absent : {"kv_transfer_params", "ec_transfer_params", "metrics"}) writer.Field(absent, nullptr);
  writer.EndObject();
  return out;
}

std::string EmbeddingBody(const ResponseHead& head, const std::vector<EmbeddingItem>& items, bool base64,
                          int prompt_tokens) {
  std::string out;
  JsonWriter writer(out);
  writer.BeginObject()
      .Field("id", head.id)
      .Field("object", "list")
      .Field("created", head.created)
      .Field("model", head.model);
  writer.Key("data").BeginArray();
  for (size_t i = 0; i < items.size(); ++i) {
    writer.BeginObject().Field("index", i).Field("object", "embedding").Key("embedding");
    if (base64) {
      writer.String(Base64Floats(items[i].values));
    } else {
      writer.BeginArray();
      for (const float value : items[i].values) writer.Double(value);
      writer.EndArray();
    }
    writer.EndObject();
  }
  writer.EndArray()
      .Key("usage")
      .BeginObject()
      .Field("prompt_tokens", prompt_tokens)
      .Field("total_tokens", prompt_tokens);
  writer.Field("completion_tokens", 0).Field("prompt_tokens_details", nullptr).EndObject().EndObject();
  return out;
}

std::string ModelsBody(const std::vector<ModelCard>& cards, int64_t created, int max_model_len) {
  std::string out;
  JsonWriter writer(out);
  writer.BeginObject().Field("object", "list").Key("data").BeginArray();
  for (const ModelCard& card : cards) {
    writer.BeginObject()
        .Field("id", card.id)
        .Field("object", "model")
        .Field("created", created)
        .Field("owned_by", "vllm");
    writer.Field("root", card.root).Key("parent");
    if (card.parent.empty())
      writer.Null();
    else
      writer.String(card.parent);
    writer.Field("max_model_len", max_model_len).Key("permission").BeginArray().BeginObject();
    writer.Field("id", card.permission_id).Field("object", "model_permission").Field("created", created);
    writer.Field("allow_create_engine", false).Field("allow_sampling", true).Field("allow_logprobs", true);
    writer.Field("allow_search_indices", false).Field("allow_view", true).Field("allow_fine_tuning", false);
    writer.Field("organization", "*")
        .Field("group", nullptr)
        .Field("is_blocking", false)
        .EndObject()
        .EndArray()
        .EndObject();
  }
  writer.EndArray().EndObject();
  return out;
}

std::string TokenizeBody(const std::vector<TokenId>& tokens, int max_model_len,
                         const std::vector<std::string>& token_strs) {
  std::string out;
  JsonWriter writer(out);
  writer.BeginObject().Field("count", tokens.size()).Field("max_model_len", max_model_len).Key("tokens");
  writer.Ints(std::span<const TokenId>(tokens)).Key("token_strs");
  if (token_strs.empty()) {
    writer.Null();
  } else {
    writer.BeginArray();
    for (const std::string& text : token_strs) writer.String(text);
    writer.EndArray();
  }
  writer.EndObject();
  return out;
}

std::string DetokenizeBody(std::string_view prompt) {
  std::string out;
  JsonWriter(out).BeginObject().Field("prompt", prompt).EndObject();
  return out;
}

namespace {

// vLLM leaves out what is at its default, except for these first four, stop, stop_token_ids and the last ones.
void AppendSamplingParams(JsonWriter& writer, const Generation& g, int max_tokens) {
  writer.BeginObject();
  if (g.n != 1) writer.Field("n", g.n);
  writer.Field("presence_penalty", g.presence_penalty).Field("frequency_penalty", g.frequency_penalty);
  writer.Field("repetition_penalty", g.repetition_penalty).Field("temperature", g.temperature);
  if (g.top_p != 1.0) writer.Field("top_p", g.top_p);
  if (g.top_k != 0) writer.Field("top_k", g.top_k);
  if (g.min_p != 0.0) writer.Field("min_p", g.min_p);
  if (g.seed) writer.Field("seed", *g.seed);
  writer.Key("stop").BeginArray();
  for (const std::string& stop : g.stop) writer.String(stop);
  writer.EndArray().Key("stop_token_ids").Ints(std::span<const TokenId>(g.stop_token_ids));
  if (g.ignore_eos) writer.Field("ignore_eos", true);
  writer.Field("max_tokens", max_tokens);
  if (g.min_tokens != 0) writer.Field("min_tokens", g.min_tokens);
  if (g.logprobs) writer.Field("logprobs", *g.logprobs);
  if (g.prompt_logprobs) writer.Field("prompt_logprobs", *g.prompt_logprobs);
  if (g.include_stop_str_in_output) writer.Field("include_stop_str_in_output", true);
  if (!g.skip_special_tokens) writer.Field("skip_special_tokens", false);
  writer.Field("output_kind", g.stream ? 1 : 2).Field("skip_clone", true);
  if (!g.logit_bias.empty()) {
    writer.Key("logit_bias").BeginObject();
    for (const auto& [token, bias] : g.logit_bias) writer.Field(std::to_string(token), bias);
    writer.EndObject();
  }
  writer.Key("bad_words").BeginArray().EndArray().Field("skip_reading_prefix_cache", false).EndObject();
}

}  // namespace

void AppendRendered(std::string& out, const Rendered& rendered, const Generation& generation, std::string_view model) {
  JsonWriter writer(out);
  writer.BeginObject().Field("request_id", rendered.request_id).Key("token_ids");
  writer.Ints(std::span<const TokenId>(rendered.tokens));
  for (const char* absent : {"token_offsets", "features", "content_parts"}) writer.Field(absent, nullptr);
  writer.Key("sampling_params");
  AppendSamplingParams(writer, generation, rendered.max_tokens);
  writer.Field("model", model).Field("reasoning_ended", nullptr).Field("reasoning_parser_kwargs", nullptr);
  writer.Key("return_token_ids");
  if (generation.return_token_ids)
    writer.Bool(true);
  else
    writer.Null();
  writer.Field("output_mode", "tokens").Field("stream", generation.stream).Key("stream_options");
  if (generation.include_usage) {
    writer.BeginObject()
        .Field("include_usage", true)
        .Field("continuous_usage_stats", generation.continuous_usage)
        .EndObject();
  } else {
    writer.Null();
  }
  writer.Key("cache_salt");
  if (generation.cache_salt.empty())
    writer.Null();
  else
    writer.String(generation.cache_salt);
  writer.Field("priority", generation.priority)
      .Field("kv_transfer_params", nullptr)
      .Field("ec_transfer_params", nullptr);
  writer.EndObject();
}

}  // namespace sluice::openai
