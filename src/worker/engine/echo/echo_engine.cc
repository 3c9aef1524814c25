#include "worker/engine/echo/echo_engine.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "worker/engine/text_stream.h"

namespace sluice::worker {
namespace {

constexpr size_t kEmbedQueueMax = 256;

// What the answer repeats: the tokens of the last user message, or the whole prompt when there are no chat marks.
std::vector<TokenId> Said(const std::vector<TokenId>& prompt) {
  const auto user = std::find(prompt.rbegin(), prompt.rend(), EchoTokenizer::kUser);
  if (user == prompt.rend()) return prompt;
  const auto begin = user.base();
  return {begin, std::find(begin, prompt.end(), EchoTokenizer::kEnd)};
}

TokenLogprob MakeLogprob(TokenId token, int alternatives, int vocab_size) {
  // Numbers that look like a sure model's: the chosen token first, its neighbours far behind.
  TokenLogprob out{token, -0.125F, {}};
  for (int i = 0; i < alternatives; ++i) {
    out.top.push_back({(token + i) % vocab_size, i == 0 ? -0.125F : -2.0F - 0.5F * static_cast<float>(i)});
  }
  return out;
}

}  // namespace

struct EchoEngine::Running {
  Running(GenerateRequest r, std::shared_ptr<Listener> l)
      : request(std::move(r)), listener(std::move(l)), text(request.stop, request.include_stop_in_output) {}

  GenerateRequest request;
  std::shared_ptr<Listener> listener;
  TextStream text;
  std::vector<TokenId> answer;  // repeated as long as it takes
  std::vector<kvindex::BlockDigest> chain;
  std::vector<BlockId> blocks;
  int produced = 0;
  int cached = 0;
  bool aborted = false;
  TimePoint submitted, scheduled, first_token, last_token, due;
};

EchoEngine::EchoEngine(EchoOptions options)
    : options_(std::move(options)),
      hash_(kvindex::HashAlgorithm::kSha256Cbor, std::string("0")),
      pool_({.num_blocks = options_.num_blocks, .block_size = options_.block_size}) {
  info_.name = options_.served_name;
  info_.path = "echo";
  info_.max_model_len = options_.max_model_len;
  info_.block_size = options_.block_size;
  info_.num_blocks = options_.num_blocks;
  info_.vocab_size = tokenizer_.VocabSize();
  info_.embedding_size = options_.embedding_size;
  info_.eos = EchoTokenizer::kEos;
  info_.fingerprint = "echo0000";
  info_.loras = options_.loras;
  info_.eos_text = EchoTokenizer::kSpecial[EchoTokenizer::kEos];
  info_.hash_algorithm = "sha256_cbor";
  thread_ = std::thread([this] { Run(); });
}

EchoEngine::~EchoEngine() { Shutdown(); }

Status EchoEngine::Submit(GenerateRequest request, std::shared_ptr<Listener> listener) {
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= info_.vocab_size) {
      return Fail(Code::kInvalidArgument, "token id " + std::to_string(token) + " is out of the vocabulary", "prompt");
    }
  }
  const size_t length = request.prompt.size() + static_cast<size_t>(std::max(request.max_tokens, 0));
  if (request.prompt.empty() || length > static_cast<size_t>(info_.max_model_len)) {
    return Fail(Code::kInvalidArgument,
                "prompt and max_tokens together are " + std::to_string(length) + " tokens; 1 to " +
                    std::to_string(info_.max_model_len) + " fit",
                "max_tokens");
  }
  if ((length + static_cast<size_t>(options_.block_size) - 1) / static_cast<size_t>(options_.block_size) >
      static_cast<size_t>(options_.num_blocks)) {
    return Fail(Code::kInvalidArgument, "the request needs more blocks than there are", "max_tokens");
  }
  const auto known = [&](const LoraModule& lora) { return lora.name == request.lora; };
  if (!request.lora.empty() && std::none_of(info_.loras.begin(), info_.loras.end(), known)) {
    return Fail(Code::kNotFound, "there is no adapter '" + request.lora + "'", "model");
  }
  auto running = std::make_shared<Running>(std::move(request), std::move(listener));
  running->answer = Said(running->request.prompt);
  kvindex::BlockDigest parent = hash_.Root();
  const auto block = static_cast<size_t>(options_.block_size);
  kvindex::ExtraKeys extra{running->request.cache_salt, running->request.lora, {}};
  for (size_t at = 0; at + block <= running->request.prompt.size(); at += block) {
    parent = hash_.Next(parent, std::span(running->request.prompt).subspan(at, block), extra);
    extra.cache_salt.clear();
    running->chain.push_back(parent);
  }
  const std::lock_guard lock(mutex_);
  if (!dead_.empty()) return Fail(Code::kUnavailable, "the engine has died: " + dead_);
  if (draining_ || stop_) return Fail(Code::kUnavailable, "the engine is shutting down");
  if (static_cast<int>(waiting_.size()) >= options_.waiting_max) {
    return Fail(Code::kResourceExhausted,
                "the waiting queue is full (" + std::to_string(options_.waiting_max) + " requests); send again later");
  }
  running->submitted = clock_.Now();
  const auto before = std::upper_bound(waiting_.begin(), waiting_.end(), running, [](const auto& a, const auto& b) {
    return a->request.priority < b->request.priority;
  });
  waiting_.insert(before, std::move(running));
  wake_.notify_one();
  return {};
}

