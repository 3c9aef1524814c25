#include "gateway/gateway.h"

#include <array>

#include "base/text.h"
#include "observe/log.h"
#include "openai/error_body.h"
#include "schedule/receipt_text.h"

namespace sluice::gateway {

using observe::Level;
using observe::Log;
using runtime::Task;

namespace {

constexpr std::string_view kModule = "gateway";
constexpr size_t kRequestIdMax = 128;

// Names that a client may not set for an endpoint, and those that the gateway writes itself.
bool IsOwnHeader(std::string_view name) {
  static constexpr std::array<std::string_view, 6> kNames = {"host",
                                                             "content-length",
                                                             "expect",
                                                             "x-request-id",
                                                             "x-gateway-destination-endpoint",
                                                             "x-gateway-destination-endpoint-served"};
  for (const std::string_view own : kNames) {
    if (EqualsIgnoreCase(own, name)) return true;
  }
  return false;
}

// The first header of these names, newest name first, or empty.
std::string_view HeaderOf(const net::MessageHead& head, std::string_view name, std::string_view old_name) {
  if (const auto value = head.headers.Get(name)) return *value;
  return head.headers.Get(old_name).value_or(std::string_view());
}

// The objective's priority. InferenceObjective resources are not read; the criticality names that came before them
// stand for priorities of their own, anything else for 0.
int PriorityOf(std::string_view objective) {
  if (EqualsIgnoreCase(objective, "sheddable")) return -1;
  return EqualsIgnoreCase(objective, "critical") ? 1 : 0;
}

// The gateway's own routes; no parser is asked about them.
bool IsOwnPath(std::string_view path) {
  static constexpr std::array<std::string_view, 8> kPaths = {"/v1/models", "/health", "/healthz", "/ping",
                                                             "/ready",     "/readyz", "/version", "/metrics"};
  for (const std::string_view own : kPaths) {
    if (path == own) return true;
  }
  return path.starts_with("/debug/");
}

double Milliseconds(Duration d) { return static_cast<double>(d.count()) / 1e6; }

}  // namespace

// What one request gathers on its way, for its log line and its metrics.
struct Gateway::Served {
  std::string_view request_id;
  GatewayMetrics::Series* series = nullptr;
  TimePoint received;
  std::string endpoint;  // "ip:port" of the last one tried
  int tries = 0;
  uint64_t receipt = schedule::ReceiptRing::kNotKept;
};

namespace {

// Passes a relay's progress on to the policy and the metrics.
class Follower final : public RelayObserver {
 public:
  // `series` is null when the answer is not streamed: then there is no time between tokens.
  Follower(schedule::PolicyState& state, schedule::Ticket& ticket, GatewayMetrics& metrics,
           GatewayMetrics::Series* series)
      : state_(state), ticket_(ticket), metrics_(metrics), series_(series) {}
  void OnFirstByte() override { schedule::OnFirstChunk(state_, ticket_); }
  void OnPiece(Duration since_previous) override {
    if (series_ != nullptr) metrics_.InterToken(*series_, since_previous);
  }

