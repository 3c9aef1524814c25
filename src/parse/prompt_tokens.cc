// Prompts that are plain: a string, token ids, lists of such.
#include "parse/body_readers.h"

namespace sluice::parse {

using codec::JsonValue;

tl::unexpected<Error> Invalid(std::string_view message, std::string_view field) {
  return Fail(Code::kInvalidArgument, std::string(message), std::string(field));
}

bool AppendToken(const JsonValue& value, model::Prompt& prompt) {
  const auto token = value.Int();
  if (!token || *token < 0 || *token > int64_t{0xffffffff}) return false;
  prompt.tokens.push_back(static_cast<uint32_t>(*token));
  return true;
}

Status ReadPromptValue(const JsonValue& value, std::string_view field, model::Request& request) {
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
  return Invalid(
      "`" + std::string(field) +
          "` must be a string, a list of strings, a list of token ids (whole numbers from 0 to 4294967295) or "
          "a list of such lists",
      field);
}

std::optional<uint32_t> Limit(const JsonValue& object, std::initializer_list<std::string_view> fields) {
  for (const std::string_view field : fields) {
    const auto value = object.Find(field);
    const auto limit = value ? value->Int() : std::nullopt;
    if (limit && *limit >= 0 && *limit <= int64_t{0x7fffffff}) return static_cast<uint32_t>(*limit);
  }
  return std::nullopt;
}

namespace {

std::optional<JsonValue> Present(const JsonValue& object, std::string_view field) {
  const auto value = object.Find(field);
  return value && value->type() != JsonValue::Type::kNull ? value : std::nullopt;
}

// A flat list of token ids, as the only prompt.
Status ReadTokenList(const JsonValue& value, std::string_view field, model::Request& request) {
  model::Prompt& prompt = request.prompts.emplace_back();
  bool ok = value.IsArray();
  value.ForEachElement([&](JsonValue token) { return ok = AppendToken(token, prompt); });
  if (ok) return {};
  return Invalid("`" + std::string(field) + "` must be a list of token ids (whole numbers from 0 to 4294967295)",
                 field);
}

// {"mm_hashes":{"image":["3f…"]}}: what the placeholders among the token ids stand for.
void ReadFeatures(const JsonValue& features, model::Prompt& prompt) {
  const auto hashes = features.Find("mm_hashes");
  if (!hashes) return;
  hashes->ForEachMember([&](std::string_view modality, JsonValue list) {
    const auto kind = modality == "video"   ? model::Media::Kind::kVideo
                      : modality == "audio" ? model::Media::Kind::kAudio
                                            : model::Media::Kind::kImage;
    list.ForEachElement([&](JsonValue hash) {
      if (const auto text = hash.String()) prompt.media.push_back({kind, *text, 0});
      return true;
    });
    return true;
  });
}

}  // namespace

Status ReadCompletions(const JsonBody& body, model::Request& request) {
  request.output_tokens_max = Limit(body.root, {"max_tokens"});
  if (const auto prompt = Present(body.root, "prompt")) return ReadPromptValue(*prompt, "prompt", request);
  if (Present(body.root, "prompt_embeds")) return {};  // vLLM's: a prompt, but nothing that could be compared
  return Invalid("invalid completions request: must have prompt field", "prompt");
}

Status ReadEmbeddings(const JsonBody& body, model::Request& request) {
  if (const auto input = Present(body.root, "input")) return ReadPromptValue(*input, "input", request);
  if (Present(body.root, "messages")) return ReadChat(body, request);  // vLLM's embeddings of a chat
  return Invalid("invalid embeddings request: must have input field", "input");
}

Status ReadImages(const JsonBody& body, model::Request& request) {
  const auto prompt = Present(body.root, "prompt");
  const auto text = prompt ? prompt->String() : std::nullopt;
  if (!text) return Invalid("invalid images generations request: must have prompt field", "prompt");
  request.prompts.emplace_back().text.push_back(*text);
  return {};
}

Status ReadVllmGenerate(const JsonBody& body, model::Request& request) {
  const auto ids = Present(body.root, "token_ids");
  if (!ids) return Invalid("invalid generate request: must have token_ids field", "token_ids");
  if (Status read = ReadTokenList(*ids, "token_ids", request); !read) return read;
  if (const auto features = Present(body.root, "features")) ReadFeatures(*features, request.prompts.back());
  if (const auto sampling = Present(body.root, "sampling_params")) {
    request.output_tokens_max = Limit(*sampling, {"max_tokens"});
  }
  return {};
}

Status ReadSglangGenerate(const JsonBody& body, model::Request& request) {
  if (const auto extra_key = Present(body.root, "extra_key")) request.cache_salt = extra_key->String().value_or("");
  if (const auto sampling = Present(body.root, "sampling_params")) {
    request.output_tokens_max = Limit(*sampling, {"max_new_tokens"});
  }
  if (const auto ids = Present(body.root, "input_ids")) return ReadTokenList(*ids, "input_ids", request);
  if (const auto text = Present(body.root, "text")) return ReadPromptValue(*text, "text", request);
  if (Present(body.root, "input_embeds")) return {};
  return Invalid("invalid generate request: must have input_ids or text field", "input_ids");
}

}  // namespace sluice::parse