void EchoEngine::Abort(std::string_view request_id) {
  const std::lock_guard lock(mutex_);
  for (const auto& request : waiting_) request->aborted |= request->request.id == request_id;
  for (const auto& request : running_) request->aborted |= request->request.id == request_id;
  wake_.notify_one();
}

Status EchoEngine::Embed(std::vector<TokenId> prompt, EmbeddingCallback callback) {
  const std::lock_guard lock(mutex_);
  if (!dead_.empty() || draining_ || stop_) return Fail(Code::kUnavailable, "the engine is shutting down");
  if (embeds_.size() >= kEmbedQueueMax) return Fail(Code::kResourceExhausted, "too many embeddings are waiting");
  embeds_.push_back({std::move(prompt), std::move(callback)});
  wake_.notify_one();
  return {};
}

bool EchoEngine::ResetPrefixCache() {
  const std::lock_guard lock(mutex_);
  return pool_.Reset();
}

EngineStats EchoEngine::Stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats;
  stats.running = static_cast<int>(running_.size());
  stats.waiting = static_cast<int>(waiting_.size());
  stats.kv_usage = pool_.Usage();
  stats.prefix_queries_tokens = prefix_queries_;
  stats.prefix_hits_tokens = prefix_hits_;
  const auto collect = [](const auto& requests, std::vector<std::string>& names) {
    for (const auto& request : requests) {
      if (!request->request.lora.empty()) names.push_back(request->request.lora);
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
  };
  collect(running_, stats.running_loras);
  collect(waiting_, stats.waiting_loras);
  return stats;
}

bool EchoEngine::Healthy() const {
  const std::lock_guard lock(mutex_);
  return dead_.empty();
}

void EchoEngine::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void EchoEngine::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_one();
  }
  const std::lock_guard join(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void EchoEngine::Die(std::string why) {
  const std::lock_guard lock(mutex_);
  dead_ = std::move(why);
  wake_.notify_one();
}

void EchoEngine::Run() {
  for (;;) {
    Deliveries out;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] {
        return stop_ || !dead_.empty() || !waiting_.empty() || !running_.empty() || !embeds_.empty();
      });
      if (stop_ || !dead_.empty()) {
        const bool died = !dead_.empty();
        EndAll(died ? FinishReason::kError : FinishReason::kAbort, dead_, out);
        lock.unlock();
        Deliver(out);
        return;
      }
      const TimePoint now = clock_.Now();
      const TimePoint next = Step(now, out);
      if (out.outputs.empty() && out.embeds.empty() && next > now) {
        wake_.wait_for(lock, std::min(next - now, Duration(std::chrono::milliseconds(50))));
        continue;
      }
    }
    Deliver(out);
  }
}

