// CacheFeed's index: it counts its lookups and keeps, for each endpoint, how answers compared with what was predicted.
// Internal to CacheFeed. Thread rule: the loop's thread. Limit: one record an endpoint of the pool.
#pragma once

#include <string>
#include <unordered_map>

#include "serving/cache_feed.h"

namespace sluice::serving {

class CacheFeed::Index final : public schedule::CacheIndex {
 public:
  Index(const schedule::CacheSettings& settings, const Clock& clock_in, std::shared_ptr<kvindex::MemoryBudget> whole,
        std::string pool, CacheMetrics& metrics)
      : CacheIndex(settings, clock_in, std::move(whole)), pool_(std::move(pool)), metrics_(metrics) {}

  void OnLookup(const Looked& looked) override {
    ++lookups_;
    metrics_.Looked(looked);
  }

  void OnAnswered(const Answered& answered) override {
    // A shadow policy that reads the same index tells of the same request right after.
    if (answered.request_id == latest_ && answered.endpoint == latest_endpoint_) return;
    latest_ = answered.request_id;
    latest_endpoint_ = answered.endpoint;
    Record& record = records_[answered.endpoint];
    ++record.answers;
    record.prompt_tokens += static_cast<uint64_t>(answered.prompt_tokens);
    record.cached_tokens += static_cast<uint64_t>(answered.cached_tokens);
    record.predicted_tokens += answered.predicted_tokens;
    using enum CacheMetrics::Prediction;
    const int64_t predicted = answered.predicted_tokens;
    const auto result = !answered.exact                       ? kUntrusted
                        : predicted == answered.cached_tokens ? kExact
                        : predicted > answered.cached_tokens  ? kOver
                                                              : kUnder;
    ++(result == kExact   ? record.exact
       : result == kOver  ? record.over
       : result == kUnder ? record.under
                          : record.untrusted);
    metrics_.Predicted(pool_, result);
  }

  void Forget(model::EndpointId endpoint) { records_.erase(endpoint); }
  Record RecordOf(model::EndpointId endpoint) const {
    const auto found = records_.find(endpoint);
    return found == records_.end() ? Record{} : found->second;
  }
  uint64_t lookups() const { return lookups_; }

 private:
  const std::string pool_;
  CacheMetrics& metrics_;
  std::unordered_map<model::EndpointId, Record> records_;
  std::string latest_;
  model::EndpointId latest_endpoint_;
  uint64_t lookups_ = 0;
};

}  // namespace sluice::serving
