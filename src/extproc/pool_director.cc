#include "extproc/pool_director.h"

#include "parse/json_edit.h"
#include "parse/read_request.h"
#include "schedule/decide.h"
#include "serving/call_log.h"

namespace sluice::extproc {

using observe::Level;

namespace {

constexpr std::string_view kModule = "extproc";

// Of these names the newer one first; the last value of each.
std::string_view HeaderOf(const model::Request& request, std::string_view name, std::string_view old_name) {
  if (const std::string_view value = request.Header(name); !value.empty()) return value;
  return request.Header(old_name);
}

// Methods of an engine whose answers upstream does not look at: counting tokens, and gRPC that no parser knows.
bool SkipsResponse(const parse::Route& route, const model::Request& request) {
  if (route.api == parse::Api::kOpaque) return request.Header("content-type").starts_with("application/grpc");
  return route.api == parse::Api::kModelOnly && route.parser->type == "anthropic-parser";
}

}  // namespace

PoolDirector::PoolDirector(DirectorParts& parts) : parts_(parts), received_(parts.loop.Now()) {}

PoolDirector::~PoolDirector() {
  if (flight_) OnEnd(EndCause::kError);  // the connection was cut
}

tl::expected<Routing, Refusal> PoolDirector::AnyEndpoint() {
  const std::shared_ptr<const model::PoolView> view = parts_.pool.View();
  std::vector<size_t> rows;
  for (size_t row = 0; row < view->size(); ++row) {
    if (view->in_rotation[row] != 0) rows.push_back(row);
  }
  for (size_t row = 0; rows.empty() && row < view->size(); ++row) rows.push_back(row);  // better one that may be dead
  if (view->size() == 0) {
    return tl::unexpected(
        Refusal{.error = {Code::kInternal, "no pods available in datastore", ""}, .dropped_reason = {}});
  }
  Routing routing;
  routing.destination = view->endpoint(rows[parts_.rng.Below(rows.size())]).host_port();
  return routing;
}

void PoolDirector::ReadHead(const RequestText& request) {
  request_.id = request.id;
  request_.headers.reserve(request.headers.size());
  for (const HeaderView& header : request.headers) {
    request_.headers.emplace_back(header.name, header.value);
    asks_router_ = asks_router_ || header.name.starts_with("x-llm-d-") || header.name.starts_with("x-gateway-");
  }
  if (asks_router_) {
    request_.fairness_id = HeaderOf(request_, "x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id");
    request_.objective = HeaderOf(request_, "x-llm-d-inference-objective", "x-gateway-inference-objective");
  }
  request_.subset = request.subset;
  path_ = parse::PathOf(request_);
  path_.resize(std::min(path_.size(), path_.find('?')));
}

Status PoolDirector::ReadBody(std::string_view body) {
  const auto route = parts_.pool.parsers().For(path_);
  if (!route) return tl::unexpected(route.error());
  route_ = *route;
  const auto facts = parse::ReadRequest(*route, parts_.reader, body, request_);
  if (!facts) return tl::unexpected(facts.error());
  const std::string_view wanted = asks_router_
                                      ? HeaderOf(request_, "x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")
                                      : std::string_view();
  if (!facts->can_rewrite_model) {
    request_.target_model = wanted;
    return {};
  }
  if (!wanted.empty()) request_.target_model = wanted;
  const auto ruled = parts_.pool.objects().Rewrite(request_.model, parts_.rng);
  if (ruled) {
    request_.target_model = ruled->target;  // a rule wins over the header
    parts_.metrics.Rewritten(ruled->object, request_.model, request_.target_model);
  }
  const bool any_model_will_do = route->api == parse::Api::kModelOnly && !ruled;  // tokenizing, say
  if (request_.target_model.empty() && !any_model_will_do)
    return Fail(Code::kInvalidArgument, "model not found in request body");
  if (request_.target_model == request_.model) return {};
  auto rewritten = parse::RewriteModel(body, request_.target_model);
  if (!rewritten) return tl::unexpected(rewritten.error());
  rewritten_ = std::move(*rewritten);
  return {};
}

// The prompts are views into the reader, which other requests have used since.
Status PoolDirector::ReadAgain(std::string_view body) {
  const std::string model = request_.model, target = request_.target_model;
  request_.prompts.clear();
  const auto facts = parse::ReadRequest(*route_, parts_.reader, body, request_);
  request_.model = model;
  request_.target_model = target;
  return facts ? Status{} : Status(tl::unexpected(facts.error()));
}

runtime::Task<> PoolDirector::Tokenize(PoolDirector* self, std::string_view body, std::function<void()> ready) {
  const std::shared_ptr<serving::PromptTokens> source = self->parts_.pool.prompt_tokens();
  const std::string_view sent = self->rewritten_ ? std::string_view(*self->rewritten_) : body;
  self->tokens_ = co_await source->Make(self->route_->api, sent, self->request_);
  self->read_ = self->ReadAgain(body);
  self->tokens_.Apply(self->request_);
  ready();
}

bool PoolDirector::Prepare(const RequestText& request, std::function<void()> ready) {
  ReadHead(request);
  read_ = ReadBody(request.body);
  if (!read_ || parts_.pool.prompt_tokens() == nullptr) return true;
  tokenizing_.emplace(parts_.loop);
  tokenizing_->Spawn(Tokenize(this, request.body, std::move(ready)));
  return false;
}

tl::expected<Routing, Refusal> PoolDirector::Refused(Refusal refusal) {
  parts_.metrics.Failed(*series_, refusal.error.code);
  LogAccess(EndCause::kError, refusal.error.message);
  return tl::unexpected(std::move(refusal));
}

tl::expected<Routing, Refusal> PoolDirector::Route(const RequestText& /*request*/) {
  request_.priority = parts_.pool.PriorityOf(request_.objective);
  schedule::ReadHeaders(parts_.pool.scheduler().policy(), request_);
  series_ = &parts_.metrics.SeriesOf(request_.model, request_.target_model, request_.fairness_id, request_.priority);
  if (!read_) return Refused({.error = read_.error(), .dropped_reason = {}});
  auto routing = Decide();
  if (!routing) return routing;
  routing->streaming = request_.streaming;
  routing->skip_response = SkipsResponse(*route_, request_);
  if (rewritten_) {
    routing->body = std::move(*rewritten_);
    if (!request_.model.empty()) {
      routing->model_sent = request_.target_model;
      routing->model_asked = request_.model;
    }
  }
  usage_ = parse::UsageReader(route_->answer_has_usage() ? route_->parser->usage : parse::UsageStyle::kNone);
  request_.prompts.clear();
  request_.headers.clear();
  return routing;
}

tl::expected<Routing, Refusal> PoolDirector::Decide() {
  const std::shared_ptr<const model::PoolView> view = parts_.pool.View();
  schedule::Scheduler& scheduler = parts_.pool.scheduler();
  const TimePoint before = parts_.clock.Now();
  const model::Decision& decision = scheduler.Decide(request_, *view);
  const Duration took = parts_.clock.Now() - before;
  serving::CountIncomplete(parts_.metrics, parts_.note_log, kModule, parts_.pool.name(), decision.receipt);
  serving::LogScores(parts_.pool.name(), decision.receipt);
  receipt_ = parts_.receipts.Push(decision.receipt);
  if (!decision.ok()) {
    parts_.metrics.NotScheduled(*series_, took);
    return Refused({.error = *decision.error,
                    .dropped_reason = decision.receipt.dropped_reason,
                    .refused_by = decision.receipt.refused_by});
  }
  parts_.metrics.Scheduled(*series_, request_.body_bytes, took, *decision.pick().endpoint);
  picked_ = decision.pick().id;
  Routing routing;
  flight_ = scheduler.Dispatch(request_, *view);
  Describe(scheduler.decision(), routing);
  endpoint_ = routing.destination.substr(0, routing.destination.find(','));
  parts_.metrics.Running(*series_, 1);
  report_.sent = parts_.loop.Now();
  return routing;
}

void PoolDirector::Describe(const model::Decision& decision, Routing& routing) const {
  const schedule::Ticket& ticket = flight_->ticket();
  for (const model::Target& target : decision.profiles[decision.primary].targets) {
    if (!routing.destination.empty()) routing.destination += ',';
    if (ticket.port == 0 || !routing.destination.empty()) {
      routing.destination += target.endpoint->host_port();
    } else {
      model::Endpoint endpoint = *target.endpoint;  // the pick, on the port that plugins chose
      endpoint.port = ticket.port;
      routing.destination += endpoint.host_port();
    }
  }
  routing.set_headers = ticket.set_headers;
  routing.remove_headers = ticket.remove_headers;
  if (!parts_.emit_scores) return;
  for (const model::ReceiptCandidate& candidate : decision.receipt.profiles[decision.receipt.primary].candidates) {
    if (candidate.verdict != model::kCandidate) continue;
    routing.scores.emplace_back(candidate.endpoint->host_port(), candidate.total);
  }
}

void PoolDirector::OnResponseHead(int status, std::string_view served, bool event_stream,
                                  std::vector<std::pair<std::string, std::string>>& add) {
  const bool by_pick = served.empty() || served == endpoint_;
  if (!served.empty()) endpoint_ = served;
  report_.status = status;
  report_.event_stream = event_stream;
  request_.streaming = request_.streaming || event_stream;
  parts_.pool.scheduler().OnResponseHead(*flight_, {.status = status, .served = endpoint_}, add);
  // A 5xx may be Envoy's own; only an answer that an endpoint can have given says that it lives.
  if (by_pick && status > 0 && status < 500) parts_.pool.Answered(picked_);
}

void PoolDirector::OnResponseBytes(std::string_view bytes) {
  const TimePoint now = parts_.loop.Now();
  if (!report_.first_byte) {
    report_.first_byte = now;
    parts_.pool.scheduler().OnFirstChunk(*flight_);
  } else if (request_.streaming) {
    parts_.metrics.InterToken(*series_, now - previous_);
  }
  previous_ = now;
  ++report_.pieces;
  report_.response_bytes += bytes.size();
  usage_.Append(bytes);
}

void PoolDirector::OnEnd(EndCause cause) {
  parts_.metrics.Running(*series_, -1);
  report_.last_byte = parts_.loop.Now();
  report_.usage = usage_.Find();
  schedule::ResponseEnd end{.failed = cause != EndCause::kNatural || report_.status >= 400};
  if (report_.usage) {
    end.prompt_tokens = report_.usage->prompt_tokens;
    end.cached_tokens = report_.usage->cached_tokens;
    end.output_tokens = report_.usage->completion_tokens;
  }
  schedule::Scheduler::Flight flight = std::move(*flight_);
  flight_.reset();
  auto attributes = parts_.pool.scheduler().End(std::move(flight), end);
  Account(cause);
  model::Observed observed{.served_by = endpoint_, .http_status = report_.status, .attributes = std::move(attributes)};
  if (report_.first_byte) observed.ttft_ms = SinceReceivedMs(*report_.first_byte);
  observed.e2e_ms = SinceReceivedMs(report_.last_byte);
  if (report_.usage) observed.cached_tokens = report_.usage->cached_tokens;
  parts_.receipts.Observe(receipt_, std::move(observed));
  LogAccess(cause, "");
}

void PoolDirector::Account(EndCause cause) {
  switch (cause) {
    case EndCause::kNatural:
      parts_.metrics.Ended(*series_, report_, received_, request_.streaming);
      if (report_.status >= 400) parts_.metrics.Failed(*series_, CodeFromHttp(report_.status));
      break;
    case EndCause::kEvicted:
      parts_.metrics.Failed(*series_, Code::kResourceExhausted);
      break;
    case EndCause::kClientLeft:
      parts_.metrics.Failed(*series_, Code::kCancelled);
      break;
    case EndCause::kError:
      parts_.metrics.Failed(*series_, Code::kInternal);
      break;
  }
}

void PoolDirector::LogAccess(EndCause cause, std::string_view error) const {
  constexpr std::string_view kWords[] = {"request", "evicted", "client left", "request failed"};
  serving::LogAccess({.level = error.empty() && cause != EndCause::kError ? Level::kInfo : Level::kWarn,
                      .what = kWords[static_cast<size_t>(cause)],
                      .request = request_,
                      .path = path_,
                      .status = report_.status,
                      .endpoint = endpoint_,
                      .report = report_,
                      .received = received_,
                      .now = parts_.loop.Now(),
                      .error = error});
}

}  // namespace sluice::extproc
