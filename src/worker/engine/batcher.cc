#include "worker/engine/batcher.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::worker {

Batcher::Batcher(const BatcherOptions& options, BlockPool& pool) : options_(options), pool_(pool) {
  SLUICE_CHECK(options_.max_num_seqs > 0 && options_.max_num_batched_tokens >= options_.max_num_seqs,
               "a step must have room for one token of each running request");
  SLUICE_CHECK(options_.logit_rows_max > options_.max_num_seqs, "a step must have room for one row of logits each");
  SLUICE_CHECK(options_.prompt_tokens_beside_answers > 0, "prompts must make progress beside answers");
}

int Batcher::BlocksFor(int tokens) const {
  return (tokens + pool_.Options().block_size - 1) / pool_.Options().block_size;
}

bool Batcher::Add(BatchEntry& entry) {
  if (Full()) return false;
  SLUICE_CHECK(entry.state == BatchEntry::State::kIdle && entry.num_tokens > 0, "an entry is added once");
  entry.state = BatchEntry::State::kWaiting;
  const bool inserted = waiting_.insert(&entry).second;
  SLUICE_CHECK(inserted, "arrival numbers are unique");
  return true;
}

void Batcher::Remove(BatchEntry& entry) {
  if (entry.state == BatchEntry::State::kWaiting) waiting_.erase(&entry);
  if (entry.state == BatchEntry::State::kRunning) std::erase(running_, &entry);
  pool_.Free(entry.blocks);
  entry.blocks.clear();
  entry.state = BatchEntry::State::kIdle;
}

void Batcher::Advance(BatchEntry& entry, int count) {
  entry.num_computed += count;
  SLUICE_CHECK(entry.num_computed <= entry.num_tokens, "only known tokens are computed");
}

// The adapter that has waited longest for a step; the one with the oldest request among those never served.
int Batcher::PickAdapter() {
  const BatchEntry* best = nullptr;
  uint64_t best_served = 0;
  auto consider = [&](const BatchEntry* e) {
    const auto it = adapter_served_.find(e->adapter);
    const uint64_t served = it == adapter_served_.end() ? 0 : it->second;
    if (best == nullptr || served < best_served || (served == best_served && Before{}(e, best))) {
      best = e;
      best_served = served;
    }
  };
  for (const BatchEntry* e : running_) consider(e);
  // A waiting request can take a step only when there is a place for it.
  if (static_cast<int>(running_.size()) < options_.max_num_seqs) {
    for (const BatchEntry* e : waiting_) consider(e);
  }
  return best == nullptr ? 0 : best->adapter;
}

int Batcher::ChunkOf(const BatchEntry& entry, int computed, const Budget& budget) const {
  int count = std::min(entry.num_tokens - computed, budget.tokens);
  if (entry.num_tokens - computed > 1) count = std::min(count, budget.prompt_tokens);
  if (entry.all_logits) return std::min(count, budget.rows);
  if (count == entry.num_tokens - computed && budget.rows < 1) --count;  // no row left to sample from
  return count;
}

void Batcher::AddChunk(BatchEntry& entry, int count, Budget& budget, StepPlan& plan) const {
  const bool samples = entry.num_computed + count == entry.num_tokens;
  plan.chunks.push_back({&entry, entry.num_computed, count, samples});
  plan.tokens += count;
  budget.tokens -= count;
  if (entry.num_tokens - entry.num_computed > 1) budget.prompt_tokens -= count;
  budget.rows -= entry.all_logits ? count : (samples ? 1 : 0);
}

void Batcher::Preempt(BatchEntry& entry, Budget& budget, StepPlan& plan) {
  const auto planned =
      std::find_if(plan.chunks.begin(), plan.chunks.end(), [&](const auto& c) { return c.entry == &entry; });
  if (planned != plan.chunks.end()) {
    budget.tokens += planned->count;
    plan.tokens -= planned->count;
    plan.chunks.erase(planned);
  }
  std::erase(running_, &entry);
  pool_.Free(entry.blocks);
  entry.blocks.clear();
  entry.num_computed = 0;
  entry.state = BatchEntry::State::kWaiting;
  waiting_.insert(&entry);
  plan.preempted.push_back(&entry);
  ++preemptions_;
}

