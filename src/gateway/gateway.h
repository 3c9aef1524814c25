// Gateway: the HTTP front door. A request is read, given to the pool that serves its model, sent to the endpoint that
// the pool's policy picks, and its answer relayed; then it is accounted and its receipt kept. Thread rule: one loop.
// Ownership: owns server, client, pools, receipts and metrics. Cost: per request one parse of the body, one decision,
// one relay; docs/perf has the figures. Limits: those of the HTTP server; receipts by count and bytes; tries per
// request.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/json/reader.h"
#include "gateway/gateway_metrics.h"
#include "gateway/serving_pool.h"
#include "net/http_server.h"
#include "observe/log.h"
#include "observe/metrics.h"
#include "parse/read_request.h"
#include "schedule/receipt_ring.h"

namespace sluice::gateway {

struct GatewayOptions {
  net::Address listen{"127.0.0.1", 8080};
  std::vector<PoolOptions> pools;
  size_t body_bytes_max = 64 * 1024 * 1024;
  Duration silence_max = std::chrono::seconds(300);  // an endpoint that sends nothing for so long is given up
  Duration drain_timeout = std::chrono::seconds(30);
  int tries_max = 3;  // endpoints asked for one request
  size_t receipts_max = 10'000;
  size_t receipts_bytes_max = 64 * 1024 * 1024;
  uint64_t seed = 0;  // of the pickers' random numbers
};

class Gateway {
 public:
  static Result<std::unique_ptr<Gateway>> Open(runtime::Loop& loop, GatewayOptions options);
  ~Gateway();
  Gateway(const Gateway&) = delete;

  Status Listen();
  const net::Address& address() const { return server_.address(); }
  // Readiness goes first, then running requests finish. Returns how many connections had to be cut.
  runtime::Task<size_t> Drain();

 private:
  struct Served;

  Gateway(runtime::Loop& loop, GatewayOptions options);
  runtime::Task<> Handle(net::ServerExchange& exchange);
  runtime::Task<> Infer(net::ServerExchange& exchange, parse::Route route, std::string_view request_id);
  runtime::Task<> Answer(net::ServerExchange& exchange, int status, std::string_view type, std::string_view body,
                         std::string_view request_id);
  runtime::Task<> AnswerError(net::ServerExchange& exchange, const Error& error, std::string_view request_id);
  Result<parse::BodyFacts> ReadAgain(const parse::Route& route, std::string_view body, model::Request& request);
  // Which parser reads a request to this path: of the first pool with one that claims it, else the first fallback.
  Result<parse::Route> RouteOf(std::string_view path) const;
  bool AnyParserClaims(std::string_view path) const;
  Result<ServingPool*> PoolFor(const parse::Route& route, model::Request& request);
  Result<ServingPool*> PoolOfModel(model::Request& request);
  void LogScores(const ServingPool& pool, const model::Decision& decision);
  std::string RequestIdOf(const net::MessageHead& head);

  // GET routes (routes.cc).
  std::string ModelsBody();
  std::string EndpointsBody();
  bool Ready(bool all_endpoints);

  runtime::Loop& loop_;
  GatewayOptions options_;
  SystemClock clock_;
  Rng rng_;
  observe::Registry registry_;
  GatewayMetrics metrics_;
  net::HttpClient client_;
  codec::JsonReader reader_;
  std::vector<std::unique_ptr<ServingPool>> pools_;
  schedule::ReceiptRing receipts_;
  model::Decision decision_;     // reused
  observe::Every note_log_{10};  // of decisions without all their data
  net::HttpServer server_;
};

}  // namespace sluice::gateway
