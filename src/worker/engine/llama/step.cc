// LlamaEngine's step: plan, map blocks, compute, sample, register, tell.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "worker/engine/llama/llama_engine.h"

namespace sluice::worker {

LlamaRuntime::Outcome LlamaEngine::Decode(std::span<const LlamaRuntime::Token> tokens, int adapter) {
  return runtime_->Decode(tokens, adapter);
}

void LlamaEngine::Step() {
  StepPlan plan;
  std::vector<RemovedBlock> removed;
  bool cleared = false;
  const TimePoint begin = clock_.Now();
  {
    const std::lock_guard lock(mutex_);
    if (batcher_.Idle()) return;
    cleared = std::exchange(cache_cleared_, false);
    if (cleared) {  // what was dropped by the reset is named by one event
      for (const auto& r : pool_.TakeRemoved()) cells_.Drop(r.id);
    }
    plan = batcher_.Schedule();
    removed = pool_.TakeRemoved();
    for (const auto& a : plan.admitted) {
      prefix_queries_ += static_cast<uint64_t>(a.queried_tokens);
      prefix_hits_ += static_cast<uint64_t>(a.cached_blocks) * static_cast<uint64_t>(info_.block_size);
    }
  }
  events_ = {};
  if (cleared) events_.events.emplace_back(kvindex::AllBlocksCleared{});
  MapBlocks(plan, removed);
  if (plan.chunks.empty()) {
    PublishEvents({});
    return;
  }
  if (!Compute(plan)) return;
  FinishStep(plan);
  if (options_.observer != nullptr) {
    options_.observer->OnStep({step_prompt_tokens_, step_generated_, Seconds(clock_.Now() - begin)});
  }
  Deliver();
}

// Brings llama.cpp's cells in line with the plan. First what leaves, then what is shared: a block that was freed in
// this plan may have been taken for something else in it.
void LlamaEngine::MapBlocks(const StepPlan& plan, const std::vector<RemovedBlock>& removed) {
  for (BatchEntry* e : plan.preempted) {
    Sequence& s = Of(*e);
    cells_.ReleaseSequence(std::exchange(s.llama_sequence, -1));
    s.registered_blocks = 0;
    ++s.preemptions;
  }
  for (const auto& r : removed) {
    cells_.Drop(r.id);
    events_.events.emplace_back(kvindex::BlockRemoved{{r.digest}});
  }
  const TimePoint now = clock_.Now();
  for (const auto& a : plan.admitted) {
    Sequence& s = Of(*a.entry);
    s.llama_sequence = cells_.AcquireSequence();
    cells_.Share(std::span(a.entry->blocks).first(static_cast<size_t>(a.cached_blocks)), s.llama_sequence);
    s.registered_blocks = a.cached_blocks;
    if (!s.cached_tokens) s.cached_tokens = a.cached_blocks * info_.block_size;
    if (!std::exchange(s.was_scheduled, true)) s.scheduled = now;
  }
}

void LlamaEngine::DropIdleBlocks() {
  const std::lock_guard lock(mutex_);
  pool_.ForgetIdle();
  for (const auto& r : pool_.TakeRemoved()) {
    cells_.Drop(r.id);
    events_.events.emplace_back(kvindex::BlockRemoved{{r.digest}});
  }
}

bool LlamaEngine::Compute(const StepPlan& plan) {
  batch_.clear();
  step_prompt_tokens_ = step_generated_ = 0;
  for (const auto& chunk : plan.chunks) {
    const Sequence& s = Of(*chunk.entry);
    for (int i = 0; i < chunk.count; ++i) {
      const int position = chunk.first + i;
      const bool last = chunk.samples && i + 1 == chunk.count;
      batch_.push_back({s.tokens[position], position, s.llama_sequence, last || s.entry.all_logits});
    }
    step_prompt_tokens_ += std::clamp(static_cast<int>(s.request.prompt.size()) - chunk.first, 0, chunk.count);
  }
  LlamaRuntime::Outcome outcome = Decode(batch_, plan.adapter);
  if (outcome == LlamaRuntime::Outcome::kNoRoom) {  // never by our accounting; cached blocks can make room all the same
    DropIdleBlocks();
    outcome = Decode(batch_, plan.adapter);
  }
  if (outcome != LlamaRuntime::Outcome::kDone) {
    Die(outcome == LlamaRuntime::Outcome::kNoRoom
            ? "llama.cpp found no free cells for a batch that the block pool had room for"
            : "llama.cpp could not compute a batch");
    return false;
  }
  int row = 0;
  for (const auto& chunk : plan.chunks) {
    step_generated_ += SampleChunk(chunk, row);
    row += chunk.count;
  }
  return true;
}

void LlamaEngine::TakePromptLogprobs(Sequence& s, const StepPlan::Chunk& chunk, int first_row) {
  const int last = std::min(chunk.first + chunk.count, static_cast<int>(s.request.prompt.size()) - 1);
  for (int p = chunk.first; p < last; ++p) {
    s.prompt_logprobs[p + 1] =
        MakeLogprob(runtime_->Logits(first_row + p - chunk.first), s.tokens[p + 1], s.request.prompt_logprobs);
  }
}

// Samples the next token of a chunk that ends at the last known one. Returns the number of tokens sampled.
int LlamaEngine::SampleChunk(const StepPlan::Chunk& chunk, int first_row) {
  Sequence& s = Of(*chunk.entry);
  if (!s.prompt_logprobs.empty()) TakePromptLogprobs(s, chunk, first_row);
  if (!chunk.samples) return 0;
  if (s.request.max_tokens == 0) {
    s.End(FinishReason::kLength);
    return 0;
  }
  const std::span<const float> logits = runtime_->Logits(first_row + chunk.count - 1);
  const std::optional<TokenId> token = s.sampler->Sample(logits);
  if (!token) {  // the grammar is at its end and allows nothing that may be drawn
    s.End(FinishReason::kStop);
    return 0;
  }
  if (s.request.logprobs >= 0) s.pending.logprobs.push_back(MakeLogprob(logits, *token, s.request.logprobs));
  s.Append(*token, tokenizer_.Piece(*token, !s.request.skip_special_tokens), tokenizer_, info_.max_model_len);
  if (auto accepted = s.sampler->Accept(*token); !accepted && !s.Ended()) {
    s.End(FinishReason::kError);
    s.pending.error = accepted.error();
  }
  return 1;
}

// Offers the blocks that are full now to the cache, and keeps the cells of those that it took.
void LlamaEngine::RegisterBlocks(Sequence& s, kvindex::EventBatch& stored, std::vector<RemovedBlock>& removed) {
  if (!info_.prefix_caching) return;
  s.ExtendChain(hash_, info_.block_size);
  const int full = s.entry.num_computed / info_.block_size;
  std::vector<std::pair<int, int>> runs;  // [first, end) of depths that are cached now
  for (int d = s.registered_blocks; d < full; ++d) {
    if (!pool_.Register(s.entry.blocks[d], s.entry.chain[d], d)) continue;
    if (!runs.empty() && runs.back().second == d) {
      ++runs.back().second;
    } else {
      runs.emplace_back(d, d + 1);
    }
  }
  s.registered_blocks = std::max(s.registered_blocks, full);
  for (auto& r : pool_.TakeRemoved()) {
    cells_.Drop(r.id);
    removed.push_back(r);
  }
  for (const auto& [first, end] : runs) {
    cells_.Keep(s.llama_sequence, first, std::span(s.entry.blocks).subspan(first, end - first));
    if (options_.kv_events.enable_kv_cache_events) NoteStored(s, first, end - first, stored);
  }
}

void LlamaEngine::NoteStored(const Sequence& s, int first, int count, kvindex::EventBatch& stored) const {
  kvindex::BlockStored e;
  const auto& chain = s.entry.chain;
  e.block_hashes.assign(chain.begin() + first, chain.begin() + first + count);
  if (first > 0) e.parent_block_hash = chain[first - 1];
  const auto begin = s.tokens.begin() + static_cast<ptrdiff_t>(first) * info_.block_size;
  e.token_ids.assign(begin, begin + static_cast<ptrdiff_t>(count) * info_.block_size);
  e.block_size = info_.block_size;
  e.lora_name = s.extra.lora_name;
  if (first == 0) e.cache_salt = s.extra.cache_salt;
  stored.events.emplace_back(std::move(e));
}

// Removals come before the stores that caused them, as in vLLM.
void LlamaEngine::PublishEvents(kvindex::EventBatch stored) {
  if (!options_.kv_events.enable_kv_cache_events) return;
  for (auto& e : stored.events) events_.events.push_back(std::move(e));
  if (events_.events.empty()) return;
  events_.unix_seconds = clock_.UnixSeconds();
  Publish(std::exchange(events_, {}));
}

void LlamaEngine::Publish(kvindex::EventBatch batch) {
  if (publisher_) publisher_->Publish(std::move(batch));
}

void LlamaEngine::FinishStep(const StepPlan& plan) {
  kvindex::EventBatch stored;
  std::vector<RemovedBlock> removed;
  const TimePoint now = clock_.Now();
  {
    const std::lock_guard lock(mutex_);
    for (const auto& chunk : plan.chunks) {
      Sequence& s = Of(*chunk.entry);
      batcher_.Advance(s.entry, chunk.count);
      RegisterBlocks(s, stored, removed);
    }
  }
  for (const auto& r : removed) events_.events.emplace_back(kvindex::BlockRemoved{{r.digest}});
  PublishEvents(std::move(stored));
  for (const auto& chunk : plan.chunks) {
    Sequence& s = Of(*chunk.entry);
    if (s.pending.tokens.empty()) continue;
    if (s.generated == 1) {
      s.first_token = now;
      if (options_.observer != nullptr) {
        options_.observer->OnFirstToken({s.request.id, s.request.lora, static_cast<int>(s.request.prompt.size()),
                                         s.cached_tokens.value_or(0), Seconds(now - s.accepted)});
      }
    } else if (options_.observer != nullptr) {
      options_.observer->OnInterToken(Seconds(now - s.last_token));
    }
    s.last_token = now;
  }
}

// Tells the listeners, outside the lock; ended requests leave the tables first, so that a listener may submit again.
void LlamaEngine::Deliver() {
  std::vector<std::unique_ptr<Sequence>> ended;
  std::vector<std::pair<std::shared_ptr<Listener>, Output>> news;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [id, s] : sequences_) {
      if (!s->HasNews()) continue;
      if (!s->Ended()) {
        news.emplace_back(s->listener, s->TakeOutput());
        continue;
      }
      batcher_.Remove(s->entry);
      ended.push_back(std::move(s));
    }
    for (const auto& s : ended) sequences_.erase(s->request.id);
  }
  for (auto& s : ended) {
    cells_.ReleaseSequence(s->llama_sequence);
    s->ended = clock_.Now();
    if (options_.observer != nullptr) options_.observer->OnFinish(s->Report());
  }
  for (auto& [listener, output] : news) listener->OnOutput(std::move(output));
  for (auto& s : ended) s->listener->OnOutput(s->TakeOutput());
}

}  // namespace sluice::worker
