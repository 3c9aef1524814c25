#include "gateway/inference_call.h"

#include <array>

#include "base/text.h"
#include "openai/error_body.h"
#include "parse/json_edit.h"
#include "serving/call_log.h"

namespace sluice::gateway {

using observe::Level;
using observe::Log;
using runtime::Task;
using schedule::Scheduler;

namespace {

constexpr std::string_view kModule = "gateway";

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

}  // namespace

Task<> RespondError(net::ServerExchange& exchange, const Error& error, std::string_view request_id,
                    std::string_view dropped_reason) {
  const std::string body = openai::ErrorBody(error);
  const int status = Info(error.code).http_status;
  std::vector<net::Header> headers = {{"content-type", "application/json"}, {"x-request-id", request_id}};
  if (status == 429 || status == 503) headers.push_back({"retry-after", "1"});
  if (!dropped_reason.empty()) headers.push_back({"x-llm-d-request-dropped-reason", dropped_reason});
  co_await exchange.Respond(status, headers, body);
}

// Passes a relay's progress on to the policy and the metrics.
class InferenceCall::Follower final : public RelayObserver {
 public:
  Follower(InferenceCall& call, Scheduler::Flight& flight) : call_(call), flight_(flight) {}
  void OnHead(int status, schedule::HeaderList& add) override {
    call_.pool_->scheduler().OnResponseHead(flight_, {.status = status, .served = call_.endpoint_}, add);
  }
  void OnFirstByte() override { call_.pool_->scheduler().OnFirstChunk(flight_); }
  void OnPiece(Duration since_previous) override {
    // Of an answer that is not streamed there is no time between tokens.
    if (call_.request_.streaming) call_.parts_.metrics.InterToken(*call_.series_, since_previous);
  }

