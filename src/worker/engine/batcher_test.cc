#include "worker/engine/batcher.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "base/rng.h"

namespace sluice::worker {
namespace {

kvindex::BlockDigest D(uint64_t n) {
  kvindex::BlockDigest d;
  d.size = 32;
  std::memcpy(d.bytes.data(), &n, sizeof(n));
  return d;
}

struct Fixture {
  explicit Fixture(BatcherOptions o = {}, BlockPoolOptions p = {.num_blocks = 64, .block_size = 4})
      : pool(p), batcher(o, pool) {}

  BatchEntry& Add(int tokens, uint64_t family = 0, int priority = 0, int adapter = 0) {
    auto e = std::make_unique<BatchEntry>();
    e->num_tokens = tokens;
    e->priority = priority;
    e->adapter = adapter;
    e->arrival = ++arrivals;
    for (int b = 0; b < tokens / pool.Options().block_size; ++b) {
      e->chain.push_back(D((family != 0 ? family : 1000 + arrivals) * 1000 + static_cast<uint64_t>(b)));
    }
    entries.push_back(std::move(e));
    added = batcher.Add(*entries.back());
    return *entries.back();
  }
  // Computes a plan: full blocks are cached, and who sampled gets a token.
  StepPlan Step() {
    StepPlan plan = batcher.Schedule();
    for (auto& c : plan.chunks) {
      batcher.Advance(*c.entry, c.count);
      const int size = pool.Options().block_size;
      for (int d = c.first / size; d < c.entry->num_computed / size; ++d) {
        if (d < static_cast<int>(c.entry->chain.size())) {
          if (pool.Lookup(std::span(c.entry->chain).subspan(static_cast<size_t>(d), 1)).empty()) {
            pool.Register(c.entry->blocks[d], c.entry->chain[d], d);
          }
        }
      }
      if (c.samples) ++c.entry->num_tokens;
    }
    return plan;
  }

