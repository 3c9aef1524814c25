// /v1/embeddings.
#include "openai/embedding_request.h"
#include "worker/generation_route.h"

namespace sluice::worker {

using net::ServerExchange;
using runtime::Task;

namespace {

struct EmbeddingJob {
  openai::EmbeddingRequest request;
  std::vector<std::vector<TokenId>> prompts;
  int prompt_tokens = 0;
};

// On the pool: the body to tokens.
Result<EmbeddingJob> PrepareEmbedding(const WorkerContext& context, const std::string& body) {
  auto request = openai::ParseEmbeddingRequest(body, context.limits);
  if (!request) return tl::unexpected<Error>(std::move(request.error()));
  EmbeddingJob job;
  job.request = std::move(*request);
  for (openai::Prompt& input : job.request.inputs) {
    std::vector<TokenId> tokens =
        input.is_tokens
            ? std::move(input.tokens)
            : context.engine.Tokens().Encode(input.text, job.request.add_special_tokens, /*parse_special=*/true);
    openai::TruncatePrompt(job.request.truncation, context.limits, tokens);
    if (tokens.size() > static_cast<size_t>(context.limits.max_model_len)) {
      const std::string length = std::to_string(tokens.size());
      return Fail(Code::kInvalidArgument,
                  "This model's maximum context length is " + std::to_string(context.limits.max_model_len) +
                      " tokens. However, your input has " + length + " tokens. Please reduce its length.",
                  "input_tokens");
    }
    if (tokens.empty()) return Fail(Code::kInvalidArgument, "input must not be empty.", "input");
    job.prompt_tokens += static_cast<int>(tokens.size());
    job.prompts.push_back(std::move(tokens));
  }
  return job;
}

using Vector = Result<std::vector<float>>;

// One prompt's vector, or kCancelled when the client left before it came.
Task<Vector> EmbedOne(WorkerContext& context, ServerExchange& exchange, std::vector<TokenId> prompt) {
  const auto box = std::make_shared<OneShot<Vector>>(context.loop);
  const Status accepted =
      context.engine.Embed(std::move(prompt), [box](Vector vector) { box->Put(std::move(vector)); });
  if (!accepted) co_return tl::unexpected<Error>(accepted.error());
  for (;;) {
    const uint32_t ready = co_await runtime::AnyOf(box->Arrived(), exchange.ClientReadable());
    if ((ready & 1U) != 0) co_return box->Take();
    if (!exchange.ClientThere()) co_return Fail(Code::kCancelled, "the client left");
  }
}

}  // namespace

Task<> HandleEmbedding(WorkerContext& context, ServerExchange& exchange, RequestRecord& record) {
  const Ids ids = IdsOf(context, exchange);
  const auto prepare = [&context](const std::string& body) { return PrepareEmbedding(context, body); };
  auto job = co_await PrepareOnPool(context, exchange, prepare);
  if (!job) co_return;
  EmbeddingJob& prepared = *job;
  record.id = ChooseId("embd-", ids.header, prepared.request.request_id, ids.random);
  record.usage.prompt_tokens = prepared.prompt_tokens;
  record.unknown_fields = prepared.request.unknown_fields;
  std::vector<openai::EmbeddingItem> items;
  // One after the other: the engine computes one at a time anyway, and its queue stays open to others.
  for (std::vector<TokenId>& prompt : prepared.prompts) {
    auto vector = co_await EmbedOne(context, exchange, std::move(prompt));
    if (!vector) {
      co_await RespondFault(context, exchange, std::move(vector.error()));
      co_return;
    }
    items.push_back({std::move(*vector)});
  }
  const openai::ResponseHead head = MakeHead(context, record.id, prepared.request.model);
  co_await RespondJson(exchange, 200,
                       openai::EmbeddingBody(head, items, prepared.request.base64, prepared.prompt_tokens));
}

}  // namespace sluice::worker
