#include "worker/engine/llama/sequence.h"

#include <algorithm>
#include <utility>

namespace sluice::worker {

Sequence::Sequence(GenerateRequest r, std::shared_ptr<Listener> l, kvindex::ExtraKeys e,
                   std::vector<TokenId> end_tokens, std::unique_ptr<Sampler> s)
    : request(std::move(r)),
      listener(std::move(l)),
      tokens(request.prompt),
      extra(std::move(e)),
      sampler(std::move(s)),
      end_tokens_(std::move(end_tokens)),
      text_(request.stop, request.include_stop_in_output) {
  entry.owner = this;
  entry.priority = request.priority;
  entry.num_tokens = static_cast<int>(tokens.size());
  // Log-probabilities of the prompt need every position computed.
  entry.read_cache = request.prompt_logprobs < 0;
  entry.all_logits = request.prompt_logprobs >= 0;
  if (request.prompt_logprobs >= 0) prompt_logprobs.resize(tokens.size());
}

void Sequence::ExtendChain(const kvindex::EngineHash& hash, int block_size) {
  auto& chain = entry.chain;
  while ((chain.size() + 1) * block_size <= tokens.size()) {
    const std::span<const int32_t> block(tokens.data() + chain.size() * block_size, block_size);
    if (chain.empty()) {
      chain.push_back(hash.Next(hash.Root(), block, extra));
    } else {
      kvindex::ExtraKeys rest = extra;
      rest.cache_salt.clear();  // the salt marks the first block; the others inherit it
      chain.push_back(hash.Next(chain.back(), block, rest));
    }
  }
}

bool Sequence::IsEnd(TokenId token) const {
  return std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end();
}

void Sequence::End(FinishReason reason) {
  if (Ended()) return;
  pending.finish = reason;
  pending.text += text_.Finish();
}

// The order of the rules is vLLM's: nothing ends an answer before min_tokens; EOS, then stop tokens, then the length;
// a stop string in the text wins over the length.
void Sequence::Append(TokenId token, std::string_view piece, const tokenize::Tokenizer& tokenizer, int max_model_len) {
  tokens.push_back(token);
  ++generated;
  entry.num_tokens = static_cast<int>(tokens.size());
  pending.tokens.push_back(token);

  const bool may_stop = generated >= request.min_tokens;
  FinishReason reason = FinishReason::kNone;
  bool by_token = false;  // ended by a token, not by text or length
  if (may_stop && !request.ignore_eos && IsEnd(token)) {
    reason = FinishReason::kStop;
    by_token = true;
  } else if (may_stop && std::find(request.stop_token_ids.begin(), request.stop_token_ids.end(), token) !=
                             request.stop_token_ids.end()) {
    reason = FinishReason::kStop;
    by_token = true;
    pending.stop_token = token;
  } else if (generated >= request.max_tokens || static_cast<int>(tokens.size()) >= max_model_len) {
    reason = FinishReason::kLength;
  }

  std::string skipped;  // vLLM shows the token that ended an answer only when asked to
  if (by_token && !request.include_stop_in_output) piece = skipped;
  if (request.skip_special_tokens && tokenizer.IsSpecial(token)) piece = skipped;
  TextStream::Piece shown = text_.Append(piece, generated > request.min_tokens);
  pending.text += shown.text;
  if (shown.stop) {
    pending.stop_reason = std::move(shown.stop);
    pending.stop_token.reset();
    reason = FinishReason::kStop;
  }
  if (reason != FinishReason::kNone) End(reason);
}

Output Sequence::TakeOutput() {
  Output out = std::move(pending);
  pending = {};
  pending.finish = out.finish;
  out.usage = {static_cast<int>(request.prompt.size()), cached_tokens.value_or(0), generated};
  // Complete once the prompt is: with the first token, or with the end when no token was asked for.
  if (!prompt_logprobs.empty() && (!out.tokens.empty() || out.finish == FinishReason::kLength))
    out.prompt_logprobs = std::exchange(prompt_logprobs, {});
  return out;
}

FinishReport Sequence::Report() const {
  FinishReport r;
  r.request_id = request.id;
  r.lora = request.lora;
  r.reason = pending.finish;
  r.prompt_tokens = static_cast<int>(request.prompt.size());
  r.cached_tokens = cached_tokens.value_or(0);
  r.completion_tokens = generated;
  r.max_tokens = request.max_tokens;
  r.preemptions = preemptions;
  r.e2e_seconds = Seconds(ended - accepted);
  r.queue_seconds = Seconds((was_scheduled ? scheduled : ended) - accepted);
  if (generated > 0) {
    r.prefill_seconds = Seconds(first_token - scheduled);
    r.decode_seconds = Seconds(last_token - first_token);
    r.inference_seconds = Seconds(last_token - scheduled);
  }
  if (generated > 1) r.mean_seconds_per_token = r.decode_seconds / (generated - 1);
  return r;
}

}  // namespace sluice::worker
