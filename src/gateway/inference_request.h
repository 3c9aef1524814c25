// InferenceRequest: reads from an OpenAI-style body what choosing an endpoint needs (model, stream, prompt, limits),
// and nothing else: the engine judges the rest. The body itself is forwarded as it came. Thread rule: one JsonReader a
// loop. Ownership: the request's text pieces are views into the reader, dead at its next Parse: decide and dispatch
// before the next await. Cost: one pass over the body.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "codec/json/reader.h"
#include "model/request.h"

namespace sluice::gateway {

enum class ApiKind : uint8_t { kChat, kCompletions, kEmbeddings, kTokenize, kDetokenize };

// Which API a path is, when a request to it is sent on to an endpoint.
std::optional<ApiKind> ApiOfPath(std::string_view path);

struct BodyFacts {
  bool kv_transfer_params = false;  // the client sent its own: they are removed before an engine sees the body
};

// Fills model, target_model, prompts, streaming, cache_salt and output_tokens_max. An absent model is left empty.
// kInvalidArgument for what no engine could read: not JSON, not an object, a field of the wrong type.
Result<BodyFacts> ReadInferenceRequest(ApiKind api, codec::JsonReader& reader, std::string_view body,
                                       model::Request& request);

// The body without its `kv_transfer_params`: with made-up ones a client could crash a decode engine or read another
// request's blocks. The rest keeps its order.
Result<std::string> WithoutKvTransferParams(std::string_view body, size_t bytes_max);

}  // namespace sluice::gateway
