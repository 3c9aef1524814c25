// /v1/completions and its /render.
#include <optional>

#include "openai/completion_request.h"
#include "worker/generation_route.h"

namespace sluice::worker {

using net::ServerExchange;
using runtime::Task;

namespace {

struct CompletionJob {
  openai::CompletionRequest request;
  std::string id;
  std::vector<std::vector<TokenId>> prompts;
  std::vector<int> max_tokens;  // one a prompt
  std::unique_ptr<EngineWork> work;

  // Choices are numbered prompt by prompt.
  size_t Choices() const { return prompts.size() * static_cast<size_t>(request.generation.n); }
  size_t PromptOf(size_t choice) const { return choice / static_cast<size_t>(request.generation.n); }
};

// On the pool: the body to tokens.
Result<CompletionJob> PrepareCompletion(const WorkerContext& context, const std::string& body, const Ids& ids) {
  auto request = openai::ParseCompletionRequest(body, context.limits);
  if (!request) return tl::unexpected<Error>(std::move(request.error()));
  CompletionJob job;
  job.request = std::move(*request);
  job.id = ChooseId("cmpl-", ids.header, job.request.generation.request_id, ids.random);
  for (openai::Prompt& prompt : job.request.prompts) {
    std::vector<TokenId> tokens =
        prompt.is_tokens
            ? std::move(prompt.tokens)
            : context.engine.Tokens().Encode(prompt.text, job.request.add_special_tokens, /*parse_special=*/true);
    openai::TruncatePrompt(job.request.generation, context.limits, tokens);
    auto max_tokens = openai::MaxTokens(job.request.generation, tokens.size(), context.limits);
    if (!max_tokens) return tl::unexpected<Error>(std::move(max_tokens.error()));
    job.max_tokens.push_back(*max_tokens);
    job.prompts.push_back(std::move(tokens));
  }
  return job;
}

// On the pool: from the body to running engine requests.
Result<CompletionJob> BeginCompletion(const WorkerContext& context, const std::string& body, const Ids& ids) {
  auto job = PrepareCompletion(context, body, ids);
  if (!job) return job;
  auto grammar = ConstraintGrammar(job->request.generation.constraint);
  if (!grammar) return tl::unexpected<Error>(std::move(grammar.error()));
  job->work = std::make_unique<EngineWork>(context.loop, context.engine);
  for (size_t choice = 0; choice < job->Choices(); ++choice) {
    const size_t prompt = job->PromptOf(choice);
    const auto n = static_cast<size_t>(job->request.generation.n);
    GenerateRequest request = ToEngineRequest(job->request.generation, static_cast<int>(choice % n));
    request.id = job->id + "-" + std::to_string(prompt);
    request.prompt = job->prompts[prompt];
    request.max_tokens = job->max_tokens[prompt];
    if (request.max_tokens == 0) {  // echo alone: the prompt is computed, nothing is generated
      request.min_tokens = 0;
      request.prompt_logprobs = std::max(request.prompt_logprobs, 0);
    }
    request.grammar = grammar->text;
    request.lora = context.Adapter(job->request.model);
    if (Status accepted = job->work->Submit(std::move(request)); !accepted) {
      return tl::unexpected<Error>(std::move(accepted.error()));
    }
  }
  return job;
}

struct Choice : ChoiceState {
  std::string text;  // streams: not yet sent
};

class CompletionAnswer {
 public:
  CompletionAnswer(WorkerContext& context, const CompletionJob& job)
      : context_(context),
        job_(job),
        style_(job.request.generation.return_tokens_as_token_ids ? openai::TokenStyle::kId : openai::TokenStyle::kText),
        head_(MakeHead(context, job.id, job.request.model)),
        stream_(head_, style_, job.Choices()),
        choices_(job.Choices()) {}
  CompletionAnswer(const CompletionAnswer&) = delete;

  // Adds an output to its choice; false when the engine failed.
  bool Absorb(Mailbox::Letter& letter) {
    Choice& choice = choices_[letter.sequence];
    if (auto error = AbsorbOutput(letter.output, context_.engine.Tokens(), choice)) {
      error_ = std::move(*error);
      return false;
    }
    if (choice.finish) ++finished_;
    return true;
  }

  void KeepText(const Mailbox::Letter& letter) { choices_[letter.sequence].text += letter.output.text; }

