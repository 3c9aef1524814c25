#include "worker/engine/llama/llama_engine.h"

#include <llama.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>

#include "base/check.h"

namespace sluice::worker {

namespace {

constexpr int kEmbedTokensAlone = 64;
constexpr int kEmbedTokensBesideAnswers = 16;  // about one step's time

BatcherOptions BatcherOptionsOf(const LlamaOptions& o, const LlamaShape& shape) {
  BatcherOptions b;
  b.max_num_seqs = o.max_num_seqs;
  b.max_num_batched_tokens = o.max_num_batched_tokens;
  b.prompt_tokens_beside_answers = o.prompt_tokens_beside_answers;
  b.logit_rows_max = shape.logit_rows_max;
  b.waiting_max = o.waiting_max;
  return b;
}

BlockPoolOptions PoolOptionsOf(const LlamaOptions& o, const LlamaShape& shape) {
  return {shape.num_blocks, o.block_size, shape.prefix_caching, KvCells::HoldersFor(o.max_num_seqs)};
}

// Names the file's content without reading all of it: FNV-1a over its size, both ends and samples between.
std::string Fingerprint(const std::string& path) {
  constexpr size_t kEnd = 1 << 20, kSample = 4096;
  constexpr int kSamples = 64;
  std::error_code ec;
  const auto size = static_cast<uint64_t>(std::filesystem::file_size(path, ec));
  uint64_t h = 14695981039346656037ULL;
  const auto mix = [&](std::string_view bytes) {
    for (unsigned char c : bytes) h = (h ^ c) * 1099511628211ULL;
  };
  mix(std::to_string(size));
  std::ifstream in(path, std::ios::binary);
  std::string buffer;
  const auto read = [&](uint64_t at, size_t n) {
    buffer.resize(n);
    in.clear();
    in.seekg(static_cast<std::streamoff>(at));
    in.read(buffer.data(), static_cast<std::streamsize>(n));
    mix(std::string_view(buffer).substr(0, static_cast<size_t>(in.gcount())));
  };
  read(0, kEnd);
  for (int i = 1; i < kSamples; ++i) read(size / kSamples * static_cast<uint64_t>(i), kSample);
  read(size > kEnd ? size - kEnd : 0, kEnd);
  char hex[17];
  std::snprintf(hex, sizeof(hex), "%016llx", static_cast<unsigned long long>(h));
  return hex;
}

void Warn(const LlamaOptions& o, const std::string& line) {
  if (o.on_warning) {
    o.on_warning(line);
  } else {
    std::fprintf(stderr, "engine: %s\n", line.c_str());
  }
}

}  // namespace

Result<std::unique_ptr<Engine>> OpenLlamaEngine(LlamaOptions options) {
  auto engine = LlamaEngine::Open(std::move(options));
  if (!engine) return tl::unexpected(engine.error());
  return std::unique_ptr<Engine>(std::move(*engine));
}

Result<std::unique_ptr<LlamaEngine>> LlamaEngine::Open(LlamaOptions options) {
  auto runtime = LlamaRuntime::Open(options);
  if (!runtime) return tl::unexpected(runtime.error());
  std::unique_ptr<kvindex::Publisher> publisher;
  if (options.kv_events.enable_kv_cache_events && options.kv_events.publisher != "null") {
    auto opened = kvindex::Publisher::Open(options.kv_events);
    if (!opened) return tl::unexpected(opened.error());
    publisher = std::move(*opened);
  }
  auto engine =
      std::unique_ptr<LlamaEngine>(new LlamaEngine(std::move(options), std::move(*runtime), std::move(publisher)));
  engine->Start();
  return engine;
}

LlamaEngine::LlamaEngine(LlamaOptions options, std::unique_ptr<LlamaRuntime> runtime,
                         std::unique_ptr<kvindex::Publisher> publisher)
    : options_(std::move(options)),
      runtime_(std::move(runtime)),
      publisher_(std::move(publisher)),
      tokenizer_(runtime_->Vocab()),
      hash_(options_.hash_algorithm, options_.hash_seed),
      pool_(PoolOptionsOf(options_, runtime_->Shape())),
      batcher_(BatcherOptionsOf(options_, runtime_->Shape()), pool_),
      cells_(runtime_->Context(), runtime_->Shape().num_blocks, options_.block_size, options_.max_num_seqs) {
  const LlamaShape& shape = runtime_->Shape();
  const char* own = llama_model_chat_template(runtime_->Model(), nullptr);
  chat_template_ = !options_.chat_template.empty() ? options_.chat_template : (own != nullptr ? own : "");
  info_.name =
      options_.served_name.empty() ? std::filesystem::path(options_.model_path).stem().string() : options_.served_name;
  info_.path = options_.model_path;
  info_.max_model_len = shape.max_model_len;
  info_.block_size = options_.block_size;
  info_.num_blocks = shape.num_blocks;
  info_.vocab_size = runtime_->VocabSize();
  info_.embedding_size = runtime_->EmbeddingSize();
  info_.eos = tokenizer_.Eos();
  info_.fingerprint = Fingerprint(options_.model_path);
  info_.loras = options_.loras;
  info_.bos_text = tokenizer_.BosText();
  info_.eos_text = tokenizer_.EosText();
  info_.prefix_caching = shape.prefix_caching;
  info_.hash_algorithm = std::string(kvindex::Name(options_.hash_algorithm));
  int32_t suppressed = 0;
  const llama_token* ids = llama_vocab_get_suppress_tokens(runtime_->Vocab(), &suppressed);
  suppressed_.assign(ids, ids + suppressed);
  if (options_.enable_prefix_caching && !shape.prefix_caching) {
    Warn(options_, "prefix caching is off: " + shape.caching_off_reason);
  }
}

LlamaEngine::~LlamaEngine() { Shutdown(); }

void LlamaEngine::Start() {
  thread_ = std::thread([this] { Run(); });
}

void LlamaEngine::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  const std::lock_guard join(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void LlamaEngine::Run() {
  try {
    Loop();
  } catch (const std::exception& e) {
    Die(std::string("the engine's thread failed: ") + e.what());
    return;
  }
  if (!dead_) EndAll(FinishReason::kAbort, nullptr);
}

void LlamaEngine::Loop() {
  while (WaitForWork()) {
    TakeAborts();
    Step();
    if (dead_) return;
    EmbedSome();
  }
}

bool LlamaEngine::WaitForWork() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return stop_ || !aborts_.empty() || !embeds_.empty() || !batcher_.Idle(); });
  return !stop_;
}