  BlockPool pool;
  Batcher batcher;
  std::vector<std::unique_ptr<BatchEntry>> entries;
  uint64_t arrivals = 0;
  bool added = false;
};

TEST(Batcher, LongPromptIsTakenInChunksAndAnswersGoFirst) {
  Fixture f({.max_num_seqs = 4, .max_num_batched_tokens = 32, .prompt_tokens_beside_answers = 8, .logit_rows_max = 8});
  BatchEntry& answer = f.Add(5);
  f.Step();
  BatchEntry& prompt = f.Add(40);
  StepPlan plan = f.Step();
  ASSERT_EQ(plan.chunks.size(), 2U);
  EXPECT_EQ(plan.chunks[0].entry, &answer);
  EXPECT_EQ(plan.chunks[0].count, 1);
  EXPECT_TRUE(plan.chunks[0].samples);
  EXPECT_EQ(plan.chunks[1].entry, &prompt);
  EXPECT_EQ(plan.chunks[1].count, 8) << "beside answers a prompt gets little";
  EXPECT_FALSE(plan.chunks[1].samples);
  int steps = 1;
  while (prompt.num_tokens == 40) {
    plan = f.Step();
    ASSERT_EQ(plan.chunks[0].entry, &answer) << "the answer grows at every step";
    ++steps;
  }
  EXPECT_EQ(steps, 5);
  f.batcher.Remove(answer);
  f.batcher.Remove(prompt);
  BatchEntry& alone = f.Add(40);
  plan = f.Step();
  EXPECT_EQ(plan.chunks[0].count, 32) << "alone it gets the whole budget";
  plan = f.Step();
  EXPECT_EQ(plan.chunks[0].count, 8);
  EXPECT_TRUE(plan.chunks[0].samples);
  EXPECT_EQ(alone.num_tokens, 41);
}

TEST(Batcher, WaitingOrderIsPriorityThenArrival) {
  Fixture f({.max_num_seqs = 1, .max_num_batched_tokens = 16, .logit_rows_max = 2});
  BatchEntry& a = f.Add(4, 0, 1);
  BatchEntry& b = f.Add(4, 0, 0);
  BatchEntry& c = f.Add(4, 0, 0);
  for (BatchEntry* expected : {&b, &c, &a}) {
    StepPlan plan = f.Step();
    ASSERT_EQ(plan.chunks.size(), 1U);
    EXPECT_EQ(plan.chunks[0].entry, expected);
    f.batcher.Remove(*expected);
  }
  EXPECT_TRUE(f.batcher.Idle());
}

TEST(Batcher, WaitingQueueIsBounded) {
  Fixture f({.waiting_max = 2});
  f.Add(4);
  EXPECT_TRUE(f.added);
  f.Add(4);
  EXPECT_TRUE(f.added);
  f.Add(4);
  EXPECT_FALSE(f.added);
  f.Step();
  f.Add(4);
  EXPECT_TRUE(f.added);
}

TEST(Batcher, ReusesACachedPrefixButComputesTheLastToken) {
  Fixture f;
  BatchEntry& first = f.Add(16, 7);
  f.Step();
  f.batcher.Remove(first);
  BatchEntry& second = f.Add(16, 7);
  StepPlan plan = f.Step();
  ASSERT_EQ(plan.admitted.size(), 1U);
  EXPECT_EQ(plan.admitted[0].cached_blocks, 3) << "of 4 full blocks: one token at least is computed";
  EXPECT_EQ(plan.admitted[0].queried_tokens, 16);
  EXPECT_EQ(plan.chunks[0].first, 12);
  EXPECT_EQ(plan.chunks[0].count, 4);
  EXPECT_EQ(second.blocks.size(), 4U);
  BatchEntry& blind = f.Add(16, 7);
  blind.read_cache = false;
  plan = f.Step();
  EXPECT_EQ(plan.admitted[0].cached_blocks, 0);
  EXPECT_EQ(plan.admitted[0].queried_tokens, 0);
}

TEST(Batcher, PreemptsTheLeastImportantWhenBlocksRunOut) {
  Fixture f({.max_num_seqs = 4, .max_num_batched_tokens = 64, .logit_rows_max = 8}, {.num_blocks = 6, .block_size = 4});
  BatchEntry& old = f.Add(8);
  BatchEntry& young = f.Add(8);
  f.Step();  // both have two blocks; their next tokens need a third each
  f.Step();
  for (int i = 0; i < 3; ++i) f.Step();
  EXPECT_EQ(f.pool.NumFree(), 0);
  StepPlan plan = f.Step();  // now a fourth
  ASSERT_EQ(plan.preempted.size(), 1U);
  EXPECT_EQ(plan.preempted[0], &young);
  EXPECT_EQ(young.num_computed, 0);
  EXPECT_TRUE(young.blocks.empty());
  EXPECT_EQ(young.state, BatchEntry::State::kWaiting);
  ASSERT_EQ(plan.chunks.size(), 1U);
  EXPECT_EQ(plan.chunks[0].entry, &old);
  EXPECT_EQ(f.batcher.Preemptions(), 1U);
  f.batcher.Remove(old);
  plan = f.Step();
  ASSERT_EQ(plan.chunks.size(), 1U);
  EXPECT_EQ(plan.chunks[0].entry, &young);
  EXPECT_GT(plan.admitted[0].cached_blocks, 0) << "what it had computed is still cached";
}

TEST(Batcher, PriorityDecidesWhoIsPreempted) {
  Fixture f({.max_num_seqs = 4, .max_num_batched_tokens = 64, .logit_rows_max = 8}, {.num_blocks = 4, .block_size = 4});
  BatchEntry& unimportant = f.Add(8, 0, 5);
  BatchEntry& important = f.Add(8, 0, 1);
  StepPlan plan;
  for (int i = 0; i < 4 && plan.preempted.empty(); ++i) plan = f.Step();
  ASSERT_EQ(plan.preempted.size(), 1U);
  EXPECT_EQ(plan.preempted[0], &unimportant);
  EXPECT_EQ(important.state, BatchEntry::State::kRunning);
}

TEST(Batcher, AdaptersTakeTurns) {
  Fixture f;
  BatchEntry& base = f.Add(8);
  BatchEntry& tuned = f.Add(8, 0, 0, 1);
  StepPlan one = f.Step();
  ASSERT_EQ(one.chunks.size(), 1U);
  EXPECT_EQ(one.chunks[0].entry, &base);
  EXPECT_EQ(f.batcher.NumDeferred(), 1);
  StepPlan two = f.Step();
  ASSERT_EQ(two.chunks.size(), 1U);
  EXPECT_EQ(two.chunks[0].entry, &tuned);
  EXPECT_EQ(two.adapter, 1);
  EXPECT_EQ(f.Step().chunks[0].entry, &base);
  EXPECT_EQ(f.Step().chunks[0].entry, &tuned);
}

TEST(Batcher, PromptLogprobsAreLimitedByRows) {
  Fixture f({.max_num_seqs = 2, .max_num_batched_tokens = 64, .logit_rows_max = 10});
  BatchEntry& e = f.Add(24);
  e.all_logits = true;
  EXPECT_EQ(f.Step().chunks[0].count, 10);
  EXPECT_EQ(f.Step().chunks[0].count, 10);
  StepPlan last = f.Step();
  EXPECT_EQ(last.chunks[0].count, 4);
  EXPECT_TRUE(last.chunks[0].samples);
}

// Random arrivals, aborts and lengths against invariants: budgets hold, nobody starves, blocks are never lost, and
// every request gets exactly the tokens it asked for.
TEST(Batcher, RandomRunsKeepTheInvariants) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Rng rng(seed);
    const BatcherOptions o{.max_num_seqs = 1 + static_cast<int>(rng.Below(6)),
                           .max_num_batched_tokens = 16 + static_cast<int>(rng.Below(48)),
                           .prompt_tokens_beside_answers = 4 + static_cast<int>(rng.Below(16)),
                           .logit_rows_max = 12,
                           .waiting_max = 16};
    Fixture f(o, {.num_blocks = 24, .block_size = 4, .cached_per_depth_max = 4});
    std::map<BatchEntry*, int> goal;  // entry -> tokens at which it is done
    int done = 0, submitted = 0;
    for (int step = 0; step < 3000 && done < 200; ++step) {
      if (submitted < 200 && rng.Below(3) == 0 && !f.batcher.Full()) {
        const int tokens = 1 + static_cast<int>(rng.Below(60));
        BatchEntry& e = f.Add(tokens, 1 + rng.Below(5), static_cast<int>(rng.Below(3)), static_cast<int>(rng.Below(2)));
        e.all_logits = rng.Below(10) == 0;
        e.read_cache = !e.all_logits;
        goal[&e] = tokens + 1 + static_cast<int>(rng.Below(30));
        ++submitted;
      }
      StepPlan plan = f.Step();
      int tokens = 0, rows = 0;
      for (const auto& c : plan.chunks) {
        EXPECT_EQ(c.entry->adapter, plan.adapter);
        EXPECT_GT(c.count, 0);
        tokens += c.count;
        rows += c.entry->all_logits ? c.count : static_cast<int>(c.samples);
        EXPECT_GE(static_cast<int>(c.entry->blocks.size()) * 4, c.entry->num_computed);
      }
      ASSERT_EQ(tokens, plan.tokens);
      ASSERT_LE(tokens, o.max_num_batched_tokens) << "seed " << seed;
      ASSERT_LE(rows, o.logit_rows_max) << "seed " << seed;
      ASSERT_LE(static_cast<int>(f.batcher.Running().size()), o.max_num_seqs);
      for (auto it = goal.begin(); it != goal.end();) {
        const bool over = it->first->num_tokens >= it->second || rng.Below(400) == 0;
        if (!over) {
          ++it;
          continue;
        }
        f.batcher.Remove(*it->first);
        it = goal.erase(it);
        ++done;
      }
    }
    EXPECT_EQ(done, 200) << "someone starved, seed " << seed;
    EXPECT_EQ(f.pool.NumFree(), 24) << "blocks were lost, seed " << seed;
  }
}

}  // namespace
}  // namespace sluice::worker
