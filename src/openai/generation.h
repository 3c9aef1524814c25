// What chat and completions ask in common: sampling, lengths, stops, constraints, streaming; and what the served model
// allows. Names and defaults are vLLM's. Thread rule: plain values. Cost: a few small strings and vectors.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::openai {

using TokenId = int32_t;

// What a request may ask of the server that checks it.
struct ModelLimits {
  std::vector<std::string> names;  // served names, then adapters; a request's model must be one of them
  int max_model_len = 0;           // tokens
  int vocab_size = 0;
  int max_logprobs = 20;     // vLLM's --max-logprobs
  int n_max = 128;           // OpenAI's limit on n
  int sequences_max = 2048;  // prompts x n of one request
  int stop_max = 4;          // stop strings (OpenAI's limit, and vLLM's schema)
  int stop_bytes_max = 1024;
  int logit_bias_max = 300;  // entries (OpenAI's limit)
};

// What the generated text must match. Chosen by response_format or structured_outputs.
struct Constraint {
  enum class Kind : uint8_t { kNone, kJsonObject, kJsonSchema, kChoice, kGrammar };
  Kind kind = Kind::kNone;
  std::string text;                  // kJsonSchema: the schema as JSON; kGrammar: the grammar (GBNF)
  std::vector<std::string> choices;  // kChoice
};

struct Generation {
  int n = 1;
  double temperature = 1.0;
  double top_p = 1.0;
  int top_k = 0;
  double min_p = 0.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  double repetition_penalty = 1.0;
  std::optional<int64_t> seed;
  std::map<TokenId, float> logit_bias;  // clamped to -100..100, as vLLM does

  std::optional<int> max_tokens;  // nothing: all that fits
  int min_tokens = 0;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  std::optional<int> truncate_prompt_tokens;  // keep the last so many; -1: max_model_len
  bool truncate_from_right = false;           // keep the first ones instead (truncation_side)

  std::optional<int> logprobs;  // the sampled token's and the n most likely ones'
  std::optional<int> prompt_logprobs;
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;

  Constraint constraint;

  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;

  std::string cache_salt;
  int64_t priority = 0;
  std::string session_id;
  std::string request_id;  // from the body; the x-request-id header goes first
  std::string user;
};

class FieldReader;

// Reads the shared fields except max_tokens and logprobs, whose meaning differs by route. Faults of form go to the
// reader's list; a fault of meaning that vLLM reports at once is returned.
Status ReadGeneration(FieldReader& fields, const ModelLimits& limits, Generation& out);
// The ranges, in vLLM's order and words, once every field is read.
Status CheckGeneration(const Generation& generation, const ModelLimits& limits);
// 404 when `model` is not served; an absent model means the first one. Returns the name to answer with.
Result<std::string> CheckModel(const std::optional<std::string>& model, const ModelLimits& limits);

// The tokens that may be generated after a prompt of `prompt_tokens`: the request's own, bounded by the context. Fails
// with vLLM's words when the prompt or prompt + max_tokens does not fit.
Result<int> MaxTokens(const Generation& generation, size_t prompt_tokens, const ModelLimits& limits);
// Fails when an id is outside the vocabulary.
Status CheckTokenIds(const std::vector<TokenId>& tokens, const ModelLimits& limits);
// Applies truncate_prompt_tokens.
void TruncatePrompt(const Generation& generation, const ModelLimits& limits, std::vector<TokenId>& tokens);

}  // namespace sluice::openai
