// Engine: what a worker's HTTP surface needs of an inference engine. llama/ implements it on llama.cpp, in its own
// thread with continuous batching; other engines (a timing model, an echo) implement the same contract. Thread rule:
// every method may be called from any thread. Listener calls come from the engine's thread and must not block.
// Ownership: the engine holds a shared_ptr to each listener until that request's last output or Abort().
// Cost: Submit is O(prompt) (a copy and block hashes).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tokenize/tokenizer.h"

namespace sluice::worker {

using tokenize::TokenId;

// Sampling in vLLM's terms and with vLLM's defaults. Ranges are checked by the HTTP surface (openai/), not here.
struct Sampling {
  double temperature = 1.0;  // 0: greedy
  double top_p = 1.0;
  int top_k = 0;  // 0 or -1: all
  double min_p = 0.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  double repetition_penalty = 1.0;
  std::optional<uint64_t> seed;
  std::map<TokenId, float> logit_bias;
};

struct GenerateRequest {
  std::string id;
  std::vector<TokenId> prompt;  // at least one token; prompt + max_tokens fits max_model_len (checked at Submit)
  Sampling sampling;
  int max_tokens = 16;  // >= 0; 0 with prompt_logprobs answers about the prompt only
  int min_tokens = 0;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool include_stop_in_output = false;
  bool skip_special_tokens = true;
  int logprobs = -1;         // -1: none; n: the sampled token's and the n most likely ones'
  int prompt_logprobs = -1;  // as above, for each prompt token but the first
  std::string grammar;       // GBNF; empty: free text. An invalid one fails Submit with kInvalidArgument
  // With a lazy grammar the text is free until one of `grammar_triggers` has been generated; from there the grammar
  // holds.
  bool grammar_lazy = false;
  std::vector<std::string> grammar_triggers;
  std::string cache_salt;  // requests with different salts never share blocks
  int priority = 0;        // lower runs first, as in vLLM
  std::string lora;        // adapter name; empty: the base model
};

struct TopLogprob {
  TokenId token;
  float logprob;
};

struct TokenLogprob {
  TokenId token;
  float logprob;
  std::vector<TopLogprob> top;  // most likely first; the sampled one is not added when it is not among them
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kAbort, kError };

struct RequestUsage {
  int prompt_tokens = 0;
  int cached_tokens = 0;      // prompt tokens whose KV was reused (a multiple of the block size)
  int completion_tokens = 0;  // so far
};

// One step's news of one request. Text is whole UTF-8 and never contains a part of a stop string that was matched; it
// may lag behind the tokens while a character or a possible stop string is incomplete.
struct Output {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;                        // one per token when asked for
  std::vector<std::optional<TokenLogprob>> prompt_logprobs;  // with the first output, when asked for; [0] is empty
  FinishReason finish = FinishReason::kNone;
  std::optional<std::string> stop_reason;  // the stop string that matched
  std::optional<TokenId> stop_token;       // the stop_token_ids member that matched
  std::optional<Error> error;              // with kError
  RequestUsage usage;
};

class Listener {
 public:
  virtual ~Listener() = default;
  virtual void OnOutput(Output output) = 0;  // the last one has finish != kNone
};

using EmbeddingCallback = std::function<void(Result<std::vector<float>>)>;

struct LoraModule {
  std::string name;
  std::string path;
};

struct ModelInfo {
  std::string name;  // first served name
  std::string path;
  int max_model_len = 0;  // tokens, prompt + answer
  int block_size = 16;    // tokens
  int num_blocks = 0;     // KV capacity in blocks
  int vocab_size = 0;
  int embedding_size = 0;
  TokenId eos = -1;
  std::string fingerprint;  // of the model file; stable between restarts
  std::vector<LoraModule> loras;
  std::string bos_text;  // what a chat template may write; empty: none
  std::string eos_text;
  bool prefix_caching = true;  // false too when the model's memory cannot be shared (sliding window, recurrent)
  std::string hash_algorithm;  // --prefix-caching-hash-algo
};

struct EngineStats {
  int running = 0;
  int waiting = 0;
  double kv_usage = 0;  // fraction of blocks in use by running requests, 0..1
  uint64_t prefix_queries_tokens = 0;
  uint64_t prefix_hits_tokens = 0;
  uint64_t preemptions = 0;
  int waiting_deferred = 0;  // of `waiting`: those that wait for their adapter's turn; the others wait for room
  std::vector<std::string> running_loras;  // adapters with running requests, sorted
  std::vector<std::string> waiting_loras;
};

// One step, for vllm:iteration_tokens_total and the token counters.
struct StepReport {
  int prompt_tokens = 0;      // computed in this step
  int generation_tokens = 0;  // sampled in this step
  double seconds = 0;
};
// A request's prompt has been computed and its first token sampled (vllm:time_to_first_token_seconds,
// prompt_tokens_by_source).
struct FirstTokenReport {
  std::string_view request_id;
  std::string_view lora;
  int prompt_tokens = 0;
  int cached_tokens = 0;
  double ttft_seconds = 0;
};
// A request is over. Times are vLLM's: queue = accepted to first scheduled, prefill = scheduled to first token, decode
// = first to last token, inference = scheduled to last token. What it never reached is 0.
struct FinishReport {
  std::string_view request_id;
  std::string_view lora;
  FinishReason reason = FinishReason::kNone;
  int prompt_tokens = 0;
  int cached_tokens = 0;
  int completion_tokens = 0;
  int max_tokens = 0;
  int preemptions = 0;
  double queue_seconds = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  double inference_seconds = 0;
  double e2e_seconds = 0;
  double mean_seconds_per_token = 0;  // decode / (completion_tokens - 1); 0 with fewer than two
};

// What metrics need beside EngineStats. Called on the engine's thread; must not block. Ownership: outlives the engine.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStep(const StepReport&) {}
  virtual void OnFirstToken(const FirstTokenReport&) {}
  // Seconds since the request's previous token (vllm:inter_token_latency_seconds).
  virtual void OnInterToken(double /*seconds*/) {}
  virtual void OnFinish(const FinishReport&) {}
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual const ModelInfo& Model() const = 0;
  virtual const tokenize::Tokenizer& Tokens() const = 0;
  // The model's own chat template (Jinja), or the one given at start. Empty when the model has none.
  virtual const std::string& ChatTemplate() const = 0;

  // Accepts a request into the waiting queue. kResourceExhausted when the queue is full; kInvalidArgument for a prompt
  // that can never fit, a bad token id or a bad grammar; kUnavailable while draining or after the engine has died.
  virtual Status Submit(GenerateRequest request, std::shared_ptr<Listener> listener) = 0;
  // Ends a request: its listener gets one last output with kAbort, within the next step. Unknown ids are ignored.
  virtual void Abort(std::string_view request_id) = 0;
  // Embeds one prompt (mean-pooled, L2-normalised). Calls back on the engine's thread.
  virtual Status Embed(std::vector<TokenId> prompt, EmbeddingCallback callback) = 0;

  // Forgets cached blocks that no request uses. False when requests still hold some, as vLLM answers.
  virtual bool ResetPrefixCache() = 0;
  virtual EngineStats Stats() const = 0;
  // False once the engine's thread has died; the HTTP surface then answers 503 on /health.
  virtual bool Healthy() const = 0;

  // Accepts nothing more (Submit and Embed answer kUnavailable); what was accepted goes on. Stats() tells when it is
  // done.
  virtual void Drain() {}
  // Ends every request with kAbort and stops the engine's thread. Called by the destructor at the latest.
  virtual void Shutdown() {}
};

}  // namespace sluice::worker
