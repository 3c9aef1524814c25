// POST /v1/completions and its /render: the body, checked. Thread rule: pure. Cost: one tree of the body, then linear.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "openai/generation.h"

namespace sluice::openai {

// Text to be tokenized, or the tokens themselves.
struct Prompt {
  std::string text;
  std::vector<TokenId> tokens;
  bool is_tokens = false;
};

struct CompletionRequest {
  std::string model;
  std::vector<Prompt> prompts;  // at least one
  bool echo = false;            // with generation.max_tokens 0: the prompt alone
  bool add_special_tokens = true;
  Generation generation;
  std::vector<std::string> unknown_fields;
};

Result<CompletionRequest> ParseCompletionRequest(std::string_view body, const ModelLimits& limits);

// `prompt` of a completion, `input` of an embedding: a string, a list of strings, token ids, or a list of those. Empty
// when the field is absent or an empty string or list. Internal to openai/.
class FieldReader;
std::vector<Prompt> ReadPrompts(FieldReader& fields, std::string_view name);

}  // namespace sluice::openai
