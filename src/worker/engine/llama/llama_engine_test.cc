#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "worker/engine/llama/llama_engine.h"

namespace sluice::worker {
namespace {

const char* kModel = SLUICE_SOURCE_DIR "/build/models/SmolLM2-135M-Instruct.Q4_1.gguf";

class Collect : public Listener {
 public:
  void OnOutput(Output o) override {
    const std::lock_guard lock(mutex_);
    all.text += o.text;
    all.tokens.insert(all.tokens.end(), o.tokens.begin(), o.tokens.end());
    all.logprobs.insert(all.logprobs.end(), o.logprobs.begin(), o.logprobs.end());
    if (!o.prompt_logprobs.empty()) all.prompt_logprobs = std::move(o.prompt_logprobs);
    all.finish = o.finish;
    all.stop_reason = o.stop_reason;
    all.stop_token = o.stop_token;
    all.error = o.error;
    all.usage = o.usage;
    ++calls;
    changed_.notify_all();
  }
  Output Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return all.finish != FinishReason::kNone; });
    return all;
  }
  void WaitTokens(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return all.tokens.size() >= n || all.finish != FinishReason::kNone; });
  }
  Output all;
  int calls = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

TEST(Smoke, Text) {
  LlamaOptions o;
  o.model_path = kModel;
  auto e = OpenLlamaEngine(o);
  ASSERT_TRUE(e.has_value()) << e.error().message;
  for (int i = 0; i < 2; ++i) {
    GenerateRequest r;
    r.id = "a";
    r.prompt = (*e)->Tokens().Encode("<|im_start|>user\nWrite two sentences about the sea and its ships.<|im_end|>\n<|im_start|>assistant\n", false, true);
    r.sampling.temperature = 0;
    r.max_tokens = 64;
    auto l = std::make_shared<Collect>();
    ASSERT_TRUE((*e)->Submit(r, l).has_value());
    Output out = l->Wait();
    std::printf("[%s] prompt %d cached %d completion %d finish %d\n", out.text.c_str(), out.usage.prompt_tokens, out.usage.cached_tokens, out.usage.completion_tokens, (int)out.finish);
  }
}
}  // namespace
}  // namespace sluice::worker
