// EchoEngine: an engine without a model, for tests of what stands before an engine and for benchmarks of it. It answers
// with the last user message (or, without chat marks, with the whole prompt), one token every `token_delay`, and ends
// where the text ends; with ignore_eos the text begins again. Prompts take `prefill_delay_per_token` for what is not
// cached. Blocks, prefix hits, the waiting queue, stop strings, limits and reports are as in the real engine.
// Thread rule: engine.h's; one thread of its own. Ownership: listeners until their last output.
// Cost: about 1 us a token; with no delays it saturates its thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "worker/engine/block_pool.h"
#include "worker/engine/echo/echo_tokenizer.h"
#include "worker/engine/engine.h"

namespace sluice::worker {

struct EchoOptions {
  std::string served_name = "echo";
  int max_model_len = 32'768;
  int max_num_seqs = 256;
  int waiting_max = 1024;
  int block_size = 16;
  int num_blocks = 65'536;
  int embedding_size = 16;
  Duration token_delay{0};
  Duration prefill_delay_per_token{0};
  std::vector<LoraModule> loras;
  EngineObserver* observer = nullptr;
};

class EchoEngine final : public Engine {
 public:
  explicit EchoEngine(EchoOptions options);
  ~EchoEngine() override;

  const ModelInfo& Model() const override { return info_; }
  const tokenize::Tokenizer& Tokens() const override { return tokenizer_; }
  const std::string& ChatTemplate() const override { return chat_template_; }
  Status Submit(GenerateRequest request, std::shared_ptr<Listener> listener) override;
  void Abort(std::string_view request_id) override;
  Status Embed(std::vector<TokenId> prompt, EmbeddingCallback callback) override;
  bool ResetPrefixCache() override;
  EngineStats Stats() const override;
  bool Healthy() const override;
  void Drain() override;
  void Shutdown() override;

  // Ends every request with kError and stops, as an engine does whose thread died. For tests of what follows.
  void Die(std::string why);

 private:
  struct Running;
  struct EmbedJob {
    std::vector<TokenId> prompt;
    EmbeddingCallback callback;
  };
  // Outputs and callbacks that a step produced; given out without the lock.
  struct Deliveries {
    std::vector<std::pair<std::shared_ptr<Listener>, Output>> outputs;
    std::vector<EmbedJob> embeds;
    std::vector<FinishReport> finished;
    std::vector<FirstTokenReport> first_tokens;
    std::vector<std::shared_ptr<Running>> kept;  // reports have views into them
    std::vector<double> gaps;
    StepReport step;
  };

  void Run();
  // One step over all running requests; returns when the next is due.
  TimePoint Step(TimePoint now, Deliveries& out);
  void Admit(TimePoint now);
  void Advance(const std::shared_ptr<Running>& request, TimePoint now, Deliveries& out);
  void AddPromptLogprobs(const Running& request, Output& output) const;
  void Finish(const std::shared_ptr<Running>& request, FinishReason reason, TimePoint now, Output output,
              Deliveries& out);
  void EndAll(FinishReason reason, const std::string& why, Deliveries& out);
  void Deliver(Deliveries& out);

  EchoOptions options_;
  EchoTokenizer tokenizer_;
  std::string chat_template_{kEchoChatTemplate};
  ModelInfo info_;
  kvindex::EngineHash hash_;
  SystemClock clock_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  BlockPool pool_;
  std::deque<std::shared_ptr<Running>> waiting_;
  std::vector<std::shared_ptr<Running>> running_;
  std::deque<EmbedJob> embeds_;
  uint64_t prefix_queries_ = 0;
  uint64_t prefix_hits_ = 0;
  bool draining_ = false;
  bool stop_ = false;
  std::string dead_;  // why; empty: alive
  std::thread thread_;
  std::mutex join_mutex_;
};

}  // namespace sluice::worker
