#include "openai/embedding_request.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "openai/error_body.h"
#include "openai/field_reader.h"
#include "openai/request_body.h"

namespace sluice::openai {
namespace {

constexpr size_t kUnknownShown = 16;

Status ReadFields(FieldReader& fields, std::string_view model, EmbeddingRequest& out) {
  if (fields.Any("input") == nullptr) fields.Missing("input");
  out.inputs = ReadPrompts(fields, "input");
  if (const auto format = fields.String("encoding_format")) {
    out.base64 = *format == "base64";
    if (!out.base64 && *format != "float") {
      fields.Fault("literal_error", "encoding_format", "Input should be 'float' or 'base64'", Json(*format));
    }
  }
  out.add_special_tokens = fields.Bool("add_special_tokens").value_or(true);
  if (const auto keep = fields.Integer("truncate_prompt_tokens")) {
    out.truncation.truncate_prompt_tokens = static_cast<int>(std::clamp<int64_t>(*keep, -1, INT32_MAX));
  }
  out.request_id = fields.String("request_id").value_or("");
  for (const char* inert : {"user", "priority", "cache_salt", "normalize", "kv_transfer_params"}) fields.Any(inert);
  if (fields.Any("dimensions") != nullptr) {
    return tl::unexpected<Error>(ParameterError(
        "Model \"" + std::string(model) +
            "\" does not support matryoshka representation, changing output dimensions will lead to poor results.",
        "dimensions"));
  }
  return {};
}

}  // namespace

Result<EmbeddingRequest> ParseEmbeddingRequest(std::string_view body, const ModelLimits& limits) {
  auto tree = ParseBody(body);
  if (!tree) return tl::unexpected<Error>(std::move(tree.error()));
  FormFaults faults;
  FieldReader fields(*tree, "body", faults);
  EmbeddingRequest out;
  const auto model = fields.String("model");
  const Status read = ReadFields(fields, model.value_or(limits.names.front()), out);
  if (!faults.Empty()) return tl::unexpected<Error>(faults.ToError());
  auto served = CheckModel(model, limits);
  if (!served) return tl::unexpected<Error>(std::move(served.error()));
  if (!read) return tl::unexpected<Error>(read.error());
  if (out.inputs.empty()) return Fail(Code::kInvalidArgument, "input must not be empty.", "input");
  if (out.inputs.size() > static_cast<size_t>(limits.sequences_max)) {
    return tl::unexpected<Error>(ParameterError("input has " + std::to_string(out.inputs.size()) + " items; at most " +
                                                    std::to_string(limits.sequences_max) + " are accepted.",
                                                "input"));
  }
  for (const Prompt& input : out.inputs) {
    if (Status status = CheckTokenIds(input.tokens, limits); !status)
      return tl::unexpected<Error>(std::move(status.error()));
  }
  out.model = std::move(*served);
  out.unknown_fields = fields.Unread(kUnknownShown);
  return out;
}

}  // namespace sluice::openai
