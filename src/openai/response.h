// Bodies of whole (not streamed) answers, with vLLM's fields in vLLM's order. Thread rule: pure. Cost: one string.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "openai/completion_request.h"
#include "openai/generation.h"
#include "openai/logprobs.h"

namespace sluice::openai {

// "chatcmpl-" or "cmpl-" or … and 16 hex digits, or the client's own id after the prefix.
std::string MakeId(std::string_view prefix, std::string_view client_id, Rng& rng);

struct ResponseHead {
  std::string id;
  int64_t created = 0;  // seconds since 1970
  std::string model;
  std::string fingerprint;
};

struct Usage {
  int prompt_tokens = 0;
  int completion_tokens = 0;
  int cached_tokens = 0;
  std::optional<int> created_cache_tokens;  // prompt tokens that are cached now and were not before
};

// How a choice ended.
struct Finish {
  std::string_view reason;  // "stop", "length", "tool_calls", "abort", "error"
  std::optional<std::string> stop_text;
  std::optional<TokenId> stop_token;
};

struct ToolCall {
  std::string id;  // "chatcmpl-tool-…"
  std::string name;
  std::string arguments;  // JSON text
};

struct ChatChoice {
  int index = 0;
  std::string content;
  std::vector<ToolCall> tool_calls;
  Finish finish;
  std::optional<std::vector<TokenLogprobs>> logprobs;
  std::optional<std::vector<TokenId>> token_ids;
};

// What the prompt adds to an answer when asked for.
struct PromptExtras {
  std::optional<std::vector<TokenId>> token_ids;
  std::optional<PromptLogprobs> logprobs;
};

std::string ChatBody(const ResponseHead& head, const std::vector<ChatChoice>& choices, const Usage& usage,
                     const PromptExtras& prompt, TokenStyle style);

struct CompletionChoice {
  int index = 0;
  std::string text;
  Finish finish;
  std::optional<std::vector<TokenLogprobs>> logprobs;
  std::optional<std::vector<TokenId>> token_ids;
  PromptExtras prompt;
  // With echo and logprobs: the first prompt token; the prompt's log-probabilities are then part of `logprobs`.
  std::optional<TokenText> echo_first_token;
};

std::string CompletionBody(const ResponseHead& head, const std::vector<CompletionChoice>& choices, const Usage& usage,
                           TokenStyle style);

struct EmbeddingItem {
  std::vector<float> values;
};
std::string EmbeddingBody(const ResponseHead& head, const std::vector<EmbeddingItem>& items, bool base64,
                          int prompt_tokens);

struct ModelCard {
  std::string id;
  std::string root;    // the model's or adapter's path
  std::string parent;  // of an adapter: the base model's name; else empty
  std::string permission_id;
};
std::string ModelsBody(const std::vector<ModelCard>& cards, int64_t created, int max_model_len);

// `token_strs` empty: null.
std::string TokenizeBody(const std::vector<TokenId>& tokens, int max_model_len,
                         const std::vector<std::string>& token_strs);
std::string DetokenizeBody(std::string_view prompt);

// What /render answers for one prompt: the request as vLLM's /inference/v1/generate would take it.
struct Rendered {
  std::string request_id;
  std::vector<TokenId> tokens;
  int max_tokens = 0;
};
void AppendRendered(std::string& out, const Rendered& rendered, const Generation& generation, std::string_view model);

// Shared with stream.h.
void AppendUsage(std::string& out, const Usage& usage);
void AppendStopReason(std::string& out, const Finish& finish);

}  // namespace sluice::openai
