// GatewayMetrics: the gateway's Prometheus series, under the names of llm-d's endpoint picker (`llm_d_epp_*`) where it
// has them, else `sluice_gateway_*`. Thread rule: the loop's thread. Cost: a lookup by labels a request, none a chunk.
// Limit: 1,000 model names and 1,000 tenants in a process's life, then "other", as upstream.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/error.h"
#include "gateway/relay.h"
#include "model/pool_view.h"
#include "observe/metrics.h"

namespace sluice::gateway {

class GatewayMetrics {
 public:
  explicit GatewayMetrics(observe::Registry& registry);

  // The label values of one request; its views live as long as the metrics.
  struct Labels {
    std::string_view model;
    std::string_view target_model;
    std::string_view fairness_id;
    std::string priority;
  };
  Labels LabelsOf(std::string_view model, std::string_view target_model, std::string_view fairness_id, int priority);

  void Scheduled(const Labels& labels, uint64_t body_bytes, Duration decide, std::string_view endpoint_name,
                 std::string_view ns, std::string_view port);
  void NotScheduled(const Labels& labels, Duration decide);
  observe::Histogram& InterToken(const Labels& labels);
  void Running(const Labels& labels, int delta);
  void Ended(const Labels& labels, const RelayReport& report, TimePoint received, bool streaming);
  void Failed(const Labels& labels, Code code);
  void Retried(std::string_view reason);
  void Pool(std::string_view pool, const model::PoolView& view, TimePoint now);
  void ForgetEndpoint(std::string_view pool, std::string_view endpoint);
  void ScrapeFailed(std::string_view source);

 private:
  std::string_view Bounded(std::set<std::string, std::less<>>& seen, std::string_view value);

  std::set<std::string, std::less<>> models_;
  std::set<std::string, std::less<>> tenants_;
  observe::Family<observe::Counter>& requests_;
  observe::Family<observe::Counter>& errors_;
  observe::Family<observe::Histogram>& duration_;
  observe::Family<observe::Histogram>& request_bytes_;
  observe::Family<observe::Histogram>& response_bytes_;
  observe::Family<observe::Histogram>& input_tokens_;
  observe::Family<observe::Histogram>& cached_tokens_;
  observe::Family<observe::Histogram>& output_tokens_;
  observe::Family<observe::Gauge>& running_;
  observe::Family<observe::Histogram>& ntpot_;
  observe::Family<observe::Histogram>& ttft_;
  observe::Family<observe::Histogram>& tpot_;
  observe::Family<observe::Histogram>& itl_;
  observe::Family<observe::Gauge>& average_kv_;
  observe::Family<observe::Gauge>& average_queue_;
  observe::Family<observe::Gauge>& average_running_;
  observe::Family<observe::Gauge>& ready_;
  observe::Family<observe::Gauge>& endpoint_queue_;
  observe::Family<observe::Histogram>& decide_;
  observe::Family<observe::Counter>& attempts_;
  observe::Family<observe::Counter>& poll_errors_;
  observe::Family<observe::Counter>& retries_;
};

}  // namespace sluice::gateway
