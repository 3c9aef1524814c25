// LlamaRuntime: a loaded model with its context and adapters, and the one call that computes a step. RAII over
// llama.cpp's C API; the only place where its context is made.
// Thread rule: Open on any thread, then one thread (the engine's); Model() and Vocab() may be read by all.
// Ownership: owns everything of llama.cpp's. Cost: Open loads weights (mmap) and allocates the KV cache.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "worker/engine/llama/llama_options.h"

struct ggml_threadpool;
struct llama_adapter_lora;
struct llama_context;
struct llama_model;
struct llama_vocab;

namespace sluice::worker {

// What the options become once the model is known.
struct LlamaShape {
  int max_model_len = 0;
  int num_blocks = 0;
  int threads = 1;
  int logit_rows_max = 0;
  bool prefix_caching = true;
  std::string caching_off_reason;  // why the model cannot share a prefix; empty: it can
};

class LlamaRuntime {
 public:
  static Result<std::unique_ptr<LlamaRuntime>> Open(const LlamaOptions& options);
  ~LlamaRuntime();
  LlamaRuntime(const LlamaRuntime&) = delete;

  const LlamaShape& Shape() const { return shape_; }
  llama_model* Model() const { return model_; }
  llama_context* Context() const { return context_; }
  const llama_vocab* Vocab() const;
  int VocabSize() const { return vocab_size_; }
  int EmbeddingSize() const;

  struct Token {
    int32_t token;
    int position;
    int sequence;
    bool logits;
  };
  enum class Outcome : uint8_t { kDone, kNoRoom, kFailed };
  // Computes one batch (at most max_num_batched_tokens) with an adapter (0: none, i: the i-th of the options).
  Outcome Decode(std::span<const Token> tokens, int adapter);
  // Logits of the i-th token of the last batch, which asked for them.
  std::span<const float> Logits(int index) const;

  // The normalised mean of a prompt's hidden states, a few tokens at a time: Begin, EmbedChunk until it returns true,
  // Finish. A second, small context is made for it, as large as the longest prompt so far.
  Status BeginEmbedding(size_t tokens);
  Result<bool> EmbedChunk(std::span<const int32_t> prompt, int tokens_max);
  std::vector<float> FinishEmbedding();

 private:
  LlamaRuntime() = default;
  Status LoadModel(const LlamaOptions& options);
  Status Fit(const LlamaOptions& options);
  Status MakeContext(const LlamaOptions& options);
  Status LoadAdapters(const LlamaOptions& options);
  Status SetAdapter(int adapter);

  LlamaShape shape_;
  llama_model* model_ = nullptr;
  llama_context* context_ = nullptr;
  ggml_threadpool* threads_ = nullptr;
  std::vector<llama_adapter_lora*> adapters_;
  int adapter_ = 0;
  int vocab_size_ = 0;
  int batch_tokens_max_ = 0;
  struct Batch;
  std::unique_ptr<Batch> batch_;

  llama_context* embed_context_ = nullptr;
  size_t embed_context_tokens_ = 0;
  std::vector<double> embed_sum_;
  size_t embed_done_ = 0;
};

}  // namespace sluice::worker