 private:
  InferenceCall& call_;
  Scheduler::Flight& flight_;
};

InferenceCall::InferenceCall(CallParts& parts, net::ServerExchange& exchange, parse::Route route,
                             std::string_view request_id)
    : parts_(parts), exchange_(exchange), route_(route), request_id_(request_id), received_(parts.loop.Now()) {}

void InferenceCall::ReadHead() {
  const net::MessageHead& head = exchange_.head();
  request_.id = request_id_;
  request_.fairness_id = HeaderOf(head, "x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id");
  request_.objective = HeaderOf(head, "x-llm-d-inference-objective", "x-gateway-inference-objective");
  client_headers_.reserve(head.headers.size() + 1);
  request_.headers.reserve(head.headers.size());
  for (const net::Header header : head.headers) {
    request_.headers.emplace_back(header.name, header.value);
    if (!net::IsHopByHop(header.name) && !IsOwnHeader(header.name)) client_headers_.push_back(header);
  }
  client_headers_.push_back({"x-request-id", request_id_});
}

Status InferenceCall::ReadBody(std::string body) {
  body_ = std::move(body);
  const auto read = parse::ReadRequest(route_, parts_.reader, body_, request_);
  if (!read) return tl::unexpected(read.error());
  if (read->transfer_params) {
    Log(Level::kWarn, kModule, "a client's transfer parameters were removed", {{"request_id", request_id_}});
    auto without = parse::RemoveTransferParams(route_, body_);
    if (!without) return tl::unexpected(without.error());
    body_ = std::move(*without);
    if (const Status again = ReadAgain(); !again) return again;
  }
  if (!route_.parser->can_rewrite_model) return {};
  const std::string_view wanted =
      HeaderOf(exchange_.head(), "x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite");
  if (!wanted.empty()) request_.target_model = wanted;
  return {};
}

// The text of a request's prompts are views into the body and the reader, which others have used since.
Status InferenceCall::ReadAgain() {
  const std::string model = request_.model, target = request_.target_model;
  request_.prompts.clear();
  const auto read = parse::ReadRequest(route_, parts_.reader, body_, request_);
  request_.model = model;
  request_.target_model = target;
  if (read) tokens_.Apply(request_);
  return read ? Status{} : Status(tl::unexpected(read.error()));
}

Status InferenceCall::ChoosePool(std::string_view path) {
  const auto choice = parts_.pools.Choose(route_, request_, parts_.rng);
  if (!choice) return tl::unexpected(choice.error());
  // The pool that serves the model may have fewer parsers than the one that knew the path.
  if (const auto route = choice->pool->parsers().For(path); !route) {
    return tl::unexpected(route.error());
  }
  pool_ = choice->pool;
  rewrite_ = choice->rewrite;
  request_.priority = pool_->PriorityOf(request_.objective);
  schedule::ReadHeaders(pool_->scheduler().policy(), request_);
  if (request_.target_model == request_.model) return {};
  auto body = parse::RewriteModel(body_, request_.target_model);
  if (!body) return tl::unexpected(body.error());
  rewritten_from_ = request_.model;
  body_ = std::move(*body);
  return ReadAgain();  // some pieces of the prompts are views into the body that was
}

Task<Status> InferenceCall::Tokenize() {
  const std::shared_ptr<serving::PromptTokens> source = pool_->prompt_tokens();
  if (source == nullptr) co_return Status{};
  tokens_ = co_await source->Make(route_.api, body_, request_);
  if (tokens_.waited) co_return ReadAgain();
  tokens_.Apply(request_);
  co_return Status{};
}

bool InferenceCall::Decide(const model::PoolView& view) {
  const TimePoint before = parts_.clock.Now();
  const model::Decision& decision = pool_->scheduler().Decide(request_, view);
  const Duration took = parts_.clock.Now() - before;
  if (tries_ == 0 || decision.ok()) serving::LogScores(pool_->name(), decision.receipt);
  serving::CountIncomplete(parts_.metrics, parts_.note_log, kModule, pool_->name(), decision.receipt);
  receipt_ = parts_.receipts.Push(decision.receipt);
  if (decision.ok()) {
    parts_.metrics.Scheduled(*series_, request_.body_bytes, took, *decision.pick().endpoint);
    return true;
  }
  parts_.metrics.NotScheduled(*series_, took);
  // When every endpoint was tried, what the last one did says more.
  failure_ = report_.error ? report_.error : decision.error;
  dropped_reason_ = decision.receipt.dropped_reason;
  return false;
}

// The client's headers, but for those that plugins remove or set.
std::span<const net::Header> InferenceCall::HeadersFor(const schedule::Ticket& ticket) {
  if (ticket.remove_headers.empty() && ticket.set_headers.empty()) return client_headers_;
  headers_.clear();
  headers_.reserve(client_headers_.size() + ticket.set_headers.size());
  for (const net::Header& header : client_headers_) {
    bool dropped = false;
    for (const std::string& name : ticket.remove_headers) dropped = dropped || EqualsIgnoreCase(name, header.name);
    for (const auto& [name, value] : ticket.set_headers) dropped = dropped || EqualsIgnoreCase(name, header.name);
    if (!dropped) headers_.push_back(header);
  }
  for (const auto& [name, value] : ticket.set_headers) headers_.push_back({name, value});
  return headers_;
}

Task<> InferenceCall::TryOnce() {
  const std::shared_ptr<const model::PoolView> view = pool_->View();
  if (!Decide(*view)) co_return;
  const model::Target target = pool_->scheduler().decision().pick();
  Scheduler::Flight flight = pool_->scheduler().Dispatch(request_, *view);
  parts_.metrics.Expected(*series_, pool_->scheduler().decision().receipt.expected_ttft_ms);
  parts_.metrics.Running(*series_, 1);
  endpoint_ = target.endpoint->host_port();
  ++tries_;

  const std::array<net::Header, 2> added = {net::Header{"x-request-id", request_id_},
                                            net::Header{"x-gateway-destination-endpoint-served", endpoint_}};
  Follower follower(*this, flight);
  std::optional<parse::ModelRestorer> restorer;
  if (!rewritten_from_.empty()) restorer.emplace(request_.target_model, rewritten_from_);
  const uint16_t port = flight.ticket().port != 0 ? flight.ticket().port : target.endpoint->port;
  RelayRequest relay{.address = {target.endpoint->address, port},
                     .transport = pool_->TransportTo(*target.endpoint),
                     .method = exchange_.head().method,
                     .target = exchange_.head().target,
                     .headers = HeadersFor(flight.ticket()),
                     .body = body_,
                     .response_headers = added,
                     .silence_max = parts_.silence_max,
                     .usage = route_.answer_has_usage() ? route_.parser->usage : parse::UsageStyle::kNone,
                     .restorer = restorer ? &*restorer : nullptr};
  report_ = co_await Relay(parts_.client, exchange_, relay, follower);
  parts_.metrics.Running(*series_, -1);
  Conclude(target, std::move(flight));
}

// Ends the try; says whether there may be another one.
void InferenceCall::Conclude(const model::Target& target, Scheduler::Flight&& flight) {
  schedule::ResponseEnd end{.failed = report_.outcome != RelayOutcome::kDone || report_.status >= 400};
  if (report_.usage) {
    end.prompt_tokens = report_.usage->prompt_tokens;
    end.cached_tokens = report_.usage->cached_tokens;
    end.output_tokens = report_.usage->completion_tokens;
  } else if (report_.event_stream) {
    end.output_tokens = static_cast<int64_t>(report_.events);  // about one a token, as upstream counts
  }
  attributes_ = pool_->scheduler().End(std::move(flight), end);
  if (report_.outcome != RelayOutcome::kNotSent) {
    relayed_ = true;
    if (report_.outcome == RelayOutcome::kDone) pool_->Answered(target.id);
    if (report_.outcome == RelayOutcome::kBroken) pool_->Failed(target.id, *report_.error);
    return;
  }
  pool_->Failed(target.id, *report_.error);
  Log(Level::kWarn, kModule, "endpoint failed, trying another",
      {{"request_id", request_id_}, {"endpoint", endpoint_}, {"error", report_.error->message}});
  if (tries_ >= parts_.tries_max) {
    failure_ = report_.error;
    return;
  }
  parts_.metrics.Retried("no-answer");
  request_.excluded.push_back(target.id);
  if (const Status read = ReadAgain(); !read) failure_ = read.error();
}

Task<> InferenceCall::Run() {
  auto body = co_await exchange_.ReadBody();
  if (!body) {
    if (!exchange_.client_gone()) co_await RespondError(exchange_, body.error(), request_id_);
    co_return;
  }
  ReadHead();
  Status ready = ReadBody(std::move(*body));
  if (ready) ready = ChoosePool(exchange_.head().path());
  if (ready) ready = co_await Tokenize();
  if (!rewrite_.empty()) parts_.metrics.Rewritten(rewrite_, request_.model, request_.target_model);
  series_ = &parts_.metrics.SeriesOf(request_.model, request_.target_model, request_.fairness_id, request_.priority);
  if (!ready) failure_ = ready.error();
  while (!failure_ && !relayed_) co_await TryOnce();

  if (!failure_ && !exchange_.started() && report_.outcome != RelayOutcome::kClientLeft) failure_ = report_.error;
  if (failure_) {
    parts_.metrics.Failed(*series_, failure_->code);
    co_await RespondError(exchange_, *failure_, request_id_, dropped_reason_);
  } else {
    Account();
  }
  LogAccess();
}

void InferenceCall::Account() {
  if (report_.outcome == RelayOutcome::kDone) {
    parts_.metrics.Ended(*series_, report_, received_, request_.streaming);
    if (report_.status >= 400) parts_.metrics.Failed(*series_, CodeFromHttp(report_.status));
  } else {
    parts_.metrics.Failed(*series_, report_.error ? report_.error->code : Code::kCancelled);
  }
  model::Observed observed{.served_by = endpoint_, .http_status = report_.status, .attributes = std::move(attributes_)};
  if (report_.first_byte) observed.ttft_ms = SinceReceivedMs(*report_.first_byte);
  observed.e2e_ms = SinceReceivedMs(parts_.loop.Now());
  if (report_.usage) observed.cached_tokens = report_.usage->cached_tokens;
  parts_.receipts.Observe(receipt_, std::move(observed));
}

void InferenceCall::LogAccess() const {
  serving::LogAccess({.level = failure_ || report_.error ? Level::kWarn : Level::kInfo,
                      .what = report_.outcome == RelayOutcome::kClientLeft ? "client left" : "request",
                      .request = request_,
                      .path = exchange_.head().path(),
                      .status = exchange_.status(),
                      .endpoint = endpoint_,
                      .tries = tries_,
                      .report = report_,
                      .received = received_,
                      .now = parts_.loop.Now(),
                      .error = failure_        ? failure_->message
                               : report_.error ? report_.error->message
                                               : std::string_view()});
}

Task<Result<const model::Receipt*>> InferenceCall::Ask(std::string body, std::string path) {
  ReadHead();
  Status ready = ReadBody(std::move(body));
  if (ready) ready = ChoosePool(path);
  if (ready) ready = co_await Tokenize();
  if (!ready) co_return tl::unexpected(ready.error());
  const std::shared_ptr<const model::PoolView> view = pool_->View();
  co_return &pool_->scheduler().Decide(request_, *view, /*acting=*/false).receipt;
}

}  // namespace sluice::gateway
