// What the engine says about its cache: the events of each step, in order, with hashes that chain.
#include <map>
#include <set>

#include "worker/engine/llama/engine_fixture.h"

namespace sluice::worker {
namespace {

using kvindex::AllBlocksCleared;
using kvindex::BlockRemoved;
using kvindex::BlockStored;

// Collects batches instead of sending them.
class RecordingEngine : public LlamaEngine {
 public:
  static std::unique_ptr<RecordingEngine> Make(LlamaOptions o) {
    o.kv_events.enable_kv_cache_events = true;
    auto runtime = LlamaRuntime::Open(o);
    EXPECT_TRUE(runtime.has_value());
    auto e = std::unique_ptr<RecordingEngine>(new RecordingEngine(std::move(o), std::move(*runtime)));
    e->Start();
    return e;
  }
  ~RecordingEngine() override { Shutdown(); }
  std::vector<kvindex::EventBatch> Take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(batches_, {});
  }

 protected:
  RecordingEngine(LlamaOptions o, std::unique_ptr<LlamaRuntime> r) : LlamaEngine(std::move(o), std::move(r), nullptr) {}
  void Publish(kvindex::EventBatch batch) override {
    const std::lock_guard lock(mutex_);
    batches_.push_back(std::move(batch));
  }

 private:
  std::mutex mutex_;
  std::vector<kvindex::EventBatch> batches_;
};

TEST_F(EngineTest, PublishesFullBlocksOnce) {
  auto e = RecordingEngine::Make(Options());
  GenerateRequest r = Ask(*e, Chat(LongText(60)), 20);
  r.ignore_eos = true;
  r.cache_salt = "tenant";
  const int full_prompt_blocks = static_cast<int>(r.prompt.size()) / 16;
  const Output out = Run(*e, r);
  auto batches = e->Take();
  ASSERT_GE(batches.size(), 2U) << "one for the prompt, one for each block that the answer filled";
  const auto& prompt = std::get<BlockStored>(batches[0].events.at(0));
  EXPECT_EQ(static_cast<int>(prompt.block_hashes.size()), full_prompt_blocks);
  EXPECT_FALSE(prompt.parent_block_hash);
  EXPECT_EQ(prompt.cache_salt, "tenant");
  EXPECT_EQ(prompt.block_size, 16);
  EXPECT_EQ(prompt.token_ids, std::vector<TokenId>(r.prompt.begin(), r.prompt.begin() + full_prompt_blocks * 16));
  const kvindex::EngineHash hash(kvindex::HashAlgorithm::kSha256Cbor, std::nullopt);
  auto digest = hash.Next(hash.Root(), std::span(r.prompt).first(16), {.cache_salt = "tenant"});
  EXPECT_EQ(prompt.block_hashes[0], digest);
  digest = hash.Next(digest, std::span(r.prompt).subspan(16, 16), {});
  EXPECT_EQ(prompt.block_hashes[1], digest);
  const auto& answer = std::get<BlockStored>(batches[1].events.at(0));
  EXPECT_EQ(answer.block_hashes.size(), 1U);
  EXPECT_EQ(answer.parent_block_hash, prompt.block_hashes.back());
  EXPECT_GT(batches[1].unix_seconds, 1.6e9);

  r.id = "again";
  r.max_tokens = 1;
  Run(*e, r);
  EXPECT_TRUE(e->Take().empty()) << "blocks that were cached already are not news";
}

TEST_F(EngineTest, RemovalsComeBeforeTheStoresThatCausedThem) {
  LlamaOptions o = Options();
  o.max_model_len = 128;
  o.num_blocks = 8;
  auto e = RecordingEngine::Make(o);
  std::map<uint64_t, int> live;  // a subscriber's view
  for (int i = 0; i < 6; ++i) {
    Run(*e, Ask(*e, std::to_string(i * 31) + " " + LongText(40), 1));
    for (const auto& batch : e->Take()) {
      bool stored = false;
      for (const auto& event : batch.events) {
        if (const auto* s = std::get_if<BlockStored>(&event)) {
          stored = true;
          for (const auto& h : s->block_hashes) EXPECT_EQ(++live[h.Low64()], 1);
        } else if (const auto* d = std::get_if<BlockRemoved>(&event)) {
          EXPECT_FALSE(stored) << "a removal after a store in one batch";
          ASSERT_EQ(d->block_hashes.size(), 1U);
          EXPECT_EQ(--live[d->block_hashes[0].Low64()], 0);
          live.erase(d->block_hashes[0].Low64());
        }
      }
    }
    EXPECT_LE(live.size(), 8U);
    EXPECT_GT(live.size(), 0U);
  }
}

TEST_F(EngineTest, ResetIsToldWithTheNextStep) {
  auto e = RecordingEngine::Make(Options());
  GenerateRequest r = Ask(*e, Chat(LongText(30)), 1);
  Run(*e, r);
  e->Take();
  ASSERT_TRUE(e->ResetPrefixCache());
  EXPECT_TRUE(e->Take().empty()) << "a reset idle server stays silent, as vLLM does";
  r.id = "again";
  EXPECT_EQ(Run(*e, r).usage.cached_tokens, 0);
  const auto batches = e->Take();
  ASSERT_FALSE(batches.empty());
  EXPECT_TRUE(std::holds_alternative<AllBlocksCleared>(batches[0].events.at(0)));
  std::set<size_t> kinds;
  for (const auto& batch : batches) {
    for (const auto& event : batch.events) kinds.insert(event.index());
  }
  EXPECT_FALSE(kinds.contains(1)) << "what a reset dropped is not removed one by one";
  EXPECT_TRUE(kinds.contains(0));
}

}  // namespace
}  // namespace sluice::worker
