// WorkerContext: what the routes of one worker share, and the small steps that several of them take. Internal to
// worker/. Thread rule: the loop's thread, except what is const (limits, engine, template), which the pool's threads
// read too.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "net/http_server.h"
#include "openai/chat_request.h"
#include "openai/generation.h"
#include "openai/response.h"
#include "runtime/worker_pool.h"
#include "tokenize/chat_template.h"
#include "worker/engine/engine.h"
#include "worker/mailbox.h"
#include "worker/worker_metrics.h"
#include "worker/worker_options.h"

namespace sluice::worker {

struct WorkerContext {
  runtime::Loop& loop;
  runtime::WorkerPool& pool;
  Engine& engine;
  WorkerMetrics& metrics;
  const WorkerOptions& options;
  openai::ModelLimits limits;
  std::unique_ptr<tokenize::ChatTemplate> chat_template;  // null: the model has none
  std::string model_name;                                 // in answers
  std::string fingerprint;
  int64_t started = 0;  // seconds since 1970
  Rng rng{EntropySeed()};
  bool draining = false;
  size_t generating = 0;  // requests under way on generating routes

  // The name that an answer carries: the first alias, or the adapter that was asked for.
  std::string AnswerName(const std::string& asked) const;
  // The adapter that `asked` names; empty for the base model.
  std::string Adapter(const std::string& asked) const;
};

// What a route leaves behind for the log line.
struct RequestRecord {
  std::string id;
  RequestUsage usage;
  std::vector<std::string> unknown_fields;
};

using Route = runtime::Task<> (*)(WorkerContext&, net::ServerExchange&, RequestRecord&);

// The engine requests of one HTTP request. Those that have not ended are aborted with it.
class EngineWork {
 public:
  EngineWork(runtime::Loop& loop, Engine& engine) : engine_(engine), mailbox_(std::make_shared<Mailbox>(loop)) {}
  ~EngineWork();
  EngineWork(const EngineWork&) = delete;

  // Hands one more request to the engine, as the next sequence; any thread, before the first wait.
  Status Submit(GenerateRequest request);
  size_t size() const { return ids_.size(); }
  // What has arrived; ended sequences are remembered.
  std::vector<Mailbox::Letter> Take();
  runtime::Source& Arrived() { return mailbox_->Arrived(); }
  bool AllEnded() const { return ended_ == ids_.size(); }

 private:
  Engine& engine_;
  std::shared_ptr<Mailbox> mailbox_;
  std::vector<std::string> ids_;  // emptied when ended
  size_t ended_ = 0;
};

// Waits for outputs. False: the client is gone.
runtime::Task<bool> AwaitOutputs(EngineWork& work, net::ServerExchange& exchange);
// Writes stream events and, when the client is slow, waits for it. False: the client is gone.
runtime::Task<bool> SendEvents(net::ServerExchange& exchange, std::string events, bool last);
void StartEventStream(net::ServerExchange& exchange);
runtime::Task<> RespondJson(net::ServerExchange& exchange, int status, std::string body);
// Answers a fault unless the client is gone; counts refusals by a full queue.
runtime::Task<> RespondFault(WorkerContext& context, net::ServerExchange& exchange, Error error);

// The id that goes behind "chatcmpl-": the x-request-id header, else the body's request_id, else `random`.
std::string ChooseId(std::string_view prefix, std::string_view header_id, std::string_view body_id,
                     std::string_view random);
std::string HeaderId(const net::MessageHead& head);
std::string RandomId(WorkerContext& context);
openai::ResponseHead MakeHead(const WorkerContext& context, std::string id, const std::string& model);

// Prompt tokens that are cached now and were not before (full blocks).
int CreatedCacheTokens(const ModelInfo& model, const RequestUsage& usage);

// Routes, by file.
runtime::Task<> HandleChat(WorkerContext&, net::ServerExchange&, RequestRecord&);        // chat.cc
runtime::Task<> HandleChatRender(WorkerContext&, net::ServerExchange&, RequestRecord&);  // chat.cc
runtime::Task<> HandleCompletion(WorkerContext&, net::ServerExchange&, RequestRecord&);  // completions.cc
runtime::Task<> HandleCompletionRender(WorkerContext&, net::ServerExchange&, RequestRecord&);
runtime::Task<> HandleEmbedding(WorkerContext&, net::ServerExchange&, RequestRecord&);  // embeddings.cc
runtime::Task<> HandleTokenize(WorkerContext&, net::ServerExchange&, RequestRecord&);   // tokenize_routes.cc
runtime::Task<> HandleDetokenize(WorkerContext&, net::ServerExchange&, RequestRecord&);
runtime::Task<> HandleModels(WorkerContext&, net::ServerExchange&, RequestRecord&);  // admin_routes.cc
runtime::Task<> HandleHealth(WorkerContext&, net::ServerExchange&, RequestRecord&);
runtime::Task<> HandleVersion(WorkerContext&, net::ServerExchange&, RequestRecord&);
runtime::Task<> HandleLoad(WorkerContext&, net::ServerExchange&, RequestRecord&);
runtime::Task<> HandleMetrics(WorkerContext&, net::ServerExchange&, RequestRecord&);
runtime::Task<> HandleResetPrefixCache(WorkerContext&, net::ServerExchange&, RequestRecord&);
runtime::Task<> HandleKvEventSources(WorkerContext&, net::ServerExchange&, RequestRecord&);

// Shared by chat and /tokenize; runs on the pool. Fails when the model has no chat template.
Result<std::vector<TokenId>> TokenizeConversation(const WorkerContext& context,
                                                  const openai::Conversation& conversation, bool parallel_tool_calls);

}  // namespace sluice::worker
