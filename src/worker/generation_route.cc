#include "worker/generation_route.h"

namespace sluice::worker {

std::optional<Error> AbsorbOutput(Output& output, const tokenize::Tokenizer& tokens, ChoiceState& choice) {
  choice.usage = output.usage;
  if (output.finish == FinishReason::kError) {
    return output.error.value_or(Error{Code::kInternal, "the engine failed without saying why", {}});
  }
  for (auto& entry : ToApi(output.logprobs, tokens)) choice.logprobs.push_back(std::move(entry));
  choice.tokens.insert(choice.tokens.end(), output.tokens.begin(), output.tokens.end());
  if (!output.prompt_logprobs.empty()) choice.prompt_logprobs = ToApi(output.prompt_logprobs, tokens);
  if (output.finish != FinishReason::kNone) choice.finish = ToApi(output);
  return std::nullopt;
}

}  // namespace sluice::worker
