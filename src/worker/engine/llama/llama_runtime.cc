#include "worker/engine/llama/llama_runtime.h"

#include <ggml-cpu.h>
#include <llama.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/check.h"
#include "tokenize/gguf_tokenizer.h"
#include "worker/engine/llama/kv_cells.h"

namespace sluice::worker {

namespace {

constexpr int kDefaultKvTokens = 16'384;
constexpr int kPhysicalBatchMax = 512;
constexpr int kPromptLogitRows = 64;           // rows of logits for prompt_logprobs in one step
constexpr int kSequencesForRequestsMax = 128;  // the other half of llama.cpp's sequences hold cached blocks
constexpr int kEmbedBatch = 64;                // llama.cpp computes logits beside embeddings: a row of them each
constexpr int kCellPadding = 256;              // llama.cpp rounds its context to this

Status CheckFile(const std::string& path) {
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) {
    return Fail(Code::kNotFound, "there is no model file '" + path + "'; give the path of a GGUF file", "model");
  }
  if (!std::filesystem::is_regular_file(path, ec)) {
    return Fail(Code::kInvalidArgument, "the model '" + path + "' is not a file; give the path of a GGUF file",
                "model");
  }
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  if (!file.read(magic, 4) || std::string_view(magic, 4) != "GGUF") {
    return Fail(Code::kInvalidArgument,
                "the model '" + path + "' is not a GGUF file, cannot be read, or is damaged at its beginning", "model");
  }
  return {};
}

int RoundUp(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

struct LlamaRuntime::Batch {
  explicit Batch(int tokens) : raw(llama_batch_init(tokens, 0, 1)) {}
  ~Batch() { llama_batch_free(raw); }
  llama_batch raw;
};

LlamaRuntime::~LlamaRuntime() {
  batch_.reset();
  if (embed_context_ != nullptr) llama_free(embed_context_);
  if (context_ != nullptr) llama_free(context_);
  if (threads_ != nullptr) ggml_threadpool_free(threads_);
  for (auto* a : adapters_) llama_adapter_lora_free(a);
  if (model_ != nullptr) llama_model_free(model_);
}

Result<std::unique_ptr<LlamaRuntime>> LlamaRuntime::Open(const LlamaOptions& options) {
  tokenize::InitLlama();
  auto out = std::unique_ptr<LlamaRuntime>(new LlamaRuntime());
  for (auto step :
       {&LlamaRuntime::LoadModel, &LlamaRuntime::Fit, &LlamaRuntime::MakeContext, &LlamaRuntime::LoadAdapters}) {
    if (auto s = (out.get()->*step)(options); !s) return tl::unexpected(s.error());
  }
  return out;
}

Status LlamaRuntime::LoadModel(const LlamaOptions& options) {
  if (auto s = CheckFile(options.model_path); !s) return s;
  llama_model_params params = llama_model_default_params();
  if (options.on_load_progress) {
    params.progress_callback = [](float progress, void* user) {
      (*static_cast<const std::function<void(double)>*>(user))(progress);
      return true;
    };
    params.progress_callback_user_data = const_cast<std::function<void(double)>*>(&options.on_load_progress);
  }
  try {
    model_ = llama_model_load_from_file(options.model_path.c_str(), params);
  } catch (const std::exception&) {
  }
  if (model_ == nullptr) {
    return Fail(Code::kInvalidArgument,
                "llama.cpp cannot load the model '" + options.model_path +
                    "': the file is damaged or incomplete, or its architecture is unknown (its own message is above)",
                "model");
  }
  if (!llama_model_has_decoder(model_) || llama_model_has_encoder(model_)) {
    return Fail(Code::kInvalidArgument, "the model '" + options.model_path + "' does not generate text", "model");
  }
  vocab_size_ = llama_vocab_n_tokens(Vocab());
  return {};
}

const llama_vocab* LlamaRuntime::Vocab() const { return llama_model_get_vocab(model_); }
int LlamaRuntime::EmbeddingSize() const { return llama_model_n_embd_out(model_); }

Status LlamaRuntime::Fit(const LlamaOptions& o) {
  const auto bad = [](std::string message, const char* param) {
    return Status(Fail(Code::kInvalidArgument, std::move(message), param));
  };
  if (o.max_num_seqs < 1 || o.max_num_seqs > kSequencesForRequestsMax) {
    return bad("max_num_seqs must be 1 to " + std::to_string(kSequencesForRequestsMax), "max_num_seqs");
  }
  if (o.block_size < 1 || o.block_size > 1024) return bad("block_size must be 1 to 1024", "block_size");
  if (o.max_num_batched_tokens < o.max_num_seqs) {
    return bad("max_num_batched_tokens must be at least max_num_seqs", "max_num_batched_tokens");
  }
  if (o.waiting_max < 1) return bad("the waiting queue must hold at least one request", "waiting_max");
  if (o.prompt_tokens_beside_answers < 1) {
    return bad("prompts need at least one token in a step beside answers", "prompt_tokens_beside_answers");
  }
  const int trained = llama_model_n_ctx_train(model_);
  if (o.max_model_len > trained) {
    return bad(
        "max_model_len " + std::to_string(o.max_model_len) + " is more than the model's own " + std::to_string(trained),
        "max_model_len");
  }
  const int capacity_default = std::max(kDefaultKvTokens, o.max_model_len);
  shape_.num_blocks = o.num_blocks > 0 ? o.num_blocks : (capacity_default + o.block_size - 1) / o.block_size;
  const int64_t capacity = static_cast<int64_t>(shape_.num_blocks) * o.block_size;
  if (o.max_model_len > capacity) {
    return bad("the KV cache of " + std::to_string(capacity) + " tokens cannot hold one request of max_model_len " +
                   std::to_string(o.max_model_len) + "; raise num_blocks or lower max_model_len",
               "max_model_len");
  }
  shape_.max_model_len = o.max_model_len > 0 ? o.max_model_len : static_cast<int>(std::min<int64_t>(trained, capacity));
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  shape_.threads = o.threads > 0 ? o.threads : std::max(1, cores / 2);
  shape_.logit_rows_max = o.max_num_seqs + kPromptLogitRows;
  if (llama_model_is_recurrent(model_) || llama_model_is_hybrid(model_)) {
    shape_.caching_off_reason = "the model keeps a recurrent state, of which no prefix can be shared";
  } else if (llama_model_n_swa(model_) > 0) {
    shape_.caching_off_reason = "the model's attention has a sliding window: llama.cpp reuses the cells that left it";
  }
  shape_.prefix_caching = o.enable_prefix_caching && shape_.caching_off_reason.empty();
  return {};
}

Status LlamaRuntime::MakeContext(const LlamaOptions& o) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(RoundUp(shape_.num_blocks * o.block_size + 1, kCellPadding));
  batch_tokens_max_ = o.max_num_batched_tokens;
  params.n_batch = static_cast<uint32_t>(batch_tokens_max_);
  params.n_ubatch = static_cast<uint32_t>(std::min(batch_tokens_max_, kPhysicalBatchMax));
  // With a unified cache every sequence id up to llama.cpp's limit is usable; this only sizes buffers.
  params.n_seq_max = static_cast<uint32_t>(o.max_num_seqs);
  params.n_outputs_max = static_cast<uint32_t>(shape_.logit_rows_max);
  params.n_threads = params.n_threads_batch = shape_.threads;
  params.kv_unified = true;
  params.no_perf = true;
  try {
    context_ = llama_init_from_model(model_, params);
  } catch (const std::exception&) {
  }
  if (context_ == nullptr) {
    return Fail(Code::kResourceExhausted,
                "llama.cpp cannot make a context with a KV cache of " + std::to_string(params.n_ctx) +
                    " tokens; lower num_blocks or max_model_len if memory is short",
                "num_blocks");
  }
  if (shape_.threads > 1) {  // without one of its own, ggml starts and joins threads at every step
    auto pool = ggml_threadpool_params_default(shape_.threads);
    threads_ = ggml_threadpool_new(&pool);
    if (threads_ != nullptr) llama_attach_threadpool(context_, threads_, threads_);
  }
  batch_ = std::make_unique<Batch>(batch_tokens_max_);
  return {};
}

Status LlamaRuntime::LoadAdapters(const LlamaOptions& o) {
  for (const auto& lora : o.loras) {
    if (auto s = CheckFile(lora.path); !s) {
      return Fail(s.error().code, "adapter '" + lora.name + "': " + s.error().message, "lora_modules");
    }
    llama_adapter_lora* adapter = nullptr;
    try {
      adapter = llama_adapter_lora_init(model_, lora.path.c_str());
    } catch (const std::exception&) {
    }
    if (adapter == nullptr) {
      return Fail(Code::kInvalidArgument,
                  "adapter '" + lora.name + "': llama.cpp cannot load '" + lora.path +
                      "' for this model (its own message is above)",
                  "lora_modules");
    }
    adapters_.push_back(adapter);
  }
  return {};
}

Status LlamaRuntime::SetAdapter(int adapter) {
  if (adapter == adapter_) return {};
  float scale = 1.0F;
  const int32_t rc = adapter == 0 ? llama_set_adapters_lora(context_, nullptr, 0, nullptr)
                                  : llama_set_adapters_lora(context_, &adapters_[adapter - 1], 1, &scale);
  if (rc != 0) return Fail(Code::kInternal, "llama.cpp cannot apply an adapter");
  adapter_ = adapter;
  return {};
}

LlamaRuntime::Outcome LlamaRuntime::Decode(std::span<const Token> tokens, int adapter) {
  SLUICE_CHECK(!tokens.empty() && static_cast<int>(tokens.size()) <= batch_tokens_max_,
               "llama.cpp aborts on a batch larger than it was told");
  llama_batch& b = batch_->raw;
  b.n_tokens = static_cast<int32_t>(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    b.token[i] = tokens[i].token;
    b.pos[i] = tokens[i].position;
    b.n_seq_id[i] = 1;
    b.seq_id[i][0] = tokens[i].sequence;
    b.logits[i] = static_cast<int8_t>(tokens[i].logits);
  }
  try {
    if (!SetAdapter(adapter)) return Outcome::kFailed;
    const int32_t rc = llama_decode(context_, b);
    if (rc == 0) return Outcome::kDone;
    return rc == 1 ? Outcome::kNoRoom : Outcome::kFailed;
  } catch (const std::exception&) {
    return Outcome::kFailed;
  }
}

std::span<const float> LlamaRuntime::Logits(int index) const {
  const float* row = llama_get_logits_ith(context_, index);
  SLUICE_CHECK(row != nullptr, "logits are read only where they were asked for");
  return {row, static_cast<size_t>(vocab_size_)};
}

Status LlamaRuntime::BeginEmbedding(size_t tokens) {
  embed_sum_.assign(static_cast<size_t>(EmbeddingSize()), 0.0);
  embed_done_ = 0;
  if (embed_context_ != nullptr && tokens <= embed_context_tokens_) {
    llama_memory_clear(llama_get_memory(embed_context_), false);
    return {};
  }
  if (embed_context_ != nullptr) llama_free(embed_context_);
  llama_context_params params = llama_context_default_params();
  size_t room = 512;
  while (room < tokens) room *= 2;
  params.n_ctx = static_cast<uint32_t>(room);
  params.n_batch = params.n_ubatch = static_cast<uint32_t>(std::min(batch_tokens_max_, kEmbedBatch));
  params.n_seq_max = 1;
  params.n_outputs_max = params.n_ubatch;
  params.n_threads = params.n_threads_batch = shape_.threads;
  params.embeddings = true;
  params.pooling_type = LLAMA_POOLING_TYPE_NONE;  // the mean is taken here, over all chunks
  params.no_perf = true;
  embed_context_tokens_ = 0;
  try {
    embed_context_ = llama_init_from_model(model_, params);
  } catch (const std::exception&) {
    embed_context_ = nullptr;
  }
  if (embed_context_ == nullptr) return Fail(Code::kResourceExhausted, "there is no memory for an embedding this long");
  embed_context_tokens_ = room;
  if (threads_ != nullptr) llama_attach_threadpool(embed_context_, threads_, threads_);
  return {};
}

Result<bool> LlamaRuntime::EmbedChunk(std::span<const int32_t> prompt, int tokens_max) {
  const size_t chunk = std::min(prompt.size() - embed_done_,
                                static_cast<size_t>(std::min({batch_tokens_max_, kEmbedBatch, tokens_max})));
  llama_batch& b = batch_->raw;
  b.n_tokens = static_cast<int32_t>(chunk);
  for (size_t i = 0; i < chunk; ++i) {
    b.token[i] = prompt[embed_done_ + i];
    b.pos[i] = static_cast<int32_t>(embed_done_ + i);
    b.n_seq_id[i] = 1;
    b.seq_id[i][0] = 0;
    b.logits[i] = 1;
  }
  try {
    if (llama_decode(embed_context_, b) != 0) return Fail(Code::kInternal, "llama.cpp could not compute an embedding");
  } catch (const std::exception& e) {
    return Fail(Code::kInternal, std::string("llama.cpp could not compute an embedding: ") + e.what());
  }
  for (size_t i = 0; i < chunk; ++i) {
    const float* row = llama_get_embeddings_ith(embed_context_, static_cast<int32_t>(i));
    if (row == nullptr) return Fail(Code::kInternal, "llama.cpp gave no embedding for a token");
    for (size_t k = 0; k < embed_sum_.size(); ++k) embed_sum_[k] += row[k];
  }
  embed_done_ += chunk;
  return embed_done_ == prompt.size();
}

std::vector<float> LlamaRuntime::FinishEmbedding() {
  double norm = 0;
  for (double v : embed_sum_) norm += v * v;
  norm = std::sqrt(norm);
  std::vector<float> out(embed_sum_.size());
  for (size_t k = 0; k < out.size(); ++k) out[k] = static_cast<float>(norm > 0 ? embed_sum_[k] / norm : 0.0);
  return out;
}

}  // namespace sluice::worker
