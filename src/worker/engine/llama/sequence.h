// Sequence: one accepted request while it lives in the engine: its tokens, its sampler, its text, what it owes its
// listener, and when things happened to it. Pure but for the sampler's grammar.
// Thread rule: made by Submit's thread, then the engine's thread only (the batch entry: under the engine's lock).
// Ownership: owned by the engine. Cost: about the prompt's size, and 32 bytes a block for its digests.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "kvindex/engine_hash.h"
#include "worker/engine/batcher.h"
#include "worker/engine/engine.h"
#include "worker/engine/sampler.h"
#include "worker/engine/text_stream.h"

namespace sluice::worker {

class Sequence {
 public:
  Sequence(GenerateRequest request, std::shared_ptr<Listener> listener, kvindex::ExtraKeys extra,
           std::vector<TokenId> end_tokens, std::unique_ptr<Sampler> sampler);

  // Digests of the blocks that the known tokens fill, into entry.chain.
  void ExtendChain(const kvindex::EngineHash& hash, int block_size);

  // A token was sampled: text, stop rules and the listener's next output. `piece` are its bytes ("" when it is special
  // and special tokens are skipped).
  void Append(TokenId token, std::string_view piece, const tokenize::Tokenizer& tokens, int max_model_len);
  // Ends the request; a second reason does not replace the first.
  void End(FinishReason reason);
  bool Ended() const { return pending.finish != FinishReason::kNone; }
  bool HasNews() const { return Ended() || !pending.tokens.empty(); }
  // The news since the last call.
  Output TakeOutput();

  FinishReport Report() const;

  GenerateRequest request;
  std::shared_ptr<Listener> listener;
  BatchEntry entry;
  std::vector<TokenId> tokens;  // prompt and answer
  int generated = 0;
  kvindex::ExtraKeys extra;
  std::unique_ptr<Sampler> sampler;
  int llama_sequence = -1;           // while running
  int registered_blocks = 0;         // leading blocks that have been offered to the cache
  std::optional<int> cached_tokens;  // at the first admission
  int preemptions = 0;
  Output pending;
  std::vector<std::optional<TokenLogprob>> prompt_logprobs;

  TimePoint accepted{}, scheduled{}, first_token{}, last_token{}, ended{};
  bool was_scheduled = false;

 private:
  bool IsEnd(TokenId token) const;

  std::vector<TokenId> end_tokens_;
  TextStream text_;
};

}  // namespace sluice::worker
