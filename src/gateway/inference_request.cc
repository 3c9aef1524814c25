#include "gateway/inference_request.h"

#include <array>
#include <nlohmann/json.hpp>

#include "codec/json/dom.h"

namespace sluice::gateway {

using codec::JsonValue;

namespace {

constexpr int kToolDepthMax = 64;

// Every key and string of a value, in order: what stands for the tools when prefixes are compared.
void CollectStrings(const JsonValue& value, int depth, std::vector<std::string_view>& out) {
  if (depth > kToolDepthMax) return;
  if (const auto text = value.String()) {
    out.push_back(*text);
  } else if (value.IsArray()) {
    value.ForEachElement([&](JsonValue element) {
      CollectStrings(element, depth + 1, out);
      return true;
    });
  } else if (value.IsObject()) {
    value.ForEachMember([&](std::string_view key, JsonValue member) {
      out.push_back(key);
      CollectStrings(member, depth + 1, out);
      return true;
    });
  }
}

Status ReadChat(const JsonValue& root, model::Request& request) {
  const auto messages = root.Find("messages");
  if (!messages || !messages->IsArray()) {
    return Fail(Code::kInvalidArgument, "the request needs `messages`, a list of objects with `role` and `content`",
                "messages");
  }
  model::Prompt& prompt = request.prompts.emplace_back();
  if (const auto tools = root.Find("tools")) CollectStrings(*tools, 0, prompt.text);
  messages->ForEachElement([&](JsonValue message) {
    if (const auto role = message.Find("role")) {
      if (const auto text = role->String()) prompt.text.push_back(*text);
    }
    const auto content = message.Find("content");
    if (!content) return true;
    if (const auto text = content->String()) {
      prompt.text.push_back(*text);
    } else {
      CollectStrings(*content, 0, prompt.text);
    }
    return true;
  });
  return {};
}

bool AppendToken(const JsonValue& value, model::Prompt& prompt) {
  const auto token = value.Int();
  if (!token || *token < 0 || *token > int64_t{0x7fffffff}) return false;
  prompt.tokens.push_back(static_cast<uint32_t>(*token));
  return true;
}

// A string, a list of strings, token ids, or a list of lists of token ids.
Status ReadPrompt(const JsonValue& value, std::string_view field, model::Request& request) {
  if (const auto text = value.String()) {
    request.prompts.emplace_back().text.push_back(*text);
    return {};
  }
  bool ok = value.IsArray();
  model::Prompt flat;
  value.ForEachElement([&](JsonValue element) {
    if (const auto text = element.String()) {
      request.prompts.emplace_back().text.push_back(*text);
    } else if (element.IsArray()) {
      model::Prompt& prompt = request.prompts.emplace_back();
      element.ForEachElement([&](JsonValue token) { return ok = AppendToken(token, prompt); });
    } else {
      ok = AppendToken(element, flat);
    }
    return ok;
  });
  if (!flat.tokens.empty()) {
    ok = ok && request.prompts.empty();
    request.prompts.push_back(std::move(flat));
  }
  if (ok) return {};
  return Fail(
      Code::kInvalidArgument,
      "`" + std::string(field) + "` must be a string, a list of strings, a list of token ids or a list of such lists",
      std::string(field));
}

Status ReadPromptField(const JsonValue& root, std::string_view field, model::Request& request) {
  const auto value = root.Find(field);
  if (!value) return Fail(Code::kInvalidArgument, "the request needs `" + std::string(field) + "`", std::string(field));
  return ReadPrompt(*value, field, request);
}

tl::unexpected<Error> WrongType(std::string_view field, std::string_view want) {
  return Fail(Code::kInvalidArgument, "`" + std::string(field) + "` must be " + std::string(want), std::string(field));
}

}  // namespace

std::optional<ApiKind> ApiOfPath(std::string_view path) {
  struct Row {
    std::string_view path;
    ApiKind api;
  };
  static constexpr std::array<Row, 7> kRows = {{{"/v1/chat/completions", ApiKind::kChat},
                                                {"/v1/completions", ApiKind::kCompletions},
                                                {"/v1/embeddings", ApiKind::kEmbeddings},
                                                {"/v1/chat/completions/render", ApiKind::kChat},
                                                {"/v1/completions/render", ApiKind::kCompletions},
                                                {"/tokenize", ApiKind::kTokenize},
                                                {"/detokenize", ApiKind::kDetokenize}}};
  for (const Row& row : kRows) {
    if (row.path == path) return row.api;
  }
  return std::nullopt;
}

Result<BodyFacts> ReadInferenceRequest(ApiKind api, codec::JsonReader& reader, std::string_view body,
                                       model::Request& request) {
  const auto root = reader.Parse(body);
  if (!root) return tl::unexpected(root.error());
  if (!root->IsObject()) return Fail(Code::kInvalidArgument, "the request body must be a JSON object");
  request.body_bytes = body.size();
  if (const auto model = root->Find("model"); model && model->type() != JsonValue::Type::kNull) {
    const auto name = model->String();
    if (!name) return WrongType("model", "a string");
    request.model = request.target_model = *name;
  }
  if (const auto stream = root->Find("stream"); stream && stream->type() != JsonValue::Type::kNull) {
    const auto value = stream->Bool();
    if (!value) return WrongType("stream", "true or false");
    request.streaming = *value;
  }
  if (const auto salt = root->Find("cache_salt")) request.cache_salt = salt->String().value_or("");
  for (const std::string_view field : {"max_completion_tokens", "max_tokens"}) {
    const auto value = root->Find(field);
    const auto limit = value ? value->Int() : std::nullopt;
    if (limit && *limit >= 0 && *limit <= int64_t{0x7fffffff}) {
      request.output_tokens_max = static_cast<uint32_t>(*limit);
      break;
    }
  }
  const BodyFacts facts{.kv_transfer_params = root->Find("kv_transfer_params").has_value()};
  Status prompt;
  switch (api) {
    case ApiKind::kChat:
      prompt = ReadChat(*root, request);
      break;
    case ApiKind::kCompletions:
      prompt = ReadPromptField(*root, "prompt", request);
      break;
    case ApiKind::kEmbeddings:
      prompt = ReadPromptField(*root, "input", request);
      break;
    case ApiKind::kTokenize:
    case ApiKind::kDetokenize:
      break;
  }
  if (!prompt) return tl::unexpected(prompt.error());
  return facts;
}

Result<std::string> WithoutKvTransferParams(std::string_view body, size_t bytes_max) {
  auto tree = codec::ParseDom(body, {.bytes_max = bytes_max});
  if (!tree) return tl::unexpected(tree.error());
  tree->erase("kv_transfer_params");
  return codec::Dump(*tree);
}

}  // namespace sluice::gateway
