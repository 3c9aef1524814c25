// CacheMetrics: series of the KV index and the events that feed it, under upstream's names (`llm_d_epp_kv_cache_*`)
// where it has them, else `sluice_kv_cache_*`. Thread rule: the loop's thread. Cost: an add a lookup; the rest is
// brought up to date a few times a second. Limit: the registry's, of series a family.
#pragma once

#include <string>
#include <string_view>

#include "kvindex/events/subscriber.h"
#include "observe/metrics.h"
#include "schedule/cache_index.h"

namespace sluice::serving {

class CacheMetrics {
 public:
  explicit CacheMetrics(observe::Registry& registry);

  void Looked(const schedule::CacheIndex::Looked& looked);
  enum class Prediction : uint8_t { kExact, kOver, kUnder, kUntrusted };  // untrusted: the endpoint's events had gaps
  static std::string_view Name(Prediction prediction);
  void Predicted(std::string_view pool, Prediction prediction);

  // What was counted since `before`.
  void Events(std::string_view pool, const kvindex::FeedStatus& before, const kvindex::FeedStatus& now);
  void Sockets(const kvindex::SubscriberStats& before, const kvindex::SubscriberStats& now);
  void Index(std::string_view pool, const kvindex::PrefixIndex::Stats& before, const kvindex::PrefixIndex::Stats& now);
  void Subscribers(double change);
  void ForgetEndpoint(std::string_view pool, std::string_view endpoint);

 private:
  observe::Counter& admissions_;
  observe::Counter& evictions_;
  observe::Counter& lookups_;
  observe::Counter& hits_;
  observe::Counter& deepest_;
  observe::Histogram& latency_;
  observe::Counter& copies_suppressed_;
  observe::Counter& copies_forwarded_;
  observe::Family<observe::Counter>& stores_skipped_;
  observe::Family<observe::Counter>& removals_skipped_;
  observe::Gauge& subscribers_;
  observe::Family<observe::Counter>& reconnections_;
  observe::Family<observe::Counter>& messages_;
  observe::Family<observe::Counter>& zmq_errors_;
  observe::Family<observe::Gauge>& degraded_;
  observe::Family<observe::Gauge>& entries_;
  observe::Family<observe::Counter>& gaps_;
  observe::Family<observe::Counter>& restarts_;
  observe::Family<observe::Counter>& lost_;
  observe::Family<observe::Gauge>& bytes_;
  observe::Family<observe::Gauge>& bytes_max_;
  observe::Family<observe::Counter>& predictions_;
};

}  // namespace sluice::serving
