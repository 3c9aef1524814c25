// What the tests of the real engine share: the model, a listener that collects, short requests.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "worker/engine/llama/llama_engine.h"

namespace sluice::worker {

inline const std::string kModel = SLUICE_SOURCE_DIR "/build/models/SmolLM2-135M-Instruct.Q4_1.gguf";

// Adds up a request's outputs.
class Collect : public Listener {
 public:
  void OnOutput(Output o) override {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(all_.finish, FinishReason::kNone) << "an output came after the last one";
    all_.text += o.text;
    all_.tokens.insert(all_.tokens.end(), o.tokens.begin(), o.tokens.end());
    all_.logprobs.insert(all_.logprobs.end(), o.logprobs.begin(), o.logprobs.end());
    if (!o.prompt_logprobs.empty()) all_.prompt_logprobs = std::move(o.prompt_logprobs);
    all_.finish = o.finish;
    all_.stop_reason = o.stop_reason;
    all_.stop_token = o.stop_token;
    all_.error = o.error;
    all_.usage = o.usage;
    changed_.notify_all();
  }
  Output Wait() { return WaitTokens(1U << 30); }
  // Until it has this many tokens, or is over.
  Output WaitTokens(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return all_.tokens.size() >= n || all_.finish != FinishReason::kNone; });
    return all_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Output all_;
};

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kModel)) GTEST_SKIP() << "no model at " << kModel << "; run tools/deps.sh model";
  }
  static LlamaOptions Options() {
    LlamaOptions o;
    o.model_path = kModel;
    o.threads = 1;
    o.max_model_len = 2048;
    o.num_blocks = 256;
    return o;
  }
  std::unique_ptr<Engine> Open(LlamaOptions o = Options()) {
    auto e = OpenLlamaEngine(std::move(o));
    EXPECT_TRUE(e.has_value()) << (e ? "" : e.error().message);
    return e ? std::move(*e) : nullptr;
  }
  static std::string Chat(const std::string& question) {
    return "<|im_start|>user\n" + question + "<|im_end|>\n<|im_start|>assistant\n";
  }
  GenerateRequest Ask(const Engine& e, const std::string& prompt, int max_tokens = 16) {
    GenerateRequest r;
    r.id = "request-" + std::to_string(++ids_);
    r.prompt = e.Tokens().Encode(prompt, false, true);
    r.sampling.temperature = 0;
    r.max_tokens = max_tokens;
    return r;
  }
  static std::shared_ptr<Collect> Send(Engine& e, GenerateRequest r) {
    auto listener = std::make_shared<Collect>();
    auto s = e.Submit(std::move(r), listener);
    EXPECT_TRUE(s.has_value()) << (s ? "" : s.error().message);
    return listener;
  }
  static Output Run(Engine& e, GenerateRequest r) { return Send(e, std::move(r))->Wait(); }

 private:
  int ids_ = 0;
};

// A natural text of at least `words` words.
inline std::string LongText(int words) {
  static const char* sentences[] = {
      "The harbour town lies at the mouth of a slow river, where barges bring grain and timber from the hills.",
      "Every morning the fishermen carry their baskets to the market before the church bell has struck six.",
      "In winter the wind comes from the north and the boats stay tied to the stone quay for weeks.",
      "An old map in the library shows a second bridge, which nobody alive remembers having crossed.",
      "Children learn early to read the sky, because a calm evening may end in a storm by midnight."};
  std::string out;
  for (int i = 0, n = 0; n < words; ++i, n += 18) out += std::string(sentences[i % 5]) + " ";
  return out;
}

}  // namespace sluice::worker
