// Log-probabilities in the two layouts of the API: chat's list of objects and the legacy parallel arrays.
// Thread rule: pure. Cost: linear in tokens x alternatives.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "openai/generation.h"

namespace sluice::openai {

struct TokenText {
  TokenId id = 0;
  std::string bytes;  // the token's own bytes, not necessarily whole UTF-8
  double logprob = 0;
};

struct TokenLogprobs {
  TokenText chosen;
  std::vector<TokenText> top;  // most likely first
};

// Prompt positions: the first token has none.
using PromptLogprobs = std::vector<std::optional<TokenLogprobs>>;

// How tokens are shown: by their text, or as "token_id:17" (return_tokens_as_token_ids).
enum class TokenStyle : uint8_t { kText, kId };

// {"content":[{"token","logprob","bytes","top_logprobs"}…]}
void AppendChatLogprobs(std::string& out, std::span<const TokenLogprobs> tokens, TokenStyle style);

// The legacy layout counts text offsets (in characters) over the whole answer, so it keeps the count between chunks.
class LegacyLogprobs {
 public:
  explicit LegacyLogprobs(TokenStyle style) : style_(style) {}
  // {"text_offset":[…],"token_logprobs":[…],"tokens":[…],"top_logprobs":[…]} of `prompt` (with echo) and `tokens`.
  // The first prompt token's log-probability is null; its text must be given in `first_prompt_token`.
  void Append(std::string& out, std::span<const TokenLogprobs> tokens);
  void AppendWithPrompt(std::string& out, const TokenText& first_prompt_token, const PromptLogprobs& prompt,
                        std::span<const TokenLogprobs> tokens);

 private:
  TokenStyle style_;
  size_t offset_ = 0;
};

// vLLM's prompt_logprobs: [null, {"504":{"logprob":…,"rank":…,"decoded_token":…}}, …]. The rank of a token that is not
// among the most likely ones is null.
void AppendPromptLogprobs(std::string& out, const PromptLogprobs& prompt);

}  // namespace sluice::openai
