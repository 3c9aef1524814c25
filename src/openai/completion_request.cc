#include "openai/completion_request.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "openai/error_body.h"
#include "openai/field_reader.h"
#include "openai/request_body.h"

namespace sluice::openai {
namespace {

constexpr size_t kUnknownShown = 16;

// Ids outside int32 cannot be in any vocabulary; they are kept recognisably wrong for CheckTokenIds.
TokenId ToTokenId(int64_t id) { return static_cast<TokenId>(std::clamp<int64_t>(id, -1, INT32_MAX)); }

// A list of numbers as one prompt; nothing (and a fault) when one is not an id.
bool ReadTokens(const Json& list, const std::string& at, FormFaults& faults, Prompt& out) {
  out.is_tokens = true;
  out.tokens.reserve(list.size());
  for (const Json& item : list) {
    const std::string here = at + "." + std::to_string(out.tokens.size());
    const auto id = ReadInteger(item, here, faults);
    if (!id) return false;
    if (*id < 0) {
      faults.Add("greater_than_equal", here, "Input should be greater than or equal to 0", ShowInput(item));
      return false;
    }
    out.tokens.push_back(ToTokenId(*id));
  }
  return true;
}

}  // namespace

std::vector<Prompt> ReadPrompts(FieldReader& fields, std::string_view name) {
  std::vector<Prompt> prompts;
  const Json* value = fields.Any(name);
  if (value == nullptr) return prompts;
  if (value->is_string()) {
    if (!value->get_ref<const std::string&>().empty()) prompts.push_back({value->get<std::string>(), {}, false});
    return prompts;
  }
  if (!value->is_array()) {
    fields.Fault("string_type", name, "Input should be a valid string", *value);
    return prompts;
  }
  if (value->empty()) return prompts;
  if (value->front().is_number()) {
    Prompt prompt;
    if (ReadTokens(*value, fields.At(name), fields.Faults(), prompt)) prompts.push_back(std::move(prompt));
    return prompts;
  }
  const bool texts = value->front().is_string();
  for (const Json& item : *value) {
    const std::string at = fields.At(name) + "." + std::to_string(prompts.size());
    Prompt prompt;
    if (texts && item.is_string()) {
      prompt.text = item.get<std::string>();
    } else if (!texts && item.is_array()) {
      if (!ReadTokens(item, at, fields.Faults(), prompt)) return prompts;
    } else {
      fields.Faults().Add(texts ? "string_type" : "list_type", at,
                          texts ? "Input should be a valid string" : "Input should be a valid list", ShowInput(item));
      return prompts;
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

namespace {

Status ReadFields(FieldReader& fields, const ModelLimits& limits, CompletionRequest& out) {
  out.prompts = ReadPrompts(fields, "prompt");
  out.echo = fields.Bool("echo").value_or(false);
  out.add_special_tokens = fields.Bool("add_special_tokens").value_or(true);
  if (const auto logprobs = fields.Integer("logprobs")) {
    out.generation.logprobs = static_cast<int>(std::clamp<int64_t>(*logprobs, INT32_MIN, INT32_MAX));
  }
  // Absent is 16, as in OpenAI's first API; an explicit null is all that fits, as in vLLM.
  const bool given = fields.Has("max_tokens");
  const auto max_tokens = fields.Integer("max_tokens");
  if (max_tokens) out.generation.max_tokens = static_cast<int>(std::clamp<int64_t>(*max_tokens, INT32_MIN, INT32_MAX));
  if (!given) out.generation.max_tokens = 16;
  return ReadGeneration(fields, limits, out.generation);
}

Status CheckMeaning(const CompletionRequest& request, const ModelLimits& limits) {
  if (request.prompts.empty()) {
    return tl::unexpected<Error>(
        ParameterError("Either prompt or prompt_embeds must be provided and non-empty.", "prompt"));
  }
  Generation checked = request.generation;
  if (request.echo && checked.max_tokens == 0) checked.max_tokens = 1;  // the prompt alone is a valid wish
  if (Status status = CheckGeneration(checked, limits); !status) return status;
  const size_t sequences = request.prompts.size() * static_cast<size_t>(request.generation.n);
  if (sequences > static_cast<size_t>(limits.sequences_max)) {
    return tl::unexpected<Error>(ParameterError("prompts times n is " + std::to_string(sequences) + "; at most " +
                                                    std::to_string(limits.sequences_max) +
                                                    " sequences a request are accepted.",
                                                "prompt", std::to_string(request.prompts.size())));
  }
  for (const Prompt& prompt : request.prompts) {
    if (Status status = CheckTokenIds(prompt.tokens, limits); !status) return status;
  }
  return {};
}

}  // namespace

Result<CompletionRequest> ParseCompletionRequest(std::string_view body, const ModelLimits& limits) {
  auto tree = ParseBody(body);
  if (!tree) return tl::unexpected<Error>(std::move(tree.error()));
  FormFaults faults;
  FieldReader fields(*tree, "body", faults);
  CompletionRequest out;
  const auto model = fields.String("model");
  const Status read = ReadFields(fields, limits, out);
  if (!faults.Empty()) return tl::unexpected<Error>(faults.ToError());
  auto served = CheckModel(model, limits);
  if (!served) return tl::unexpected<Error>(std::move(served.error()));
  if (!read) return tl::unexpected<Error>(read.error());
  if (Status status = CheckMeaning(out, limits); !status) return tl::unexpected<Error>(std::move(status.error()));
  // As vLLM: an echoed prompt has log-probabilities when the answer has.
  if (out.echo && out.generation.logprobs && !out.generation.prompt_logprobs) {
    out.generation.prompt_logprobs = out.generation.logprobs;
  }
  out.model = std::move(*served);
  out.unknown_fields = fields.Unread(kUnknownShown);
  return out;
}

}  // namespace sluice::openai
