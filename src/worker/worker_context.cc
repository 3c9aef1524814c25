#include "worker/worker_context.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "base/text.h"
#include "openai/error_body.h"
#include "worker/engine_request.h"

namespace sluice::worker {

using net::Header;
using net::ServerExchange;
using runtime::Task;

namespace {
constexpr size_t kClientIdMax = 256;
}

std::string WorkerContext::AnswerName(const std::string& asked) const {
  const std::string adapter = Adapter(asked);
  return adapter.empty() ? model_name : adapter;
}

std::string WorkerContext::Adapter(const std::string& asked) const {
  for (const LoraModule& lora : engine.Model().loras) {
    if (lora.name == asked) return asked;
  }
  return {};
}

EngineWork::~EngineWork() {
  for (const std::string& id : ids_) {
    if (!id.empty()) engine_.Abort(id);
  }
}

Status EngineWork::Submit(GenerateRequest request) {
  // Clients choose ids, and may choose the same one twice; the engine's must differ.
  static std::atomic<uint64_t> serial{0};
  request.id += "#" + std::to_string(serial.fetch_add(1, std::memory_order_relaxed));
  std::string id = request.id;
  if (Status accepted = engine_.Submit(std::move(request), mailbox_->MakeListener(ids_.size())); !accepted)
    return accepted;
  ids_.push_back(std::move(id));
  return {};
}

std::vector<Mailbox::Letter> EngineWork::Take() {
  std::vector<Mailbox::Letter> letters = mailbox_->Take();
  for (const Mailbox::Letter& letter : letters) {
    if (letter.output.finish == FinishReason::kNone || ids_[letter.sequence].empty()) continue;
    ids_[letter.sequence].clear();
    ++ended_;
  }
  return letters;
}

Task<bool> AwaitOutputs(EngineWork& work, ServerExchange& exchange) {
  for (;;) {
    const uint32_t ready = co_await runtime::AnyOf(work.Arrived(), exchange.ClientReadable());
    if ((ready & 2U) != 0 && !exchange.ClientThere()) co_return false;
    if ((ready & 1U) != 0) co_return true;
  }
}

void StartEventStream(ServerExchange& exchange) {
  static constexpr std::array<Header, 1> kHeaders = {Header{"content-type", "text/event-stream; charset=utf-8"}};
  exchange.Start(200, kHeaders);
}

Task<bool> SendEvents(ServerExchange& exchange, std::string events, bool last) {
  exchange.Write(events, last);
  if (exchange.blocked()) {
    const bool there = co_await exchange.Flush();
    co_return there;
  }
  co_return !exchange.client_gone();
}

Task<> RespondJson(ServerExchange& exchange, int status, std::string body) {
  static constexpr std::array<Header, 1> kHeaders = {Header{"content-type", "application/json"}};
  co_await exchange.Respond(status, kHeaders, body);
}

Task<> RespondFault(WorkerContext& context, ServerExchange& exchange, Error error) {
  if (exchange.client_gone()) co_return;
  if (error.code == Code::kResourceExhausted) context.metrics.OnRejected();
  co_await exchange.RespondError(error);
}

std::string ChooseId(std::string_view prefix, std::string_view header_id, std::string_view body_id,
                     std::string_view random) {
  return std::string(prefix) + std::string(!header_id.empty() ? header_id : !body_id.empty() ? body_id : random);
}

std::string HeaderId(const net::MessageHead& head) {
  const std::string_view id = head.headers.Get("x-request-id").value_or("");
  return id.size() <= kClientIdMax ? std::string(id) : std::string();
}

std::string RandomId(WorkerContext& context) { return openai::MakeId("", "", context.rng); }

openai::ResponseHead MakeHead(const WorkerContext& context, std::string id, const std::string& model) {
  return {std::move(id), static_cast<int64_t>(context.loop.UnixSeconds()), context.AnswerName(model),
          context.fingerprint};
}

int CreatedCacheTokens(const ModelInfo& model, const RequestUsage& usage) {
  if (!model.prefix_caching || model.block_size <= 0) return 0;
  return std::max(0, usage.prompt_tokens / model.block_size * model.block_size - usage.cached_tokens);
}

Result<std::vector<TokenId>> TokenizeConversation(const WorkerContext& context,
                                                  const openai::Conversation& conversation, bool parallel_tool_calls) {
  if (context.chat_template == nullptr) {
    return Fail(Code::kInvalidArgument,
                "The model has no chat template, so it cannot take messages; start the worker with --chat-template.");
  }
  auto text = RenderConversation(*context.chat_template, conversation, parallel_tool_calls);
  if (!text) return tl::unexpected<Error>(std::move(text.error()));
  return context.engine.Tokens().Encode(*text, conversation.add_special_tokens, /*parse_special=*/true);
}

}  // namespace sluice::worker