void EchoEngine::Admit(TimePoint now) {
  const auto block = static_cast<size_t>(options_.block_size);
  while (!waiting_.empty() && static_cast<int>(running_.size()) < options_.max_num_seqs) {
    const auto& request = waiting_.front();
    const std::vector<TokenId>& prompt = request->request.prompt;
    const size_t total = prompt.size() + static_cast<size_t>(request->request.max_tokens);
    const auto needed = static_cast<int>((total + block - 1) / block);
    std::vector<BlockId> held = pool_.Lookup(request->chain);
    // As vLLM: at least one token of the prompt is always computed.
    while (held.size() * block >= prompt.size() && !held.empty()) held.pop_back();
    if (needed - static_cast<int>(held.size()) > pool_.NumFree() - pool_.CountFree(held)) return;
    pool_.Touch(held);
    const auto hits = held.size();
    if (!pool_.Allocate(needed - static_cast<int>(hits), held)) {
      pool_.Free(held);
      return;
    }
    for (size_t depth = hits; depth < request->chain.size(); ++depth) {
      pool_.Register(held[depth], request->chain[depth], static_cast<int>(depth));
    }
    request->blocks = std::move(held);
    request->cached = static_cast<int>(hits * block);
    prefix_queries_ += prompt.size();
    prefix_hits_ += hits * block;
    request->scheduled = now;
    request->due = now + options_.prefill_delay_per_token * (static_cast<int>(prompt.size()) - request->cached);
    running_.push_back(request);
    waiting_.pop_front();
  }
}

TimePoint EchoEngine::Step(TimePoint now, Deliveries& out) {
  while (!embeds_.empty()) {
    out.embeds.push_back(std::move(embeds_.front()));
    embeds_.pop_front();
  }
  std::erase_if(waiting_, [&](const auto& request) {
    if (!request->aborted) return false;
    Finish(request, FinishReason::kAbort, now, {}, out);
    return true;
  });
  Admit(now);
  TimePoint next = TimePoint::max();
  for (const auto& request : running_) {
    if (request->aborted)
      Finish(request, FinishReason::kAbort, now, {}, out);
    else if (request->due <= now)
      Advance(request, now, out);
    if (request->listener != nullptr) next = std::min(next, request->due);
  }
  std::erase_if(running_, [](const auto& request) { return request->listener == nullptr; });
  (void)pool_.TakeRemoved();
  return next;
}

void EchoEngine::Advance(const std::shared_ptr<Running>& request, TimePoint now, Deliveries& out) {
  const GenerateRequest& r = request->request;
  Output output;
  if (request->produced == 0) {
    request->first_token = now;
    out.step.prompt_tokens += static_cast<int>(r.prompt.size()) - request->cached;
    out.first_tokens.push_back(
        {r.id, r.lora, static_cast<int>(r.prompt.size()), request->cached, Seconds(now - request->submitted)});
    out.kept.push_back(request);
    if (r.prompt_logprobs >= 0) AddPromptLogprobs(*request, output);
  } else {
    out.gaps.push_back(Seconds(now - request->last_token));
  }
  FinishReason reason = r.max_tokens == 0 ? FinishReason::kLength : FinishReason::kNone;
  const bool over = request->answer.empty() || (request->produced >= static_cast<int>(request->answer.size()) &&
                                                !r.ignore_eos && request->produced >= r.min_tokens);
  if (reason == FinishReason::kNone) {
    const TokenId token = over ? static_cast<TokenId>(EchoTokenizer::kEos)
                               : request->answer[static_cast<size_t>(request->produced) % request->answer.size()];
    output.tokens.push_back(token);
    if (r.logprobs >= 0) output.logprobs.push_back(MakeLogprob(token, r.logprobs, info_.vocab_size));
    ++request->produced;
    ++out.step.generation_tokens;
    const bool stop_token =
        std::find(r.stop_token_ids.begin(), r.stop_token_ids.end(), token) != r.stop_token_ids.end();
    if (stop_token) output.stop_token = token;
    if (over || stop_token) {
      reason = FinishReason::kStop;
    } else {
      TextStream::Piece piece =
          request->text.Append(tokenizer_.Piece(token, !r.skip_special_tokens), request->produced >= r.min_tokens);
      output.text = std::move(piece.text);
      if (piece.stop) {
        output.stop_reason = std::move(piece.stop);
        reason = FinishReason::kStop;
      } else if (request->produced >= r.max_tokens) {
        reason = FinishReason::kLength;
      }
    }
  }
  request->last_token = now;
  request->due = now + options_.token_delay;
  if (reason == FinishReason::kNone) {
    output.usage = {static_cast<int>(r.prompt.size()), request->cached, request->produced};
    out.outputs.emplace_back(request->listener, std::move(output));
    return;
  }
  if (!output.stop_reason) output.text += request->text.Finish();
  Finish(request, reason, now, std::move(output), out);
}

