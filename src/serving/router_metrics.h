// RouterMetrics: the gateway's Prometheus series, under the names of llm-d's endpoint picker (`llm_d_epp_*`) where it
// has them, else `sluice_gateway_*`. Thread rule: the loop's thread. Cost: two look-ups by text a request, none a
// chunk. Limit: 1,000 model names and 1,000 tenants in a process's life, then "other", as upstream.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "latency/model.h"
#include "model/pool_view.h"
#include "observe/metrics.h"
#include "serving/cache_metrics.h"
#include "serving/relay_report.h"

namespace sluice::serving {

class RouterMetrics {
 public:
  explicit RouterMetrics(observe::Registry& registry);
  ~RouterMetrics();

  // The series of one combination of labels, looked up once a request; lives as long as the metrics.
  struct Series;
  Series& SeriesOf(std::string_view model, std::string_view target_model, std::string_view fairness_id, int priority);

  void Scheduled(Series& series, uint64_t body_bytes, Duration decide, const model::Endpoint& endpoint);
  void NotScheduled(Series& series, Duration decide);
  void InterToken(Series& series, Duration since_previous);
  void Running(Series& series, int delta);
  void Ended(Series& series, const RelayReport& report, TimePoint received, bool streaming);
  void Failed(Series& series, Code code);
  void Retried(std::string_view reason);
  // What was expected of a dispatched request.
  void Expected(Series& series, double ttft_ms);
  // What the latency model of a pool knows of itself.
  void Latency(std::string_view pool, const std::vector<latency::KindDescription>& kinds);
  void Rewritten(std::string_view object, std::string_view model, std::string_view target_model);
  // Who made a request's tokens, and what waiting for them took; a source of "request" took nothing.
  void Tokenized(std::string_view pool, std::string_view source, Duration took);
  // Exact tokens were wanted from `source` and could not be had.
  void NotTokenized(std::string_view pool, std::string_view source, std::string_view reason);
  // `what`: reloaded, refused, promoted, reverted.
  void PolicyChanged(std::string_view pool, std::string_view what);
  void Pool(std::string_view pool, const model::PoolView& view, TimePoint now);
  void ForgetEndpoint(std::string_view pool, std::string_view endpoint);
  void ScrapeFailed(std::string_view source_type);
  void ExtractFailed(std::string_view source_type, std::string_view extractor_type);
  void ScrapePeriod(std::string_view pool, double seconds);
  // A decision whose receipt notes that something was missing.
  void Incomplete(std::string_view pool);
  CacheMetrics& cache() { return cache_; }

 private:
  std::string_view Bounded(std::set<std::string, std::less<>>& seen, std::string_view value);

  std::set<std::string, std::less<>> models_;
  std::set<std::string, std::less<>> tenants_;
  std::map<std::string, std::unique_ptr<Series>, std::less<>> series_;  // by joined labels
  Series* last_ = nullptr;  // most requests have the labels of the one before
  std::string key_;         // scratch
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
  observe::Family<observe::Gauge>& deviation_kv_;
  observe::Family<observe::Gauge>& deviation_queue_;
  observe::Family<observe::Gauge>& deviation_running_;
  observe::Family<observe::Gauge>& ready_;
  observe::Family<observe::Gauge>& endpoint_queue_;
  observe::Histogram& decide_;
  observe::Family<observe::Counter>& attempts_;
  observe::Family<observe::Counter>& poll_errors_;
  observe::Family<observe::Counter>& extract_errors_;
  observe::Family<observe::Gauge>& scrape_period_;
  observe::Family<observe::Counter>& retries_;
  observe::Family<observe::Histogram>& predicted_ttft_;
  observe::Family<observe::Gauge>& model_error_;
  observe::Family<observe::Counter>& rewrites_;
  observe::Family<observe::Counter>& policy_changes_;
  observe::Family<observe::Counter>& incomplete_;
  observe::Family<observe::Counter>& tokenized_;
  observe::Family<observe::Counter>& not_tokenized_;
  observe::Family<observe::Histogram>& tokenize_;
  CacheMetrics cache_;
};

}  // namespace sluice::serving
