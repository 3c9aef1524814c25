#include "worker/worker_server.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "observe/log.h"
#include "openai/error_body.h"
#include "worker/worker_context.h"

namespace sluice::worker {

using net::Header;
using net::ServerExchange;
using runtime::Task;

namespace {

struct RouteEntry {
  std::string_view method;
  std::string_view path;
  Route route;
  bool json_body;   // refuses other content types, as vLLM does
  bool generating;  // refused while draining, waited for when draining
};

constexpr std::array kRoutes = {
    RouteEntry{"POST", "/v1/chat/completions", &HandleChat, true, true},
    RouteEntry{"POST", "/v1/completions", &HandleCompletion, true, true},
    RouteEntry{"POST", "/v1/embeddings", &HandleEmbedding, true, true},
    RouteEntry{"POST", "/v1/chat/completions/render", &HandleChatRender, true, false},
    RouteEntry{"POST", "/v1/completions/render", &HandleCompletionRender, true, false},
    RouteEntry{"GET", "/v1/models", &HandleModels, false, false},
    RouteEntry{"POST", "/tokenize", &HandleTokenize, true, false},
    RouteEntry{"POST", "/detokenize", &HandleDetokenize, true, false},
    RouteEntry{"GET", "/health", &HandleHealth, false, false},
    RouteEntry{"GET", "/ping", &HandleHealth, false, false},
    RouteEntry{"POST", "/ping", &HandleHealth, false, false},
    RouteEntry{"GET", "/version", &HandleVersion, false, false},
    RouteEntry{"GET", "/load", &HandleLoad, false, false},
    RouteEntry{"GET", "/metrics", &HandleMetrics, false, false},
    RouteEntry{"POST", "/reset_prefix_cache", &HandleResetPrefixCache, false, false},
    RouteEntry{"GET", "/kv_event_sources", &HandleKvEventSources, false, false},
};

// Compares in time that does not depend on where the texts differ.
bool SameSecret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  return difference == 0;
}

// As vLLM: keys guard /v1 only, so that probes and scrapers need none.
bool Authorized(const net::MessageHead& head, const std::vector<std::string>& keys) {
  if (keys.empty() || !head.path().starts_with("/v1")) return true;
  const std::string_view header = head.headers.Get("authorization").value_or("");
  const size_t space = header.find(' ');
  if (space == std::string_view::npos || !EqualsIgnoreCase(header.substr(0, space), "bearer")) return false;
  const std::string_view token = TrimSpace(header.substr(space + 1));
  bool found = false;
  for (const std::string& key : keys) found |= SameSecret(token, key);
  return found;
}

bool IsJson(const net::MessageHead& head) {
  const std::string_view type = head.headers.Get("content-type").value_or("");
  return EqualsIgnoreCase(TrimSpace(type.substr(0, type.find(';'))), "application/json");
}

// Counts a generating request for as long as it runs.
struct GeneratingSlot {
  GeneratingSlot(WorkerContext& context, bool counts) : context_(context), counts_(counts) {
    if (counts_) ++context_.generating;
  }
  ~GeneratingSlot() {
    if (counts_) --context_.generating;
  }
  GeneratingSlot(const GeneratingSlot&) = delete;

 private:
  WorkerContext& context_;
  bool counts_;
};

Task<> RespondDetail(ServerExchange& exchange, int status, std::string_view detail, std::string allow) {
  const std::string body = openai::DetailBody(detail);
  const std::array<Header, 2> headers = {Header{"content-type", "application/json"}, Header{"allow", allow}};
  co_await exchange.Respond(status, std::span(headers).first(allow.empty() ? 1 : 2), body);
}

void LogRequest(const ServerExchange& exchange, const RequestRecord& record, double seconds, bool routine) {
  const auto level = routine ? observe::Level::kDebug : observe::Level::kInfo;
  const net::MessageHead& head = exchange.head();
  observe::Log(level, "worker", exchange.client_gone() ? "client left" : "request done",
               {{"request_id", record.id},
                {"method", head.method},
                {"path", head.path().substr(0, 256)},
                {"status", exchange.status()},
                {"ms", seconds * 1e3},
                {"prompt_tokens", record.usage.prompt_tokens},
                {"cached_tokens", record.usage.cached_tokens},
                {"completion_tokens", record.usage.completion_tokens}});
  static observe::Every every(10);
  if (record.unknown_fields.empty() || !every.Due()) return;
  std::string names;
  for (const std::string& name : record.unknown_fields) names += (names.empty() ? "" : ", ") + name;
  observe::Log(observe::Level::kWarn, "worker", "request has unknown fields, which are ignored",
               {{"request_id", record.id}, {"fields", names}});
}

}  // namespace

