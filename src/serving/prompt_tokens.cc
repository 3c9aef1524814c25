#include "serving/prompt_tokens.h"

#include <algorithm>

namespace sluice::serving {

using observe::Level;
using observe::Log;
using runtime::Task;
using Mode = schedule::TokenSource::Mode;

namespace {

constexpr std::string_view kModule = "tokens";

}  // namespace

Result<std::shared_ptr<PromptTokens>> PromptTokens::Open(runtime::Loop& loop, net::HttpClient& client,
                                                         RouterMetrics& metrics, std::string pool,
                                                         schedule::TokenSource source) {
  std::shared_ptr<PromptTokens> out(new PromptTokens(loop, metrics, std::move(pool), std::move(source)));
  if (out->source_.mode == Mode::kVllm) {
    auto render = RenderClient::Open(loop, client, out->source_);
    if (!render) return tl::unexpected(render.error());
    out->render_ = std::move(*render);
    return out;
  }
  Result<std::shared_ptr<LocalTokens>> local =
      LocalTokens::Open(out->source_.path, static_cast<size_t>(out->source_.cache_bytes));
  if (!local) return Fail(local.error().code, "token-producer: " + local.error().message);
  out->local_ = std::move(*local);
  if (const std::string& problem = out->local_->chat_problem(); !problem.empty()) {
    Log(Level::kWarn, kModule, "chats will be estimated", {{"pool", out->pool_}, {"reason", problem}});
  }
  out->workers_ = std::make_unique<runtime::WorkerPool>(kThreads, kQueueMax);
  return out;
}

PromptTokens::PromptTokens(runtime::Loop& loop, RouterMetrics& metrics, std::string pool, schedule::TokenSource source)
    : loop_(loop), metrics_(metrics), pool_(std::move(pool)), source_(std::move(source)) {}

std::string_view PromptTokens::SourceName() const { return source_.mode == Mode::kVllm ? "vllm" : "tokenizer"; }

Task<Status> PromptTokens::MakeLocal(parse::Api api, std::string_view body, std::string_view model, Made& made) {
  Result<LocalTokens::Made> local = Fail(Code::kInternal, "");
  if (body.size() <= kInlineBytes) {
    local = local_->Make(api, body, model);
  } else {  // the caller may go while the job runs: it owns what it reads
    auto job = [local = local_, api, text = std::string(body), name = std::string(model)] {
      return local->Make(api, text, name);
    };
    made.waited = true;
    auto ran = co_await workers_->Run(loop_, std::move(job));
    local = ran ? std::move(*ran) : Result<LocalTokens::Made>(tl::unexpected(ran.error()));
  }
  if (!local) co_return tl::unexpected(local.error());
  made.origin.reused_bytes = local->reused_bytes;
  for (std::vector<uint32_t>& tokens : local->prompts) made.prompts.push_back({std::move(tokens), {}});
  co_return Status{};
}

Task<PromptTokens::Made> PromptTokens::Make(parse::Api api, std::string_view body, const model::Request& request) {
  Made made;
  if (request.prompts.empty()) co_return made;
  const bool has_ids = std::all_of(request.prompts.begin(), request.prompts.end(),
                                   [](const model::Prompt& prompt) { return !prompt.tokens.empty(); });
  if (has_ids) {
    made.origin.source = "request";
    metrics_.Tokenized(pool_, "request", {});
    co_return made;
  }
  const size_t expected = request.prompts.size();
  const std::string model = request.target_model;
  const TimePoint begun = clock_.Now();
  Status status;
  if (render_ != nullptr) {
    made.waited = true;
    auto rendered = co_await render_->Render(api, body);
    if (rendered) {
      made.prompts = std::move(*rendered);
    } else {
      status = tl::unexpected(rendered.error());
    }
  } else {
    status = co_await MakeLocal(api, body, model, made);
  }
  if (status && made.prompts.size() != expected) {
    status = Fail(Code::kBadGateway, "there are " + std::to_string(made.prompts.size()) + " lists of token ids for " +
                                         std::to_string(expected) + " prompts");
  }
  const Duration took = clock_.Now() - begun;
  made.origin.tokenize_us = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count());
  made.origin.source = status ? SourceName() : "estimate";
  metrics_.Tokenized(pool_, made.origin.source, took);
  if (status) co_return made;
  made.prompts.clear();
  made.origin.missing = status.error().message;
  metrics_.NotTokenized(pool_, SourceName(), Info(status.error().code).name);
  if (failure_log_.Due()) {
    Log(Level::kWarn, kModule, "exact tokens could not be had, estimating from bytes",
        {{"pool", pool_}, {"source", SourceName()}, {"request_id", request.id}, {"reason", made.origin.missing}});
  }
  co_return made;
}

void PromptTokens::Made::Apply(model::Request& request) const {
  request.tokens = origin;
  if (prompts.size() != request.prompts.size()) return;
  for (size_t i = 0; i < prompts.size(); ++i) {
    model::Prompt& prompt = request.prompts[i];
    prompt.tokens = prompts[i].tokens;
    if (prompts[i].media.empty()) continue;
    prompt.media.clear();
    for (const RenderClient::Placeholder& media : prompts[i].media) {
      prompt.media.push_back({media.kind, media.hash, 0, media.begin, media.length});
    }
  }
}

Task<> PromptTokens::WarmUp(std::shared_ptr<PromptTokens> self) {
  if (self->render_ == nullptr) co_return;
  const Status warm = co_await self->render_->WarmUp();
  if (warm) {
    Log(Level::kInfo, kModule, "tokens come from an engine", {{"pool", self->pool_}, {"url", self->source_.url}});
  } else {
    Log(Level::kWarn, kModule, "the engine that is to tokenize does not do so yet; until then tokens are estimated",
        {{"pool", self->pool_}, {"url", self->source_.url}, {"reason", warm.error().message}});
  }
}

}  // namespace sluice::serving
