// Recorder folds samples into a Report as they come, so that a run's memory does not grow with its length (beyond what
// Distribution keeps). Thread rule: one owner. Cost: a few pushes a sample.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "loadgen/distribution.h"
#include "loadgen/options.h"
#include "loadgen/sample.h"

namespace sluice::loadgen {

// What one endpoint behind the gateway served, by the response header that names it.
struct EndpointShare {
  std::string endpoint;
  uint64_t requests = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
};

struct FailureCount {
  Failure failure = Failure::kNone;
  uint64_t count = 0;
  std::string example;  // the first one's text
};

// Everything a run found out. Latencies are in seconds here and in milliseconds where they are shown.
struct Report {
  BenchOptions options;  // with `model` filled in
  bool stopped = false;  // ended by hand
  double seconds = 0;    // from the first measured request's start to the last one's end
  uint64_t warmup = 0;   // sent before, counted nowhere else
  uint64_t requests = 0;
  uint64_t completed = 0;
  // Of completed requests, by the server's usage.
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t prompt_tokens_with_cache = 0;  // prompt tokens of those answers that said how much was cached
  Percentiles ttft, itl, tpot, e2e, late;
  std::vector<FailureCount> failures;    // most frequent first
  std::vector<EndpointShare> endpoints;  // most requests first
  uint64_t endpoints_dropped = 0;        // requests of endpoints beyond the first 1,024
};

class Recorder {
 public:
  static constexpr size_t kEndpointsMax = 1024;

  void Add(const Sample& sample);
  // `warmup` requests that were sent and not added.
  Report Finish(const BenchOptions& options, uint64_t warmup, bool stopped) const;

  // For the progress line.
  uint64_t requests() const { return requests_; }
  uint64_t failed() const { return requests_ - completed_; }
  int64_t output_tokens() const { return output_tokens_; }

 private:
  uint64_t requests_ = 0;
  uint64_t completed_ = 0;
  int64_t prompt_tokens_ = 0;
  int64_t output_tokens_ = 0;
  int64_t cached_tokens_ = 0;
  int64_t prompt_tokens_with_cache_ = 0;
  double first_start_s_ = 0;
  double last_end_s_ = 0;
  Distribution ttft_, itl_, tpot_, e2e_, late_;
  std::array<FailureCount, kFailures> failures_;
  std::map<std::string, EndpointShare, std::less<>> endpoints_;
  uint64_t endpoints_dropped_ = 0;
};

}  // namespace sluice::loadgen