 private:
  schedule::PolicyState& state_;
  schedule::Ticket& ticket_;
  GatewayMetrics& metrics_;
  GatewayMetrics::Series* series_;
};

}  // namespace

Gateway::Gateway(runtime::Loop& loop, GatewayOptions options)
    : loop_(loop),
      options_(std::move(options)),
      rng_(options_.seed != 0 ? options_.seed : EntropySeed()),
      metrics_(registry_),
      client_(loop, {}),
      reader_({.bytes_max = options_.body_bytes_max}),
      receipts_({.count_max = options_.receipts_max, .bytes_max = options_.receipts_bytes_max}),
      server_(loop,
              {.body_bytes_max = options_.body_bytes_max,
               .error_body = [](const Error& error) { return openai::ErrorBody(error); }},
              [this](net::ServerExchange& exchange) { return Handle(exchange); }) {}

Gateway::~Gateway() = default;

Result<std::unique_ptr<Gateway>> Gateway::Open(runtime::Loop& loop, GatewayOptions options) {
  std::unique_ptr<Gateway> gateway(new Gateway(loop, std::move(options)));
  for (PoolOptions& pool_options : gateway->options_.pools) {
    auto pool = ServingPool::Open(loop, gateway->client_, gateway->metrics_, pool_options);
    if (!pool) return tl::unexpected(pool.error());
    for (const auto& other : gateway->pools_) {
      if (other->name() == (*pool)->name()) {
        return Fail(Code::kInvalidArgument,
                    "two pools are named '" + other->name() + "'; give each its own --pool-name");
      }
    }
    gateway->pools_.push_back(std::move(*pool));
  }
  return gateway;
}

Status Gateway::Listen() {
  const Status listening = server_.Listen(options_.listen);
  if (!listening) return listening;
  for (const auto& pool : pools_) pool->Start();
  return {};
}

Task<size_t> Gateway::Drain() {
  const size_t cut = co_await server_.Drain(options_.drain_timeout);
  co_return cut;
}

std::string Gateway::RequestIdOf(const net::MessageHead& head) {
  const auto given = head.headers.Get("x-request-id");
  if (given && !given->empty() && given->size() <= kRequestIdMax && net::IsHeaderValue(*given))
    return std::string(*given);
  return MakeUuid(rng_);
}

Task<> Gateway::Answer(net::ServerExchange& exchange, int status, std::string_view type, std::string_view body,
                       std::string_view request_id) {
  std::array<net::Header, 3> headers = {net::Header{"content-type", type}, net::Header{"x-request-id", request_id}};
  size_t n = 2;
  if (status == 429 || status == 503) headers[n++] = {"retry-after", "1"};
  co_await exchange.Respond(status, std::span<const net::Header>(headers.data(), n), body);
}

Task<> Gateway::AnswerError(net::ServerExchange& exchange, const Error& error, std::string_view request_id) {
  const std::string body = openai::ErrorBody(error);
  co_await Answer(exchange, Info(error.code).http_status, "application/json", body, request_id);
}

Task<> Gateway::Handle(net::ServerExchange& exchange) {
  const std::string request_id = RequestIdOf(exchange.head());
  const std::string_view path = exchange.head().path();
  const std::string_view method = exchange.head().method;
  if (method == "POST" && !IsOwnPath(path)) {
    const Result<parse::Route> route = RouteOf(path);
    if (route)
      co_await Infer(exchange, *route, request_id);
    else
      co_await AnswerError(exchange, route.error(), request_id);
    co_return;
  }
  constexpr std::string_view kJson = "application/json";
  constexpr std::string_view kDecisions = "/debug/decisions/";
  std::string body;
  int status = 200;
  std::string_view type = kJson;
  const bool get = method == "GET" || method == "HEAD";
  if (path == "/v1/models" && get) {
    body = ModelsBody();
  } else if ((path == "/health" || path == "/ping" || path == "/healthz") && get) {
    body = "{}";
  } else if ((path == "/ready" || path == "/readyz") && get) {
    const bool ready = Ready(exchange.head().query() == "endpoints=all");
    status = ready ? 200 : 503;
    body = ready ? R"({"ready":true})" : R"({"ready":false})";
  } else if (path == "/version" && get) {
    body = R"({"version":")" SLUICE_VERSION R"("})";
  } else if (path == "/metrics" && get) {
    for (const auto& pool : pools_) metrics_.Pool(pool->name(), *pool->View(), loop_.Now());
    body = registry_.Render();
    type = "text/plain; version=0.0.4; charset=utf-8";
  } else if (path == "/debug/endpoints" && get) {
    body = EndpointsBody();
  } else if (path.starts_with(kDecisions) && get) {
    const std::string_view wanted = path.substr(kDecisions.size());
    const model::Receipt* receipt = receipts_.Find(wanted);
    if (receipt == nullptr) {
      status = 404;
      body = openai::ErrorBody({Code::kNotFound,
                                "no decision with the request id '" + std::string(wanted) + "' is kept (the last " +
                                    std::to_string(receipts_.size()) +
                                    " are); the id is in the answer's x-request-id header",
                                ""});
    } else {
      const bool table = exchange.head().query() == "format=table";
      body = table ? schedule::ReceiptTable(*receipt) : schedule::ReceiptJson(*receipt);
      if (table) type = "text/plain; charset=utf-8";
    }
  } else {
    const bool known = IsOwnPath(path) ? !get : AnyParserClaims(path);
    status = known ? 405 : 404;
    body = openai::DetailBody(known ? "Method Not Allowed" : "Not Found");
  }
  co_await Answer(exchange, status, type, body, request_id);
  Log(Level::kDebug, kModule, "request",
      {{"request_id", request_id}, {"method", method}, {"path", path}, {"status", status}});
}

Result<parse::Route> Gateway::RouteOf(std::string_view path) const {
  std::optional<parse::Route> fallback;
  for (const auto& pool : pools_) {
    auto route = pool->parsers().For(path);
    if (route && route->api != parse::Api::kOpaque) return *route;
    if (route && !fallback) fallback = *route;
  }
  if (fallback) return *fallback;
  return parse::ParserTable().For(path);  // none: says so
}

bool Gateway::AnyParserClaims(std::string_view path) const {
  for (const auto& pool : pools_) {
    if (pool->parsers().Claims(path)) return true;
  }
  return false;
}

// A body that nobody reads names no model: it goes to the first pool that takes such.
Result<ServingPool*> Gateway::PoolFor(const parse::Route& route, model::Request& request) {
  if (route.api != parse::Api::kOpaque) return PoolOfModel(request);
  for (const auto& pool : pools_) {
    if (pool->parsers().has_fallback()) return pool.get();
  }
  return Fail(Code::kUnavailable, "no pool passes such requests on");
}

Result<ServingPool*> Gateway::PoolOfModel(model::Request& request) {
  bool any_known = false;
  if (!request.model.empty()) {
    for (const auto& pool : pools_) {
      if (pool->Serves(request.model)) {
        pool->ExcludeOthers(request.model, request.excluded);
        return pool.get();
      }
      any_known = any_known || pool->AnyModelKnown();
    }
    if (any_known) {
      return Fail(Code::kNotFound, "The model `" + request.model + "` does not exist.", "model");
    }
    return Fail(Code::kUnavailable,
                "no endpoint has answered yet; try again in a moment (`sluice get` shows their state)");
  }
  if (pools_.size() == 1) return pools_.front().get();
  return Fail(Code::kInvalidArgument, "the request names no `model`, and several are served; GET /v1/models lists them",
              "model");
}

// The text of a request's prompts are views into the reader, which others have used since.
Result<parse::BodyFacts> Gateway::ReadAgain(const parse::Route& route, std::string_view body, model::Request& request) {
  request.prompts.clear();
  return parse::ReadRequest(route, reader_, body, request);
}

void Gateway::LogScores(const ServingPool& pool, const model::Decision& decision) {
  if (!observe::Enabled(Level::kInfo, "schedule")) return;
  const schedule::PodScores scores = schedule::PodScoresOf(decision.receipt);
  Log(Level::kInfo, "schedule", "Got pod scores",
      {{"x-request-id", scores.request_id},
       {"model", scores.model},
       {"resolvedTargetModel", scores.resolved_target_model},
       {"criticality", scores.criticality},
       {"pool", pool.name()},
       {"scores", observe::Field::Json{scores.scores_json}}});
}

Task<> Gateway::Infer(net::ServerExchange& exchange, parse::Route route, std::string_view request_id) {
  Served served{.request_id = request_id, .received = loop_.Now(), .endpoint = {}};
  auto body = co_await exchange.ReadBody();
  if (!body) {
    if (!exchange.client_gone()) co_await AnswerError(exchange, body.error(), request_id);
    co_return;
  }
  const net::MessageHead& head = exchange.head();
  model::Request request;
  request.id = request_id;
  if (const std::string_view tenant =
          HeaderOf(head, "x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id");
      !tenant.empty()) {
    request.fairness_id = tenant;
  }
  request.objective = HeaderOf(head, "x-llm-d-inference-objective", "x-gateway-inference-objective");
  request.priority = PriorityOf(request.objective);

  std::vector<net::Header> headers;
  headers.reserve(head.headers.size() + 1);
  request.headers.reserve(head.headers.size());
  for (const net::Header header : head.headers) {
    request.headers.emplace_back(header.name, header.value);
    if (!net::IsHopByHop(header.name) && !IsOwnHeader(header.name)) headers.push_back(header);
  }
  headers.push_back({"x-request-id", request_id});

  auto read = parse::ReadRequest(route, reader_, *body, request);
  if (read && read->transfer_params) {
    Log(Level::kWarn, kModule, "a client's transfer parameters were removed", {{"request_id", request_id}});
    body = parse::RemoveTransferParams(route, *body);
    if (body)
      read = ReadAgain(route, *body, request);
    else
      read = tl::unexpected(body.error());
  }
  Result<ServingPool*> pool = read ? PoolFor(route, request) : Result<ServingPool*>(tl::unexpected(read.error()));
  if (pool) schedule::ReadHeaders((*pool)->state().policy(), request);
  served.series = &metrics_.SeriesOf(request.model, request.target_model, request.fairness_id, request.priority);
  std::optional<Error> failure;
  RelayReport report;
  bool relayed = false;
  if (!pool) failure = pool.error();
  // The pool that serves the model may have fewer parsers than the one that knew the path.
  if (pool && !(*pool)->parsers().For(head.path())) failure = (*pool)->parsers().For(head.path()).error();

  while (!failure && !relayed) {
    const std::shared_ptr<const model::PoolView> view = (*pool)->View();
    const TimePoint before = clock_.Now();
    schedule::Decide(request, *view, (*pool)->state(), clock_, rng_, decision_);
    const Duration took = clock_.Now() - before;
    if (served.tries == 0 || decision_.ok()) LogScores(**pool, decision_);
    if (!decision_.receipt.notes.empty() && note_log_.Due()) {
      Log(Level::kWarn, kModule, "a decision was made without all of its data",
          {{"request_id", request_id}, {"missing", decision_.receipt.notes.front()}});
    }
    served.receipt = receipts_.Push(decision_.receipt);
    if (!decision_.ok()) {
      metrics_.NotScheduled(*served.series, took);
      if (!report.error)
        failure = decision_.error;
      else
        failure = report.error;  // every endpoint was tried: what the last one did says more
      break;
    }
    const model::Target target = decision_.pick();
    schedule::Ticket ticket = schedule::OnDispatch(request, *view, (*pool)->state(), decision_, clock_);
    metrics_.Scheduled(*served.series, request.body_bytes, took, *target.endpoint);
    metrics_.Running(*served.series, 1);
    served.endpoint = target.endpoint->host_port();
    ++served.tries;

    const std::array<net::Header, 2> added = {net::Header{"x-request-id", request_id},
                                              net::Header{"x-gateway-destination-endpoint-served", served.endpoint}};
    Follower follower((*pool)->state(), ticket, metrics_, request.streaming ? served.series : nullptr);
    RelayRequest relay{.address = {target.endpoint->address, target.endpoint->port},
                       .method = head.method,
                       .target = head.target,
                       .headers = headers,
                       .body = *body,
                       .response_headers = added,
                       .silence_max = options_.silence_max,
                       .usage = route.answer_has_usage() ? route.parser->usage : parse::UsageStyle::kNone};
    report = co_await Relay(client_, exchange, relay, follower);
    metrics_.Running(*served.series, -1);

    const bool usable = report.outcome == RelayOutcome::kDone && report.status < 400;
    schedule::ResponseEnd end{.failed = !usable};
    if (report.usage) {
      end.prompt_tokens = report.usage->prompt_tokens;
      end.cached_tokens = report.usage->cached_tokens;
      end.output_tokens = report.usage->completion_tokens;
    }
    schedule::OnResponseEnd((*pool)->state(), std::move(ticket), end);
    if (report.outcome != RelayOutcome::kNotSent) {
      if (report.outcome == RelayOutcome::kDone)
        (*pool)->Answered(target.id);
      else if (report.outcome == RelayOutcome::kBroken)
        (*pool)->Failed(target.id, *report.error);
      relayed = true;
      break;
    }
    (*pool)->Failed(target.id, *report.error);
    Log(Level::kWarn, kModule, "endpoint failed, trying another",
        {{"request_id", request_id}, {"endpoint", served.endpoint}, {"error", report.error->message}});
    if (served.tries >= options_.tries_max) {
      failure = report.error;
      break;
    }
    metrics_.Retried("no-answer");
    request.excluded.push_back(target.id);
    read = ReadAgain(route, *body, request);
    if (!read) failure = read.error();
  }

  if (!failure && !exchange.started() && report.outcome != RelayOutcome::kClientLeft) failure = report.error;
  if (failure) {
    metrics_.Failed(*served.series, failure->code);
    co_await AnswerError(exchange, *failure, request_id);
  } else {
    if (report.outcome == RelayOutcome::kDone) {
      metrics_.Ended(*served.series, report, served.received, request.streaming);
      if (report.status >= 400) metrics_.Failed(*served.series, CodeFromHttp(report.status));
    } else {
      metrics_.Failed(*served.series, report.error ? report.error->code : Code::kCancelled);
    }
    model::Observed observed{.served_by = served.endpoint, .http_status = report.status};
    if (report.first_byte) observed.ttft_ms = Milliseconds(*report.first_byte - served.received);
    observed.e2e_ms = Milliseconds(loop_.Now() - served.received);
    if (report.usage) observed.cached_tokens = report.usage->cached_tokens;
    receipts_.Observe(served.receipt, std::move(observed));
  }
  const parse::Usage usage = report.usage.value_or(parse::Usage{});
  Log(failure || report.error ? Level::kWarn : Level::kInfo, "access",
      report.outcome == RelayOutcome::kClientLeft ? "client left" : "request",
      {{"request_id", request_id},
       {"path", head.path()},
       {"model", request.model},
       {"status", exchange.status()},
       {"endpoint", served.endpoint},
       {"tries", served.tries},
       {"stream", request.streaming},
       {"ttft_ms", report.first_byte ? Milliseconds(*report.first_byte - served.received) : -1.0},
       {"ms", Milliseconds(loop_.Now() - served.received)},
       {"prompt_tokens", usage.prompt_tokens},
       {"cached_tokens", usage.cached_tokens},
       {"completion_tokens", usage.completion_tokens},
       {"error", failure        ? failure->message
                 : report.error ? report.error->message
                                : std::string()}});
}

}  // namespace sluice::gateway