// Ends every request; with an error when there is one to tell.
void LlamaEngine::EndAll(FinishReason reason, const Error* error) {
  std::vector<std::unique_ptr<Sequence>> ended;
  std::deque<EmbedJob> jobs;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    for (auto& [id, s] : sequences_) {
      batcher_.Remove(s->entry);
      ended.push_back(std::move(s));
    }
    sequences_.clear();
    jobs.swap(embeds_);
  }
  for (auto& s : ended) {
    s->End(reason);
    s->ended = clock_.Now();
    if (error != nullptr) s->pending.error = *error;
    if (options_.observer != nullptr) options_.observer->OnFinish(s->Report());
    s->listener->OnOutput(s->TakeOutput());
  }
  for (auto& job : jobs) {
    job.callback(error != nullptr ? Result<std::vector<float>>(tl::unexpected(*error))
                                  : Fail(Code::kUnavailable, "the worker is shutting down"));
  }
}

void LlamaEngine::Die(const std::string& why) {
  dead_.store(true, std::memory_order_release);
  Warn(options_, why);
  const Error error{Code::kInternal, why + "; the worker must be restarted", {}};
  EndAll(FinishReason::kError, &error);
}

void LlamaEngine::TakeAborts() {
  std::vector<std::unique_ptr<Sequence>> ended;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& id : aborts_) {
      const auto it = sequences_.find(id);
      if (it == sequences_.end()) continue;
      batcher_.Remove(it->second->entry);
      ended.push_back(std::move(it->second));
      sequences_.erase(it);
    }
    aborts_.clear();
  }
  for (auto& s : ended) {
    if (s->llama_sequence >= 0) cells_.ReleaseSequence(s->llama_sequence);
    s->End(FinishReason::kAbort);
    s->ended = clock_.Now();
    if (options_.observer != nullptr) options_.observer->OnFinish(s->Report());
    s->listener->OnOutput(s->TakeOutput());
  }
}

// One chunk of the oldest embedding, between two steps: answers that are under way wait for at most one chunk.
void LlamaEngine::EmbedSome() {
  EmbedJob* job = nullptr;
  int tokens_max = kEmbedTokensAlone;
  {
    const std::lock_guard lock(mutex_);
    if (embeds_.empty()) return;
    if (!batcher_.Running().empty()) tokens_max = kEmbedTokensBesideAnswers;
    job = &embeds_.front();  // a deque keeps its elements in place while others are added at its end
  }
  Result<std::vector<float>> result;
  if (!job->begun) {
    if (auto s = runtime_->BeginEmbedding(job->prompt.size()); !s) result = tl::unexpected(s.error());
    job->begun = true;
  }
  if (result) {
    auto done = runtime_->EmbedChunk(job->prompt, tokens_max);
    if (!done) {
      result = tl::unexpected(done.error());
    } else if (!*done) {
      return;
    } else {
      result = runtime_->FinishEmbedding();
    }
  }
  EmbeddingCallback callback = std::move(job->callback);
  {
    const std::lock_guard lock(mutex_);
    embeds_.pop_front();
  }
  callback(std::move(result));
}

}  // namespace sluice::worker