void EchoEngine::AddPromptLogprobs(const Running& request, Output& output) const {
  for (const TokenId token : request.request.prompt) {
    if (output.prompt_logprobs.empty())
      output.prompt_logprobs.emplace_back();
    else
      output.prompt_logprobs.emplace_back(MakeLogprob(token, request.request.prompt_logprobs, info_.vocab_size));
  }
}

// Fills in the last output and lets go of the request: its listener is null from here on.
void EchoEngine::Finish(const std::shared_ptr<Running>& request, FinishReason reason, TimePoint now, Output output,
                        Deliveries& out) {
  const GenerateRequest& r = request->request;
  output.finish = reason;
  output.usage = {static_cast<int>(r.prompt.size()), request->cached, request->produced};
  FinishReport report;
  report.request_id = r.id;
  report.lora = r.lora;
  report.reason = reason;
  report.prompt_tokens = static_cast<int>(r.prompt.size());
  report.cached_tokens = request->cached;
  report.completion_tokens = request->produced;
  report.max_tokens = r.max_tokens;
  report.e2e_seconds = Seconds(now - request->submitted);
  if (request->scheduled != TimePoint{}) {
    report.queue_seconds = Seconds(request->scheduled - request->submitted);
    report.inference_seconds = Seconds(now - request->scheduled);
  }
  if (request->first_token != TimePoint{}) {
    report.prefill_seconds = Seconds(request->first_token - request->scheduled);
    report.decode_seconds = Seconds(request->last_token - request->first_token);
    if (request->produced > 1) report.mean_seconds_per_token = report.decode_seconds / (request->produced - 1);
  }
  out.finished.push_back(report);
  out.kept.push_back(request);
  out.outputs.emplace_back(std::move(request->listener), std::move(output));
  request->listener = nullptr;
  pool_.Free(request->blocks);
  request->blocks.clear();
}

void EchoEngine::EndAll(FinishReason reason, const std::string& why, Deliveries& out) {
  const TimePoint now = clock_.Now();
  const auto end = [&](const std::shared_ptr<Running>& request) {
    Output output;
    if (reason == FinishReason::kError) output.error = Error{Code::kInternal, "the engine has died: " + why, {}};
    Finish(request, reason, now, std::move(output), out);
  };
  for (const auto& request : running_) end(request);
  for (const auto& request : waiting_) end(request);
  running_.clear();
  waiting_.clear();
  for (EmbedJob& job : embeds_) out.embeds.push_back({{}, std::move(job.callback)});  // empty prompt: not computed
  embeds_.clear();
}

void EchoEngine::Deliver(Deliveries& out) {
  if (options_.observer != nullptr) {
    for (const auto& report : out.first_tokens) options_.observer->OnFirstToken(report);
    for (const double gap : out.gaps) options_.observer->OnInterToken(gap);
    if (out.step.prompt_tokens + out.step.generation_tokens > 0) options_.observer->OnStep(out.step);
    for (const auto& report : out.finished) options_.observer->OnFinish(report);
  }
  for (auto& [listener, output] : out.outputs) listener->OnOutput(std::move(output));
  for (EmbedJob& job : out.embeds) {
    if (job.prompt.empty()) {
      job.callback(Fail(Code::kUnavailable, "the engine stopped before the prompt was embedded"));
      continue;
    }
    // A vector that depends on the tokens and nothing else, of length 1.
    std::vector<float> vector(static_cast<size_t>(options_.embedding_size), 0.0F);
    for (size_t i = 0; i < job.prompt.size(); ++i) {
      vector[static_cast<size_t>(job.prompt[i]) % vector.size()] += 1.0F;
    }
    double square = 0;
    for (const float v : vector) square += static_cast<double>(v) * v;
    for (float& v : vector) v = static_cast<float>(v / std::sqrt(square));
    job.callback(std::move(vector));
  }
}

}  // namespace sluice::worker
