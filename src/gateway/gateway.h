// Gateway: the HTTP front door. A request is read, given to the pool that serves its model, sent to the endpoint that
// the pool's policy picks, and its answer relayed; then it is accounted and its receipt kept. Thread rule: one loop.
// Ownership: owns server, client, pools, receipts and metrics. Cost: per request one parse of the body, one decision,
// one relay; docs/perf has the figures. Limits: those of the HTTP server; receipts by count and bytes; tries per
// request.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/json/reader.h"
#include "gateway/inference_call.h"
#include "net/http_server.h"
#include "net/tls_files.h"
#include "observe/log.h"
#include "observe/metrics.h"
#include "parse/read_request.h"
#include "schedule/receipt_ring.h"
#include "serving/debug_routes.h"
#include "serving/pools.h"
#include "serving/router_metrics.h"

namespace sluice::gateway {

struct GatewayOptions {
  net::Address listen{"127.0.0.1", 8080};
  bool reuse_port = false;  // beside another gateway, which hands over when it drains
  std::vector<serving::PoolOptions> pools;
  size_t body_bytes_max = 64 * 1024 * 1024;
  Duration body_timeout = std::chrono::seconds(60);  // between two pieces of a request's body
  size_t body_rate_min = 500;                        // bytes a second that it must come with, beyond that; 0: any
  Duration silence_max = std::chrono::seconds(300);  // an endpoint that sends nothing for so long is given up
  Duration drain_timeout = std::chrono::seconds(30);
  int tries_max = 3;  // endpoints asked for one request
  size_t receipts_max = 10'000;
  size_t receipts_bytes_max = 64 * 1024 * 1024;
  uint64_t seed = 0;                            // of the pickers' random numbers
  std::optional<net::TlsContext::Options> tls;  // absent: clear text
};

class Gateway {
 public:
  static Result<std::unique_ptr<Gateway>> Open(runtime::Loop& loop, GatewayOptions options);
  ~Gateway();
  Gateway(const Gateway&) = delete;

  Status Listen();
  // Listens once it can serve: some endpoint is known to answer, or `patience` is over.
  runtime::Task<Status> ListenWhenReady(Duration patience);
  const net::Address& address() const { return server_.address(); }
  std::string url() const { return (tls_ != nullptr ? "https://" : "http://") + address().ToString(); }
  // Readiness goes first, then running requests finish. Returns how many connections had to be cut.
  runtime::Task<size_t> Drain();

 private:
  Gateway(runtime::Loop& loop, GatewayOptions options, std::unique_ptr<net::TlsFiles> tls);
  runtime::Task<> Handle(net::ServerExchange& exchange);
  serving::HttpReply Route(const net::MessageHead& head, bool get);
  std::string RequestIdOf(const net::MessageHead& head);

  std::string ModelsBody() const;
  bool Ready(bool all_endpoints) const;

  // Routes that change or ask something (debug_routes.cc). `query`: as in the URL.
  serving::HttpReply Promote(std::string_view query, const net::Address& peer);
  runtime::Task<> Ask(net::ServerExchange& exchange, std::string_view request_id);

  runtime::Loop& loop_;
  GatewayOptions options_;
  SystemClock clock_;
  Rng rng_;
  observe::Registry registry_;
  serving::RouterMetrics metrics_;
  net::HttpClient client_;
  codec::JsonReader reader_;
  serving::Pools pools_;
  schedule::ReceiptRing receipts_;
  observe::Every note_log_{10};  // of decisions without all their data
  serving::DebugRoutes debug_;
  CallParts parts_;
  std::unique_ptr<net::TlsFiles> tls_;  // null: clear text
  net::HttpServer server_;
};

}  // namespace sluice::gateway
