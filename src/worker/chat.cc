// /v1/chat/completions and its /render.
#include <optional>

#include "openai/tool_parser.h"
#include "tokenize/tool_format.h"
#include "worker/generation_route.h"

namespace sluice::worker {

using net::ServerExchange;
using runtime::Task;

namespace {

struct ChatJob {
  openai::ChatRequest request;
  std::string id;
  std::vector<TokenId> prompt;
  int max_tokens = 0;
  std::unique_ptr<EngineWork> work;
};

// On the pool: the body to tokens.
Result<ChatJob> PrepareChat(const WorkerContext& context, const std::string& body, const Ids& ids) {
  auto request = openai::ParseChatRequest(body, context.limits);
  if (!request) return tl::unexpected<Error>(std::move(request.error()));
  ChatJob job;
  job.request = std::move(*request);
  job.id = ChooseId("chatcmpl-", ids.header, job.request.generation.request_id, ids.random);
  auto prompt = TokenizeConversation(context, job.request.conversation, job.request.parallel_tool_calls);
  if (!prompt) return tl::unexpected<Error>(std::move(prompt.error()));
  job.prompt = std::move(*prompt);
  openai::TruncatePrompt(job.request.generation, context.limits, job.prompt);
  auto max_tokens = openai::MaxTokens(job.request.generation, job.prompt.size(), context.limits);
  if (!max_tokens) return tl::unexpected<Error>(std::move(max_tokens.error()));
  job.max_tokens = *max_tokens;
  return job;
}

// On the pool: from the body to running engine requests.
Result<ChatJob> BeginChat(const WorkerContext& context, const std::string& body, const Ids& ids) {
  auto job = PrepareChat(context, body, ids);
  if (!job) return job;
  auto grammar = ChatGrammar(job->request);
  if (!grammar) return tl::unexpected<Error>(std::move(grammar.error()));
  job->work = std::make_unique<EngineWork>(context.loop, context.engine);
  for (int i = 0; i < job->request.generation.n; ++i) {
    GenerateRequest request = ToEngineRequest(job->request.generation, i);
    request.id = job->id;
    request.prompt = job->prompt;
    request.max_tokens = job->max_tokens;
    request.grammar = grammar->text;
    request.grammar_lazy = grammar->lazy;
    request.grammar_triggers = grammar->triggers;
    request.lora = context.Adapter(job->request.model);
    if (Status accepted = job->work->Submit(std::move(request)); !accepted) {
      return tl::unexpected<Error>(std::move(accepted.error()));
    }
  }
  return job;
}

struct Choice : ChoiceState {
  std::optional<openai::ToolParser> tools;
  std::string content;  // whole answers: all of it
};

// The answer under way: takes outputs, makes events or a body.
class ChatAnswer {
 public:
  ChatAnswer(WorkerContext& context, const ChatJob& job)
      : context_(context),
        job_(job),
        style_(job.request.generation.return_tokens_as_token_ids ? openai::TokenStyle::kId : openai::TokenStyle::kText),
        head_(MakeHead(context, job.id, job.request.model)),
        stream_(head_, style_),
        choices_(static_cast<size_t>(job.request.generation.n)) {
    if (job.request.tool_choice == openai::ToolChoice::kNone) return;
    for (Choice& choice : choices_) choice.tools.emplace(Markers(), [this] { return ToolId(); });
  }
  ChatAnswer(const ChatAnswer&) = delete;

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

  void AppendEvents(std::string& out, const Mailbox::Letter& letter) {
    Choice& choice = choices_[letter.sequence];
    const auto index = static_cast<int>(letter.sequence);
    if (!choice.begun) AppendBegin(out, choice, index);
    openai::ToolOutput pieces;
    if (choice.tools) {
      choice.tools->Feed(letter.output.text, pieces);
      if (choice.finish) {
        choice.tools->Finish(pieces);
        if (choice.tools->Calls() > 0) NoteCalls(*choice.finish);
      }
      context_.metrics.OnToolParse(true, !pieces.deltas.empty());
    } else {
      pieces.content = letter.output.text;
    }
    AppendPieces(out, choice, index, pieces);
  }

  void AppendEnd(std::string& out) const {
    if (job_.request.generation.include_usage) stream_.AppendUsageEvent(out, TotalUsage());
  }

  std::string WholeBody() {
    std::vector<openai::ChatChoice> out;
    for (size_t i = 0; i < choices_.size(); ++i) {
      Choice& choice = choices_[i];
      openai::ChatChoice api{static_cast<int>(i), std::move(choice.content), {}, *choice.finish, {}, {}};
      if (choice.tools) TakeToolCalls(api);
      if (job_.request.echo) api.content.insert(0, job_.request.last_message);
      if (job_.request.generation.logprobs) api.logprobs = std::move(choice.logprobs);
      if (job_.request.generation.return_token_ids) api.token_ids = std::move(choice.tokens);
      out.push_back(std::move(api));
    }
    openai::PromptExtras prompt;
    if (job_.request.generation.return_token_ids) prompt.token_ids = job_.prompt;
    if (job_.request.generation.prompt_logprobs) prompt.logprobs = std::move(choices_[0].prompt_logprobs);
    return openai::ChatBody(head_, out, TotalUsage(), prompt, style_);
  }

