// Between the API's terms (openai/) and the engine's (engine/engine.h).
// Thread rule: pure functions over immutable tokenizers; any thread. Cost: linear in what is converted.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "openai/chat_request.h"
#include "openai/completion_request.h"
#include "openai/logprobs.h"
#include "openai/response.h"
#include "tokenize/chat_template.h"
#include "worker/engine/engine.h"

namespace sluice::worker {

// Everything but id, prompt, max_tokens and grammar; `choice` moves the seed, so that n answers differ, as in vLLM.
GenerateRequest ToEngineRequest(const openai::Generation& generation, int choice);

// A grammar and whether it waits for a trigger.
struct Grammar {
  std::string text;
  bool lazy = false;
  std::vector<std::string> triggers;
};
// kInvalidArgument when the constraint or a tool's schema cannot be turned into a grammar.
Result<Grammar> ConstraintGrammar(const openai::Constraint& constraint);
Result<Grammar> ChatGrammar(const openai::ChatRequest& request);

Result<std::string> RenderConversation(const tokenize::ChatTemplate& chat_template,
                                       const openai::Conversation& conversation, bool parallel_tool_calls);

std::vector<openai::TokenLogprobs> ToApi(const std::vector<TokenLogprob>& logprobs, const tokenize::Tokenizer& tokens);
openai::PromptLogprobs ToApi(const std::vector<std::optional<TokenLogprob>>& logprobs,
                             const tokenize::Tokenizer& tokens);

openai::Finish ToApi(const Output& output);

}  // namespace sluice::worker