WorkerServer::WorkerServer(runtime::Loop& loop, WorkerOptions options) : loop_(loop), options_(std::move(options)) {}
WorkerServer::~WorkerServer() = default;

Result<std::unique_ptr<WorkerServer>> WorkerServer::Make(runtime::Loop& loop, runtime::WorkerPool& pool, Engine& engine,
                                                         WorkerMetrics& metrics, WorkerOptions options) {
  std::unique_ptr<WorkerServer> server(new WorkerServer(loop, std::move(options)));
  const WorkerOptions& o = server->options_;
  const ModelInfo& model = engine.Model();
  server->context_.reset(new WorkerContext{loop, pool, engine, metrics, o, {}, nullptr, {}, {}});
  WorkerContext& context = *server->context_;
  context.limits.names = o.served_names.empty() ? std::vector<std::string>{model.name} : o.served_names;
  context.model_name = context.limits.names.front();
  for (const LoraModule& lora : model.loras) context.limits.names.push_back(lora.name);
  context.limits.max_model_len = model.max_model_len;
  context.limits.vocab_size = model.vocab_size;
  context.limits.sequences_max = o.sequences_max;
  context.limits.n_max = std::min(context.limits.n_max, o.sequences_max);
  context.fingerprint = "sluice-" + o.version + "-" + model.fingerprint.substr(0, 8);
  context.started = static_cast<int64_t>(loop.UnixSeconds());
  if (!engine.ChatTemplate().empty()) {
    auto loaded = tokenize::ChatTemplate::Load(engine.ChatTemplate(), model.bos_text, model.eos_text);
    if (!loaded) return tl::unexpected<Error>(std::move(loaded.error()));
    context.chat_template = std::move(*loaded);
  }
  metrics.Bind(model, context.model_name);
  net::HttpServerOptions http;
  http.body_bytes_max = o.body_bytes_max;
  http.connections_max = o.connections_max;
  http.error_body = [](const Error& error) { return openai::ErrorBody(error); };
  server->server_ = std::make_unique<net::HttpServer>(
      loop, std::move(http), [raw = server.get()](ServerExchange& exchange) { return raw->Handle(exchange); });
  return server;
}

Status WorkerServer::Listen() { return server_->Listen(options_.listen); }
const net::Address& WorkerServer::address() const { return server_->address(); }

Task<> WorkerServer::Handle(ServerExchange& exchange) {
  const net::MessageHead& head = exchange.head();
  const std::string_view path = head.path();
  const TimePoint begin = loop_.Now();
  const RouteEntry* found = nullptr;
  std::string allow;
  for (const RouteEntry& entry : kRoutes) {
    if (entry.path != path) continue;
    if (entry.method == head.method) found = &entry;
    allow += (allow.empty() ? "" : ", ") + std::string(entry.method);
  }
  RequestRecord record;
  if (!Authorized(head, options_.api_keys)) {
    co_await RespondJson(exchange, 401, openai::UnauthorizedBody());
  } else if (found == nullptr) {
    const bool known = !allow.empty();
    co_await RespondDetail(exchange, known ? 405 : 404, known ? "Method Not Allowed" : "Not Found", allow);
  } else if (found->json_body && !IsJson(head)) {
    const Error error{Code::kInvalidArgument,
                      "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed",
                      {}};
    co_await RespondJson(exchange, 400, openai::ErrorBody(error, "Bad Request"));
  } else if (found->generating && context_->draining) {
    Error error{Code::kUnavailable, "This worker is shutting down and takes no new requests; send it to another.", {}};
    co_await RespondFault(*context_, exchange, std::move(error));
  } else {
    const GeneratingSlot slot(*context_, found->generating);
    co_await found->route(*context_, exchange, record);
  }
  const double seconds = Seconds(loop_.Now() - begin);
  context_->metrics.OnHttp(found != nullptr ? found->path : std::string_view("none"),
                           found != nullptr ? found->method : std::string_view("none"), exchange.status(), seconds);
  LogRequest(exchange, record, seconds, found != nullptr && head.method == "GET");
}

Task<size_t> WorkerServer::Drain() {
  context_->draining = true;
  runtime::Timer timer(loop_);
  const TimePoint deadline = loop_.Now() + options_.drain_timeout;
  while (context_->generating > 0 && loop_.Now() < deadline) {
    timer.SetAfter(std::chrono::milliseconds(20));
    co_await runtime::AnyOf(timer);
  }
  const Duration left = std::max(deadline - loop_.Now(), Duration(std::chrono::milliseconds(100)));
  const size_t unfinished = context_->generating;
  co_await server_->Drain(unfinished > 0 ? Duration(std::chrono::milliseconds(100)) : left);
  co_return unfinished;
}

}  // namespace sluice::worker