  void KeepText(const Mailbox::Letter& letter) { choices_[letter.sequence].content += letter.output.text; }
  const Error& error() const { return error_; }
  RequestUsage Record() const {
    const openai::Usage total = TotalUsage();
    return {total.prompt_tokens, total.cached_tokens, total.completion_tokens};
  }

 private:
  static openai::ToolMarkers Markers() {
    return {std::string(tokenize::kToolCallBegin), std::string(tokenize::kToolCallEnd)};
  }
  std::string ToolId() { return openai::MakeId("chatcmpl-tool-", "", context_.rng); }

  void TakeToolCalls(openai::ChatChoice& api) {
    openai::WholeOutput whole = openai::ParseToolCalls(api.content, Markers(), [this] { return ToolId(); });
    context_.metrics.OnToolParse(false, !whole.calls.empty());
    api.content = std::move(whole.content);
    for (openai::WholeCall& call : whole.calls) {
      api.tool_calls.push_back({std::move(call.id), std::move(call.name), std::move(call.arguments)});
    }
    if (!api.tool_calls.empty()) NoteCalls(api.finish);
  }

  // The model chose to call: "tool_calls". A call that the request named leaves "stop", as OpenAI and vLLM have it.
  void NoteCalls(openai::Finish& finish) const {
    const bool chosen = job_.request.tool_choice != openai::ToolChoice::kNamed;
    if (chosen && finish.reason == "stop") finish.reason = "tool_calls";
  }

  openai::Usage ChoiceUsage(const Choice& choice) const {
    return {choice.usage.prompt_tokens, choice.usage.completion_tokens, choice.usage.cached_tokens, {}};
  }
  // The prompt counts once, however many answers it gets.
  openai::Usage TotalUsage() const {
    openai::Usage usage = ChoiceUsage(choices_[0]);
    for (size_t i = 1; i < choices_.size(); ++i) usage.completion_tokens += choices_[i].usage.completion_tokens;
    usage.created_cache_tokens = CreatedCacheTokens(context_.engine.Model(), choices_[0].usage);
    return usage;
  }

  void AppendBegin(std::string& out, Choice& choice, int index) {
    choice.begun = true;
    openai::Usage usage = ChoiceUsage(choice);
    usage.completion_tokens = 0;
    const openai::Generation& g = job_.request.generation;
    stream_.AppendRole(out, index, g.return_token_ids ? &job_.prompt : nullptr, g.continuous_usage ? &usage : nullptr);
    if (job_.request.echo && !job_.request.last_message.empty()) {
      stream_.AppendDelta(out, {.index = index, .content = job_.request.last_message});
    }
  }

  // One event for the content, one for each piece of a tool call; the last one says how the choice ended. Without news
  // nothing is sent: the token's log-probabilities wait for the text that it becomes part of.
  void AppendPieces(std::string& out, Choice& choice, int index, const openai::ToolOutput& pieces) {
    const bool content = !pieces.content.empty();
    const size_t events = (content ? 1 : 0) + pieces.deltas.size();
    if (events == 0 && !choice.finish) return;
    const openai::Generation& g = job_.request.generation;
    const openai::Usage usage = ChoiceUsage(choice);
    for (size_t i = 0; i < std::max<size_t>(events, 1); ++i) {
      openai::StreamDelta delta{.index = index};
      if (content && i == 0)
        delta.content = pieces.content;
      else if (events > 0)
        delta.tool_calls = std::span(pieces.deltas).subspan(i - (content ? 1 : 0), 1);
      if (i == 0 && g.logprobs && !choice.logprobs.empty()) delta.logprobs = choice.logprobs;
      if (i == 0 && g.return_token_ids) delta.token_ids = choice.tokens;
      if (g.continuous_usage) delta.usage = &usage;
      if (i + 1 >= events && choice.finish) {
        delta.finish = &*choice.finish;
        delta.last = finished_ == choices_.size() && !g.include_usage;
      }
      stream_.AppendDelta(out, delta);
    }
    choice.logprobs.clear();
    choice.tokens.clear();
  }

  WorkerContext& context_;
  const ChatJob& job_;
  openai::TokenStyle style_;
  openai::ResponseHead head_;
  openai::ChatStream stream_;
  std::vector<Choice> choices_;
  size_t finished_ = 0;
  Error error_;
};

}  // namespace

Task<> HandleChat(WorkerContext& context, ServerExchange& exchange, RequestRecord& record) {
  co_await ServeGeneration<ChatAnswer>(context, exchange, record, "chatcmpl-", &BeginChat);
}

Task<> HandleChatRender(WorkerContext& context, ServerExchange& exchange, RequestRecord& record) {
  const Ids ids = IdsOf(context, exchange);
  const auto prepare = [&context, &ids](const std::string& body) { return PrepareChat(context, body, ids); };
  const auto job = co_await PrepareOnPool(context, exchange, prepare);
  if (!job) co_return;
  const ChatJob& prepared = *job;
  record.id = prepared.id;
  std::string out;
  openai::AppendRendered(out, {prepared.id, prepared.prompt, prepared.max_tokens}, prepared.request.generation,
                         context.AnswerName(prepared.request.model));
  co_await RespondJson(exchange, 200, std::move(out));
}

}  // namespace sluice::worker