  // An event for what a choice has to say; nothing while its text waits for more.
  void AppendEvents(std::string& out, const Mailbox::Letter& letter) {
    KeepText(letter);
    const size_t index = letter.sequence;
    Choice& choice = choices_[index];
    const openai::Generation& g = job_.request.generation;
    const bool echo = job_.request.echo && !choice.begun;
    if (choice.text.empty() && !choice.finish && !echo) return;
    std::string text = (echo ? EchoText(index) : std::string()) + choice.text;
    openai::StreamDelta delta{.index = static_cast<int>(index), .content = text};
    const openai::Usage usage{
        choice.usage.prompt_tokens, choice.usage.completion_tokens, choice.usage.cached_tokens, {}};
    if (g.logprobs && (!choice.logprobs.empty() || echo)) delta.logprobs = choice.logprobs;
    if (g.return_token_ids) delta.token_ids = choice.tokens;
    if (g.return_token_ids && !choice.begun) delta.prompt_token_ids = &job_.prompts[job_.PromptOf(index)];
    if (g.continuous_usage) delta.usage = &usage;
    if (choice.finish) {
      delta.finish = &*choice.finish;
      delta.last = finished_ == choices_.size() && !g.include_usage;
    }
    if (echo)
      stream_.AppendEcho(out, delta, FirstToken(index), choice.prompt_logprobs);
    else
      stream_.AppendDelta(out, delta);
    choice.begun = true;
    choice.text.clear();
    choice.logprobs.clear();
    choice.tokens.clear();
  }

  void AppendEnd(std::string& out) const {
    if (job_.request.generation.include_usage) stream_.AppendUsageEvent(out, TotalUsage());
  }

  std::string WholeBody() {
    std::vector<openai::CompletionChoice> out;
    const openai::Generation& g = job_.request.generation;
    for (size_t i = 0; i < choices_.size(); ++i) {
      Choice& choice = choices_[i];
      openai::CompletionChoice api;
      api.index = static_cast<int>(i);
      api.text = (job_.request.echo ? EchoText(i) : std::string()) + choice.text;
      api.finish = *choice.finish;
      if (g.logprobs) api.logprobs = std::move(choice.logprobs);
      if (g.return_token_ids) api.token_ids = std::move(choice.tokens);
      if (g.return_token_ids) api.prompt.token_ids = job_.prompts[job_.PromptOf(i)];
      if (g.prompt_logprobs) api.prompt.logprobs = std::move(choice.prompt_logprobs);
      if (job_.request.echo && g.logprobs) api.echo_first_token = FirstToken(i);
      out.push_back(std::move(api));
    }
    return openai::CompletionBody(head_, out, TotalUsage(), style_);
  }

  const Error& error() const { return error_; }
  RequestUsage Record() const {
    const openai::Usage total = TotalUsage();
    return {total.prompt_tokens, total.cached_tokens, total.completion_tokens};
  }

 private:
  std::string EchoText(size_t choice) const {
    const openai::Prompt& prompt = job_.request.prompts[job_.PromptOf(choice)];
    if (!prompt.is_tokens && !job_.request.generation.truncate_prompt_tokens) return prompt.text;
    return context_.engine.Tokens().Decode(job_.prompts[job_.PromptOf(choice)], /*skip_special=*/true);
  }
  openai::TokenText FirstToken(size_t choice) const {
    const TokenId token = job_.prompts[job_.PromptOf(choice)].front();
    return {token, context_.engine.Tokens().Piece(token, /*special=*/true), 0};
  }
  // Each prompt counts once, however many answers it gets.
  openai::Usage TotalUsage() const {
    openai::Usage usage;
    for (size_t i = 0; i < choices_.size(); ++i) {
      usage.completion_tokens += choices_[i].usage.completion_tokens;
      if (i % static_cast<size_t>(job_.request.generation.n) != 0) continue;
      usage.prompt_tokens += choices_[i].usage.prompt_tokens;
      usage.cached_tokens += choices_[i].usage.cached_tokens;
    }
    return usage;
  }

  WorkerContext& context_;
  const CompletionJob& job_;
  openai::TokenStyle style_;
  openai::ResponseHead head_;
  openai::CompletionStream stream_;
  std::vector<Choice> choices_;
  size_t finished_ = 0;
  Error error_;
};

}  // namespace

Task<> HandleCompletion(WorkerContext& context, ServerExchange& exchange, RequestRecord& record) {
  co_await ServeGeneration<CompletionAnswer>(context, exchange, record, "cmpl-", &BeginCompletion);
}

Task<> HandleCompletionRender(WorkerContext& context, ServerExchange& exchange, RequestRecord& record) {
  const Ids ids = IdsOf(context, exchange);
  const auto prepare = [&context, &ids](const std::string& body) { return PrepareCompletion(context, body, ids); };
  const auto job = co_await PrepareOnPool(context, exchange, prepare);
  if (!job) co_return;
  const CompletionJob& prepared = *job;
  record.id = prepared.id;
  std::string out = "[";
  for (size_t i = 0; i < prepared.prompts.size(); ++i) {
    if (i > 0) out += ',';
    openai::AppendRendered(out, {prepared.id + "-" + std::to_string(i), prepared.prompts[i], prepared.max_tokens[i]},
                           prepared.request.generation, context.AnswerName(prepared.request.model));
  }
  out += ']';
  co_await RespondJson(exchange, 200, std::move(out));
}

}  // namespace sluice::worker
