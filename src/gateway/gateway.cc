#include "gateway/gateway.h"

#include <array>
#include <map>

#include "observe/log.h"
#include "openai/error_body.h"

namespace sluice::gateway {

using observe::Level;
using observe::Log;
using runtime::Task;

namespace {

constexpr std::string_view kModule = "gateway";
constexpr size_t kRequestIdMax = 128;

// The gateway's own routes; no parser is asked about them.
bool IsOwnPath(std::string_view path) {
  static constexpr std::array<std::string_view, 8> kPaths = {"/v1/models", "/health", "/healthz", "/ping",
                                                             "/ready",     "/readyz", "/version", "/metrics"};
  for (const std::string_view own : kPaths) {
    if (path == own) return true;
  }
  return path.starts_with("/debug/");
}

}  // namespace

Gateway::Gateway(runtime::Loop& loop, GatewayOptions options, std::unique_ptr<net::TlsFiles> tls)
    : loop_(loop),
      options_(std::move(options)),
      rng_(options_.seed != 0 ? options_.seed : EntropySeed()),
      metrics_(registry_),
      client_(loop, {}),
      reader_({.bytes_max = options_.body_bytes_max}),
      receipts_({.count_max = options_.receipts_max, .bytes_max = options_.receipts_bytes_max}),
      debug_(loop_, pools_, receipts_, registry_, metrics_),
      parts_{.loop = loop_,
             .clock = clock_,
             .client = client_,
             .reader = reader_,
             .pools = pools_,
             .metrics = metrics_,
             .receipts = receipts_,
             .rng = rng_,
             .note_log = note_log_,
             .silence_max = options_.silence_max,
             .tries_max = options_.tries_max},
      tls_(std::move(tls)),
      server_(loop,
              {.body_bytes_max = options_.body_bytes_max,
               .body_timeout = options_.body_timeout,
               .body_rate_min = options_.body_rate_min,
               .error_body = [](const Error& error) { return openai::ErrorBody(error); },
               .tls = tls_ != nullptr ? &tls_->context() : nullptr},
              [this](net::ServerExchange& exchange) { return Handle(exchange); }) {}

Gateway::~Gateway() = default;

Result<std::unique_ptr<Gateway>> Gateway::Open(runtime::Loop& loop, GatewayOptions options) {
  std::unique_ptr<net::TlsFiles> tls;
  if (options.tls) {
    auto files = net::TlsFiles::Open(loop, *options.tls, "gateway");
    if (!files) return tl::unexpected(files.error());
    tls = std::move(*files);
  }
  std::unique_ptr<Gateway> gateway(new Gateway(loop, std::move(options), std::move(tls)));
  for (serving::PoolOptions& pool_options : gateway->options_.pools) {
    if (pool_options.seed == 0) pool_options.seed = gateway->options_.seed;
    auto pool = serving::ServingPool::Open(loop, gateway->client_, gateway->metrics_, pool_options);
    if (!pool) return tl::unexpected(pool.error());
    if (const Status added = gateway->pools_.Add(std::move(*pool)); !added) return tl::unexpected(added.error());
  }
  return gateway;
}

Status Gateway::Listen() {
  Status listening = server_.Listen(options_.listen, options_.reuse_port);
  if (!listening) return listening;
  if (tls_ != nullptr) tls_->Watch();
  pools_.Start();
  return {};
}

Task<Status> Gateway::ListenWhenReady(Duration patience) {
  pools_.Start();
  const TimePoint until = loop_.Now() + patience;
  while (!Ready(false) && loop_.Now() < until) co_await runtime::SleepFor(loop_, std::chrono::milliseconds(10));
  if (!Ready(false)) Log(Level::kWarn, kModule, "no endpoint answers yet, taking the port all the same");
  if (tls_ != nullptr) tls_->Watch();
  co_return server_.Listen(options_.listen, options_.reuse_port);
}

Task<size_t> Gateway::Drain() {
  const size_t cut = co_await server_.Drain(options_.drain_timeout);
  for (const auto& pool : pools_.all()) pool->SaveState();
  co_return cut;
}

std::string Gateway::RequestIdOf(const net::MessageHead& head) {
  const auto given = head.headers.Get("x-request-id");
  if (given && !given->empty() && given->size() <= kRequestIdMax && net::IsHeaderValue(*given))
    return std::string(*given);
  return MakeUuid(rng_);
}

Task<> Gateway::Handle(net::ServerExchange& exchange) {
  const std::string request_id = RequestIdOf(exchange.head());
  const std::string_view path = exchange.head().path();
  const std::string_view method = exchange.head().method;
  if (method == "POST" && !IsOwnPath(path)) {
    const Result<parse::Route> route = pools_.RouteOf(path);
    if (!route) {
      co_await RespondError(exchange, route.error(), request_id);
      co_return;
    }
    InferenceCall call(parts_, exchange, *route, request_id);
    co_await call.Run();
    co_return;
  }
  if (method == "POST" && path == "/debug/decide") {
    co_await Ask(exchange, request_id);
    co_return;
  }
  serving::HttpReply reply;
  if (method == "POST" && path == "/debug/policy/promote") {
    reply = Promote(exchange.head().query(), exchange.peer());
  } else {
    reply = Route(exchange.head(), method == "GET" || method == "HEAD");
  }
  const std::array<net::Header, 2> headers = {net::Header{"content-type", reply.type},
                                              net::Header{"x-request-id", request_id}};
  co_await exchange.Respond(reply.status, headers, reply.body);
  Log(Level::kDebug, kModule, "request",
      {{"request_id", request_id}, {"method", method}, {"path", path}, {"status", reply.status}});
}

serving::HttpReply Gateway::Route(const net::MessageHead& head, bool get) {
  const std::string_view path = head.path();
  if (get) {
    if (path == "/v1/models") return {.body = ModelsBody()};
    if (path == "/health" || path == "/ping" || path == "/healthz") return {.body = "{}"};
    if (path == "/ready" || path == "/readyz") {
      const bool ready = Ready(head.query() == "endpoints=all");
      return {.status = ready ? 200 : 503, .body = ready ? R"({"ready":true})" : R"({"ready":false})"};
    }
    if (path == "/version") return {.body = R"({"version":")" SLUICE_VERSION R"("})"};
    if (auto reply = debug_.Get(path, head.query())) return std::move(*reply);
  }
  const bool known = IsOwnPath(path) ? !get : pools_.AnyParserClaims(path);
  return {.status = known ? 405 : 404, .body = openai::DetailBody(known ? "Method Not Allowed" : "Not Found")};
}

std::string Gateway::ModelsBody() const {
  std::map<std::string, std::string> all;
  for (const auto& pool : pools_.all()) {
    for (auto& [id, json] : pool->Models()) all.emplace(id, json);
  }
  std::string body = R"({"object":"list","data":[)";
  bool first = true;
  for (const auto& [id, json] : all) {
    if (!first) body += ',';
    first = false;
    body += json;
  }
  body += "]}";
  return body;
}

bool Gateway::Ready(bool all_endpoints) const {
  if (server_.draining()) return false;
  for (const auto& pool : pools_.all()) {
    if (!(all_endpoints ? pool->AllReady() : pool->Ready())) return false;
  }
  return true;
}

}  // namespace sluice::gateway