// Gives `entry` the blocks for `tokens` tokens, preempting others or, when it is the least important itself, it.
bool Batcher::Grow(BatchEntry& entry, int tokens, Budget& budget, StepPlan& plan) {
  const int missing = BlocksFor(tokens) - static_cast<int>(entry.blocks.size());
  if (missing <= 0) return true;
  while (!pool_.Allocate(missing, entry.blocks)) {
    BatchEntry* victim = *std::max_element(running_.begin(), running_.end(), Before{});
    const bool self = victim == &entry;
    SLUICE_CHECK(!self || running_.size() > 1, "one request alone always fits (checked when it is accepted)");
    Preempt(*victim, budget, plan);
    if (self) return false;
  }
  return true;
}

bool Batcher::PlanRunning(BatchEntry& entry, Budget& budget, StepPlan& plan) {
  const int count = ChunkOf(entry, entry.num_computed, budget);
  if (count <= 0) return false;
  if (!Grow(entry, entry.num_computed + count, budget, plan)) return false;
  AddChunk(entry, count, budget, plan);
  return true;
}

// Takes a waiting request in when the blocks for all of its known tokens can be had now; only those of its first chunk
// are taken. The last token is always computed, for its logits.
bool Batcher::Admit(BatchEntry& entry, Budget& budget, StepPlan& plan) {
  const int block_size = pool_.Options().block_size;
  std::vector<BlockId> cached;
  const bool reads = entry.read_cache && pool_.Options().caching;
  if (reads) {
    const size_t usable = std::min<size_t>(entry.chain.size(), (entry.num_tokens - 1) / block_size);
    cached = pool_.Lookup(std::span(entry.chain).first(usable));
  }
  const int cached_tokens = static_cast<int>(cached.size()) * block_size;
  const int count = ChunkOf(entry, cached_tokens, budget);
  if (count <= 0) return false;
  const int new_blocks = BlocksFor(entry.num_tokens) - static_cast<int>(cached.size());
  if (new_blocks + pool_.CountFree(cached) > pool_.NumFree()) return false;

  pool_.Touch(cached);
  plan.admitted.push_back({&entry, reads ? entry.num_tokens : 0, static_cast<int>(cached.size())});
  entry.blocks = std::move(cached);
  entry.num_computed = cached_tokens;
  const int chunk_blocks = BlocksFor(cached_tokens + count) - static_cast<int>(entry.blocks.size());
  const bool taken = pool_.Allocate(chunk_blocks, entry.blocks);
  SLUICE_CHECK(taken, "the blocks were counted just before");
  entry.state = BatchEntry::State::kRunning;
  running_.push_back(&entry);
  AddChunk(entry, count, budget, plan);
  return true;
}

StepPlan Batcher::Schedule() {
  StepPlan plan;
  deferred_ = 0;
  if (Idle()) return plan;
  plan.adapter = PickAdapter();
  adapter_served_[plan.adapter] = ++step_;
  Budget budget{options_.max_num_batched_tokens, options_.max_num_batched_tokens, options_.logit_rows_max};

  // Growing one entry may preempt others: walk a copy and skip who has left.
  const std::vector<BatchEntry*> order = running_;
  auto plan_all = [&](bool answers) {
    for (BatchEntry* e : order) {
      if (e->state != BatchEntry::State::kRunning || e->adapter != plan.adapter) continue;
      if ((e->num_tokens - e->num_computed == 1) != answers) continue;
      PlanRunning(*e, budget, plan);
    }
  };
  plan_all(true);
  if (!plan.chunks.empty()) budget.prompt_tokens = options_.prompt_tokens_beside_answers;
  // Rows of logits that later answers may need are not given to prompts that want one for each token.
  plan_all(false);

  if (plan.preempted.empty()) {
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (static_cast<int>(running_.size()) >= options_.max_num_seqs || budget.tokens <= 0) break;
      BatchEntry* e = *it;
      if (e->adapter != plan.adapter) {
        ++it;
        continue;
      }
      if (!Admit(*e, budget, plan)) break;
      it = waiting_.erase(it);
    }
  }
  for (const BatchEntry* e : waiting_) deferred_ += e->adapter != plan.adapter;
  return plan;
}

}  // namespace sluice::worker
