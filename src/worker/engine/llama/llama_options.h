// How to open an engine on llama.cpp: a model file and the settings that `sluice worker` takes, named as vLLM's where
// it has them. OpenLlamaEngine is the only way in; the other files here are its parts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kvindex/engine_hash.h"
#include "kvindex/events/publisher.h"
#include "worker/engine/engine.h"

namespace sluice::worker {

struct LlamaOptions {
  std::string model_path;   // a GGUF file
  std::string served_name;  // empty: the file's name without its extension
  int max_model_len = 0;    // tokens; 0: the model's own, at most what the KV cache holds
  int max_num_seqs = 32;    // 1..128
  int max_num_batched_tokens = 512;
  int block_size = 16;
  int num_blocks = 0;  // KV capacity (vLLM's --num-gpu-blocks-override); 0: room for max(16,384, max_model_len) tokens
  bool enable_prefix_caching = true;
  int threads = 0;  // 0: half of the machine's, at least one: several workers share a machine, and ggml's threads spin
  int waiting_max = 256;                  // requests in the waiting queue
  int prompt_tokens_beside_answers = 64;  // prompt tokens in a step that also carries answers
  std::vector<LoraModule> loras;
  std::string chat_template;  // Jinja source; empty: the model's own
  kvindex::HashAlgorithm hash_algorithm = kvindex::HashAlgorithm::kSha256Cbor;
  std::optional<std::string> hash_seed;  // PYTHONHASHSEED
  kvindex::PublisherOptions kv_events;
  EngineObserver* observer = nullptr;                // may be null
  std::function<void(double)> on_load_progress;      // 0..1, on the caller's thread
  std::function<void(std::string_view)> on_warning;  // a line for the log; null: standard error
};

// Loads the model and starts the engine's thread. kNotFound for a missing file, kInvalidArgument for a file that is no
// usable model or for settings that do not fit it. Cost: seconds; the KV cache is allocated here.
Result<std::unique_ptr<Engine>> OpenLlamaEngine(LlamaOptions options);

}  // namespace sluice::worker
