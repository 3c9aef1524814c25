// LlamaEngine: the worker's engine. One thread repeats: plan a step (batcher), map its blocks (kv_cells), compute it
// (llama_runtime), sample (sampler), tell the listeners. Other threads only put requests in and read numbers.
// Thread rule: as engine.h says. One lock guards the batcher, the pool and the table of requests; it is never held
// while llama.cpp computes or a listener is called. Ownership: owns everything below it. Cost: a step's own work beside
// llama.cpp is about 0.1 ms with 8 requests.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "tokenize/gguf_tokenizer.h"
#include "worker/engine/llama/kv_cells.h"
#include "worker/engine/llama/llama_options.h"
#include "worker/engine/llama/llama_runtime.h"
#include "worker/engine/llama/sequence.h"

namespace sluice::worker {

class LlamaEngine : public Engine {
 public:
  static Result<std::unique_ptr<LlamaEngine>> Open(LlamaOptions options);
  ~LlamaEngine() override;

  const ModelInfo& Model() const override { return info_; }
  const tokenize::Tokenizer& Tokens() const override { return tokenizer_; }
  const std::string& ChatTemplate() const override { return chat_template_; }
  Status Submit(GenerateRequest request, std::shared_ptr<Listener> listener) override;
  void Abort(std::string_view request_id) override;
  Status Embed(std::vector<TokenId> prompt, EmbeddingCallback callback) override;
  bool ResetPrefixCache() override;
  EngineStats Stats() const override;
  bool Healthy() const override { return !dead_.load(std::memory_order_acquire); }
  void Drain() override;
  void Shutdown() override;

 protected:
  LlamaEngine(LlamaOptions options, std::unique_ptr<LlamaRuntime> runtime,
              std::unique_ptr<kvindex::Publisher> publisher);
  void Start();  // starts the thread; once
  // The two ways out of the process, virtual so that a test can make a step fail and see what is published.
  virtual LlamaRuntime::Outcome Decode(std::span<const LlamaRuntime::Token> tokens, int adapter);
  virtual void Publish(kvindex::EventBatch batch);

 private:
  struct EmbedJob {
    std::vector<TokenId> prompt;
    EmbeddingCallback callback;
    bool begun = false;
  };

  // Submit's half (submit.cc).
  Status CheckRequest(const GenerateRequest& request, int& adapter) const;
  Result<std::unique_ptr<Sequence>> MakeSequence(GenerateRequest request, std::shared_ptr<Listener> listener,
                                                 int adapter);

  // The engine thread's half.
  void Run();
  void Loop();
  bool WaitForWork();  // false: shut down
  void Step();
  void MapBlocks(const StepPlan& plan, const std::vector<RemovedBlock>& removed);
  void DropIdleBlocks();
  bool Compute(const StepPlan& plan);
  int SampleChunk(const StepPlan::Chunk& chunk, int first_row);
  void TakePromptLogprobs(Sequence& s, const StepPlan::Chunk& chunk, int first_row);
  void FinishStep(const StepPlan& plan);
  void RegisterBlocks(Sequence& s, kvindex::EventBatch& stored, std::vector<RemovedBlock>& removed);
  void NoteStored(const Sequence& s, int first, int count, kvindex::EventBatch& stored) const;
  void PublishEvents(kvindex::EventBatch stored);
  void Deliver();
  void TakeAborts();
  void EmbedSome();
  void Die(const std::string& why);
  void EndAll(FinishReason reason, const Error* error);
  static Sequence& Of(const BatchEntry& entry) { return *static_cast<Sequence*>(entry.owner); }

  LlamaOptions options_;
  SystemClock clock_;
  std::unique_ptr<LlamaRuntime> runtime_;
  std::unique_ptr<kvindex::Publisher> publisher_;
  tokenize::GgufTokenizer tokenizer_;
  std::string chat_template_;
  ModelInfo info_;
  kvindex::EngineHash hash_;
  std::vector<TokenId> suppressed_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  BlockPool pool_;
  Batcher batcher_;
  std::unordered_map<std::string, std::unique_ptr<Sequence>> sequences_;
  std::vector<std::string> aborts_;
  std::deque<EmbedJob> embeds_;
  uint64_t arrivals_ = 0;
  uint64_t prefix_queries_ = 0;
  uint64_t prefix_hits_ = 0;
  bool draining_ = false;
  bool stop_ = false;
  bool cache_cleared_ = false;  // AllBlocksCleared is due with the next step's events
  std::atomic<bool> dead_{false};

  // The engine thread's own.
  KvCells cells_;
  kvindex::EventBatch events_;  // removals of the current step
  std::vector<LlamaRuntime::Token> batch_;
  int step_prompt_tokens_ = 0;
  int step_generated_ = 0;
  std::thread thread_;
  std::mutex join_mutex_;
};

}  // namespace sluice::worker
