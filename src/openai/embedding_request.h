// POST /v1/embeddings: the body, checked. Thread rule: pure. Cost: one tree of the body, then linear.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "openai/completion_request.h"

namespace sluice::openai {

struct EmbeddingRequest {
  std::string model;
  std::vector<Prompt> inputs;  // at least one
  bool base64 = false;         // encoding_format: little-endian float32 in base64, instead of JSON numbers
  bool add_special_tokens = true;
  Generation truncation;  // only truncate_prompt_tokens and its side are set
  std::string request_id;
  std::vector<std::string> unknown_fields;
};

Result<EmbeddingRequest> ParseEmbeddingRequest(std::string_view body, const ModelLimits& limits);

}  // namespace sluice::openai
