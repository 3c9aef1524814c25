// LlamaEngine's other threads: checking and queueing requests, reading numbers.
#include <llama.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "worker/engine/llama/grammar_constraint.h"
#include "worker/engine/llama/llama_engine.h"

namespace sluice::worker {

namespace {

constexpr size_t kEmbedQueueMax = 256;
constexpr size_t kStopsMax = 64;
constexpr size_t kStopBytesMax = 4096;

Status Invalid(std::string message, const char* param) {
  return Fail(Code::kInvalidArgument, std::move(message), param);
}

Status CheckTokens(const std::vector<TokenId>& tokens, int vocab_size, const char* param) {
  if (tokens.empty()) return Invalid("the prompt has no tokens", param);
  for (TokenId t : tokens) {
    if (t < 0 || t >= vocab_size) {
      return Invalid(
          "token id " + std::to_string(t) + " is out of the vocabulary (0 to " + std::to_string(vocab_size - 1) + ")",
          param);
    }
  }
  return {};
}

}  // namespace

Status LlamaEngine::CheckRequest(const GenerateRequest& r, int& adapter) const {
  if (auto s = CheckTokens(r.prompt, info_.vocab_size, "prompt"); !s) return s;
  if (r.max_tokens < 0) return Invalid("max_tokens must not be negative", "max_tokens");
  const auto length = static_cast<int64_t>(r.prompt.size());
  if (length + r.max_tokens > info_.max_model_len) {
    return Invalid("the prompt has " + std::to_string(length) + " tokens and " + std::to_string(r.max_tokens) +
                       " were asked for, together more than the model's maximum of " +
                       std::to_string(info_.max_model_len) + "; shorten the prompt or lower max_tokens",
                   "max_tokens");
  }
  if (r.max_tokens == 0 && r.prompt_logprobs < 0) {
    return Invalid("max_tokens 0 makes sense only with prompt_logprobs", "max_tokens");
  }
  if (r.min_tokens < 0 || r.min_tokens > r.max_tokens) {
    return Invalid("min_tokens must be 0 to max_tokens", "min_tokens");
  }
  if (r.logprobs > info_.vocab_size || r.prompt_logprobs > info_.vocab_size) {
    return Invalid("more log-probabilities were asked for than the vocabulary has tokens", "logprobs");
  }
  size_t stop_bytes = 0;
  for (const auto& s : r.stop) stop_bytes += s.size();
  if (r.stop.size() > kStopsMax || stop_bytes > kStopBytesMax) {
    return Invalid("at most 64 stop strings of together 4,096 bytes are accepted", "stop");
  }
  for (const auto& [token, bias] : r.sampling.logit_bias) {
    if (token < 0 || token >= info_.vocab_size) {
      return Invalid("logit_bias names token " + std::to_string(token) + ", which is out of the vocabulary",
                     "logit_bias");
    }
  }
  adapter = 0;
  if (r.lora.empty()) return {};
  std::vector<std::string> names;
  for (size_t i = 0; i < info_.loras.size(); ++i) {
    if (info_.loras[i].name == r.lora) adapter = static_cast<int>(i) + 1;
    names.push_back(info_.loras[i].name);
  }
  if (adapter == 0) {
    return Fail(Code::kNotFound, "there is no adapter '" + r.lora + "'" + DidYouMean(r.lora, names), "model");
  }
  return {};
}

Result<std::unique_ptr<Sequence>> LlamaEngine::MakeSequence(GenerateRequest request, std::shared_ptr<Listener> listener,
                                                            int adapter) {
  std::unique_ptr<Constraint> constraint;
  if (!request.grammar.empty()) {
    auto made =
        GrammarConstraint::Create(runtime_->Vocab(), request.grammar, request.grammar_lazy, request.grammar_triggers);
    if (!made) return tl::unexpected(made.error());
    constraint = std::move(*made);
  }
  SamplerOptions so;
  so.sampling = request.sampling;
  so.min_tokens = request.min_tokens;
  so.end_tokens = tokenizer_.EndTokens();
  so.end_tokens.insert(so.end_tokens.end(), request.stop_token_ids.begin(), request.stop_token_ids.end());
  so.banned = suppressed_;
  if (!request.sampling.seed) so.seed = EntropySeed();
  auto sampler = std::make_unique<Sampler>(std::move(so), request.prompt, std::move(constraint));
  kvindex::ExtraKeys extra;
  extra.cache_salt = request.cache_salt;
  if (adapter > 0) {
    extra.lora_name = info_.loras[adapter - 1].name;
    extra.lora_path = info_.loras[adapter - 1].path;
  }
  auto s = std::make_unique<Sequence>(std::move(request), std::move(listener), std::move(extra), tokenizer_.EndTokens(),
                                      std::move(sampler));
  s->entry.adapter = adapter;
  if (info_.prefix_caching) s->ExtendChain(hash_, info_.block_size);
  return s;
}

Status LlamaEngine::Submit(GenerateRequest request, std::shared_ptr<Listener> listener) {
  int adapter = 0;
  if (auto s = CheckRequest(request, adapter); !s) return s;
  auto made = MakeSequence(std::move(request), std::move(listener), adapter);
  if (!made) return tl::unexpected(made.error());
  Sequence& s = **made;
  {
    const std::lock_guard lock(mutex_);
    if (dead_ || stop_) return Fail(Code::kUnavailable, "the engine has stopped; restart the worker");
    if (draining_) return Fail(Code::kUnavailable, "the worker is shutting down and takes no new requests");
    if (sequences_.contains(s.request.id)) {
      return Fail(Code::kConflict, "a request with the id '" + s.request.id + "' is running; ids must be unique");
    }
    s.entry.arrival = ++arrivals_;
    s.accepted = clock_.Now();
    if (!batcher_.Add(s.entry)) {
      return Fail(Code::kResourceExhausted,
                  "the worker's queue of " + std::to_string(options_.waiting_max) +
                      " waiting requests is full; try again later or send to another replica");
    }
    sequences_.emplace(s.request.id, std::move(*made));
  }
  wake_.notify_one();
  return {};
}

void LlamaEngine::Abort(std::string_view request_id) {
  {
    const std::lock_guard lock(mutex_);
    std::string id(request_id);
    if (!sequences_.contains(id)) return;
    aborts_.push_back(std::move(id));
  }
  wake_.notify_one();
}

Status LlamaEngine::Embed(std::vector<TokenId> prompt, EmbeddingCallback callback) {
  if (auto s = CheckTokens(prompt, info_.vocab_size, "input"); !s) return s;
  if (static_cast<int64_t>(prompt.size()) > info_.max_model_len) {
    return Invalid("the input has " + std::to_string(prompt.size()) + " tokens, more than the model's maximum of " +
                       std::to_string(info_.max_model_len),
                   "input");
  }
  {
    const std::lock_guard lock(mutex_);
    if (dead_ || stop_) return Fail(Code::kUnavailable, "the engine has stopped; restart the worker");
    if (draining_) return Fail(Code::kUnavailable, "the worker is shutting down and takes no new requests");
    if (embeds_.size() >= kEmbedQueueMax) {
      return Fail(Code::kResourceExhausted, "the worker's queue of 256 embeddings is full; try again later");
    }
    embeds_.push_back({std::move(prompt), std::move(callback)});
  }
  wake_.notify_one();
  return {};
}

bool LlamaEngine::ResetPrefixCache() {
  const std::lock_guard lock(mutex_);
  if (!pool_.Reset()) return false;
  // The engine's thread drops the cells and publishes AllBlocksCleared with its next step, as vLLM does.
  cache_cleared_ = true;
  return true;
}

EngineStats LlamaEngine::Stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats out;
  out.running = static_cast<int>(batcher_.Running().size());
  out.waiting = batcher_.NumWaiting();
  out.waiting_deferred = std::min(batcher_.NumDeferred(), out.waiting);
  out.kv_usage = pool_.Usage();
  out.prefix_queries_tokens = prefix_queries_;
  out.prefix_hits_tokens = prefix_hits_;
  out.preemptions = batcher_.Preemptions();
  std::set<int> running, waiting;
  for (const BatchEntry* e : batcher_.Running()) running.insert(e->adapter);
  batcher_.EachWaiting([&](const BatchEntry& e) { waiting.insert(e.adapter); });
  for (int a : running) {
    if (a > 0) out.running_loras.push_back(info_.loras[a - 1].name);
  }
  for (int a : waiting) {
    if (a > 0) out.waiting_loras.push_back(info_.loras[a - 1].name);
  }
  std::sort(out.running_loras.begin(), out.running_loras.end());
  std::sort(out.waiting_loras.begin(), out.waiting_loras.end());
  return out;
}

void LlamaEngine::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

}  // namespace sluice::worker
