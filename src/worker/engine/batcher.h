// Batcher: decides which tokens of which requests are computed in the next step. Running answers go first (one token
// each), then prompts that are under way, then waiting requests, within a budget of tokens, so that a long prompt is
// taken in chunks and never holds up the answers beside it. When blocks run out, the least important request is
// preempted: it gives up its blocks and starts over later (what it computed may still be cached). Pure.
// Thread rule: one owner (the engine calls it under its lock). Ownership: entries belong to the caller and must stay
// until Remove(). Cost: O(running + waiting of other adapters) a step, O(log waiting) to add.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "worker/engine/block_pool.h"

namespace sluice::worker {

// A request as the batcher sees it. The caller sets the first group, keeps num_tokens and chain up to date, and leaves
// the rest to the batcher.
struct BatchEntry {
  int priority = 0;      // lower first
  uint64_t arrival = 0;  // lower first among equals
  int adapter = 0;       // entries of different adapters never share a step
  bool read_cache = true;
  bool all_logits = false;                  // every token needs its logits (prompt_logprobs), not only the last
  int num_tokens = 0;                       // prompt and answer so far
  std::vector<kvindex::BlockDigest> chain;  // digests of the full blocks of these tokens
  void* owner = nullptr;                    // the caller's

  enum class State : uint8_t { kIdle, kWaiting, kRunning };
  State state = State::kIdle;
  int num_computed = 0;  // tokens whose KV exists
  std::vector<BlockId> blocks;
};

struct BatcherOptions {
  int max_num_seqs = 32;
  int max_num_batched_tokens = 512;
  // Prompt tokens in a step that also carries answers: bounds how long a prompt can delay them.
  int prompt_tokens_beside_answers = 64;
  int logit_rows_max = 96;  // rows of logits in one step; at least max_num_seqs + 1
  int waiting_max = 256;
};

struct StepPlan {
  struct Chunk {
    BatchEntry* entry;
    int first;     // position of the first token
    int count;     // tokens
    bool samples;  // ends at the last known token: the next one is sampled from its logits
  };
  int adapter = 0;
  std::vector<Chunk> chunks;
  struct Admitted {
    BatchEntry* entry;
    int queried_tokens;  // tokens looked up in the prefix cache; 0 when the entry does not read it
    int cached_blocks;   // the first ones of entry->blocks
  };
  std::vector<Admitted> admitted;
  std::vector<BatchEntry*> preempted;
  int tokens = 0;
};

class Batcher {
 public:
  Batcher(const BatcherOptions& options, BlockPool& pool);

  // Puts an entry into the waiting queue. False when that is full.
  bool Add(BatchEntry& entry);
  // Plans the next step and takes the blocks it needs. An empty plan means there is nothing to do.
  StepPlan Schedule();
  // The chunk's KV has been computed.
  void Advance(BatchEntry& entry, int count);
  // The request is over (or aborted): leaves the queues and frees its blocks.
  void Remove(BatchEntry& entry);

  bool Idle() const { return running_.empty() && waiting_.empty(); }
  const std::vector<BatchEntry*>& Running() const { return running_; }
  int NumWaiting() const { return static_cast<int>(waiting_.size()); }
  // Waiting for their adapter's turn, not for room.
  int NumDeferred() const { return deferred_; }
  template <class Visit>
  void EachWaiting(Visit visit) const {
    for (const BatchEntry* e : waiting_) visit(*e);
  }
  bool Full() const { return NumWaiting() >= options_.waiting_max; }
  uint64_t Preemptions() const { return preemptions_; }
  const BatcherOptions& Options() const { return options_; }

 private:
  struct Before {
    bool operator()(const BatchEntry* a, const BatchEntry* b) const {
      return a->priority != b->priority ? a->priority < b->priority : a->arrival < b->arrival;
    }
  };
  struct Budget {
    int tokens;
    int prompt_tokens;
    int rows;
  };

  int PickAdapter();
  bool PlanRunning(BatchEntry& entry, Budget& budget, StepPlan& plan);
  bool Admit(BatchEntry& entry, Budget& budget, StepPlan& plan);
  int ChunkOf(const BatchEntry& entry, int computed, const Budget& budget) const;
  void AddChunk(BatchEntry& entry, int count, Budget& budget, StepPlan& plan) const;
  bool Grow(BatchEntry& entry, int tokens, Budget& budget, StepPlan& plan);
  void Preempt(BatchEntry& entry, Budget& budget, StepPlan& plan);
  int BlocksFor(int tokens) const;

  BatcherOptions options_;
  BlockPool& pool_;
  std::vector<BatchEntry*> running_;  // in order of admission
  std::set<BatchEntry*, Before> waiting_;
  std::map<int, uint64_t> adapter_served_;  // adapter -> step that last served it
  uint64_t step_ = 0;
  int deferred_ = 0;
  uint64_t preemptions_ = 0;
};

}  // namespace sluice::worker
