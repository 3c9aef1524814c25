// DebugRoutes: what a front door (gateway, endpoint picker) tells of itself: its metrics, the state of its endpoints,
// and why it decides as it does. Thread rule: the loop's thread. Ownership: borrows what it tells of. Cost: of /metrics
// and /debug/ only; nothing a request.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "observe/metrics.h"
#include "runtime/loop.h"
#include "schedule/receipt_ring.h"
#include "serving/pools.h"
#include "serving/router_metrics.h"

namespace sluice::serving {

struct HttpReply {
  int status = 200;
  std::string body;
  std::string_view type = "application/json";
};

class DebugRoutes {
 public:
  static constexpr std::string_view kText = "text/plain; charset=utf-8";

  DebugRoutes(const runtime::Loop& loop, const Pools& pools, const schedule::ReceiptRing& receipts,
              observe::Registry& registry, RouterMetrics& metrics)
      : loop_(loop), pools_(pools), receipts_(receipts), registry_(registry), metrics_(metrics) {}

  // GET `path`; nothing: it is none of these. `query` as in the URL; `format=table` is for people.
  std::optional<HttpReply> Get(std::string_view path, std::string_view query) const;

 private:
  HttpReply Metrics() const;
  HttpReply Endpoints() const;
  HttpReply Decision(std::string_view request_id, bool table) const;
  HttpReply Policy(bool table) const;
  HttpReply Latency() const;
  HttpReply Cache(bool table) const;

  const runtime::Loop& loop_;
  const Pools& pools_;
  const schedule::ReceiptRing& receipts_;
  observe::Registry& registry_;
  RouterMetrics& metrics_;
};

// Whether the query asks for tables in place of JSON.
bool WantsTable(std::string_view query);

}  // namespace sluice::serving
