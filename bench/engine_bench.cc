// engine_bench: the engine beside the bare library, in one process and in turn: the same model, batch and threads.
//   engine_bench MODEL.gguf
// One JSON line a comparison: {"what", "bare_ms", "engine_ms", "ratio"}: processor time of a decode step, or of a
// prompt.
#include <llama.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>
#include <vector>

#include "worker/engine/llama/llama_options.h"

namespace sluice {
namespace {

constexpr int kRounds = 5;
constexpr int kSteps = 64;
constexpr int kBatchTokens = 512;
constexpr int kPromptTokens = 1000;

double CpuMs() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<int32_t> Prompt(int tokens, int salt) {
  std::vector<int32_t> prompt;
  for (int i = 0; i < tokens; ++i) prompt.push_back(1000 + (i * 7919 + salt * 104729) % 40000);
  return prompt;
}

// llama.cpp as directly as it can be called: one context, one batch, greedy by argmax.
class Bare {
 public:
  explicit Bare(const char* path) {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    model_ = llama_model_load_from_file(path, llama_model_default_params());
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 4096;
    params.n_batch = kBatchTokens;
    params.n_seq_max = 8;
    params.n_threads = params.n_threads_batch = 1;
    params.kv_unified = true;
    context_ = llama_init_from_model(model_, params);
    vocab_ = llama_vocab_n_tokens(llama_model_get_vocab(model_));
    batch_ = llama_batch_init(kBatchTokens, 0, 1);
  }
  ~Bare() {
    llama_batch_free(batch_);
    llama_free(context_);
    llama_model_free(model_);
  }

  double DecodeStepMs(int streams) {
    llama_memory_clear(llama_get_memory(context_), true);
    std::vector<int32_t> last;
    for (int s = 0; s < streams; ++s) last.push_back(Prefill(Prompt(8, s), s));
    const double begin = CpuMs();
    for (int step = 0; step < kSteps; ++step) {
      batch_.n_tokens = 0;
      for (int s = 0; s < streams; ++s) Add(last[static_cast<size_t>(s)], 8 + step, s, true);
      llama_decode(context_, batch_);
      for (int s = 0; s < streams; ++s) last[static_cast<size_t>(s)] = Best(s);
    }
    return (CpuMs() - begin) / kSteps;
  }

  double PrefillMs(int salt) {
    llama_memory_clear(llama_get_memory(context_), true);
    const double begin = CpuMs();
    Prefill(Prompt(kPromptTokens, salt), 0);
    return CpuMs() - begin;
  }

 private:
  void Add(int32_t token, int position, int sequence, bool logits) {
    const int i = batch_.n_tokens++;
    batch_.token[i] = token;
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = sequence;
    batch_.logits[i] = static_cast<int8_t>(logits);
  }
  int32_t Best(int row) const {
    const float* logits = llama_get_logits_ith(context_, row);
    return static_cast<int32_t>(std::max_element(logits, logits + vocab_) - logits);
  }
  int32_t Prefill(const std::vector<int32_t>& prompt, int sequence) {
    for (size_t at = 0; at < prompt.size(); at += kBatchTokens) {
      batch_.n_tokens = 0;
      const size_t end = std::min(prompt.size(), at + kBatchTokens);
      for (size_t i = at; i < end; ++i) Add(prompt[i], static_cast<int>(i), sequence, i + 1 == prompt.size());
      llama_decode(context_, batch_);
    }
    return Best(batch_.n_tokens - 1);
  }

  llama_model* model_;
  llama_context* context_;
  llama_batch batch_;
  int vocab_;
};

// Notes when the first token of every request, and when all of all, have come.
class Watch final : public worker::Listener {
 public:
  void OnOutput(worker::Output output) override {
    const std::lock_guard lock(mutex_);
    if (!output.tokens.empty() && !seen_first_) {
      seen_first_ = true;
      first_at_ = CpuMs();
    }
    if (output.finish != worker::FinishReason::kNone) {
      done_ = true;
      done_at_ = CpuMs();
      wake_.notify_all();
    }
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return done_; });
  }
  double first_at() const { return first_at_; }
  double done_at() const { return done_at_; }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool seen_first_ = false, done_ = false;
  double first_at_ = 0, done_at_ = 0;
};

class Engine {
 public:
  explicit Engine(const char* path) {
    worker::LlamaOptions options;
    options.model_path = path;
    options.threads = 1;
    options.max_model_len = 2048;
    options.num_blocks = 256;
    options.max_num_batched_tokens = kBatchTokens;
    auto opened = worker::OpenLlamaEngine(options);
    if (!opened) {
      std::fprintf(stderr, "engine_bench: %s\n", opened.error().message.c_str());
      std::exit(1);
    }
    engine_ = std::move(*opened);
  }

  double DecodeStepMs(int streams) {
    const auto watches = Run(streams, 8, kSteps + 1);
    double first = 0, done = 0;
    for (const auto& watch : watches) {
      first = std::max(first, watch->first_at());
      done = std::max(done, watch->done_at());
    }
    return (done - first) / kSteps;
  }
  double PrefillMs() {
    const double begin = CpuMs();
    return Run(1, kPromptTokens, 1).front()->done_at() - begin;
  }

 private:
  std::vector<std::shared_ptr<Watch>> Run(int streams, int prompt_tokens, int max_tokens) {
    engine_->ResetPrefixCache();
    std::vector<std::shared_ptr<Watch>> watches;
    for (int s = 0; s < streams; ++s) {
      worker::GenerateRequest request;
      request.id = "bench-" + std::to_string(++serial_);
      request.prompt = Prompt(prompt_tokens, serial_);
      request.sampling.temperature = 0;
      request.max_tokens = max_tokens;
      request.ignore_eos = true;
      watches.push_back(std::make_shared<Watch>());
      if (!engine_->Submit(std::move(request), watches.back())) std::exit(1);
    }
    for (const auto& watch : watches) watch->Wait();
    return watches;
  }

  std::unique_ptr<worker::Engine> engine_;
  int serial_ = 0;
};

void Print(const char* what, const std::vector<double>& bare, const std::vector<double>& engine) {
  std::vector<double> ratios;
  for (size_t i = 0; i < bare.size(); ++i) ratios.push_back(engine[i] / bare[i]);
  std::printf("{\"what\":\"%s\",\"bare_ms\":%.3f,\"engine_ms\":%.3f,\"ratio\":%.4f}\n", what, Median(bare),
              Median(engine), Median(ratios));
}

int Main(const char* path) {
  Bare bare(path);
  Engine engine(path);
  for (const int streams : {1, 8}) {
    std::vector<double> b, e;
    for (int round = 0; round < kRounds; ++round) {
      b.push_back(bare.DecodeStepMs(streams));
      e.push_back(engine.DecodeStepMs(streams));
    }
    Print(streams == 1 ? "decode step, 1 stream" : "decode step, 8 streams", b, e);
  }
  std::vector<double> b, e;
  for (int round = 0; round < kRounds; ++round) {
    b.push_back(bare.PrefillMs(round));
    e.push_back(engine.PrefillMs());
  }
  Print("prefill of 1,000 tokens", b, e);
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: engine_bench MODEL.gguf\n");
    return 2;
  }
  return sluice::Main(argv[1]);
}
