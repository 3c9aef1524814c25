#include "loadgen/recorder.h"

#include <algorithm>

namespace sluice::loadgen {

std::string_view Name(Failure failure) {
  switch (failure) {
    case Failure::kNone:
      return "none";
    case Failure::kConnect:
      return "connect";
    case Failure::kTimeout:
      return "timeout";
    case Failure::kHttp429:
      return "http_429";
    case Failure::kHttp4xx:
      return "http_4xx";
    case Failure::kHttp5xx:
      return "http_5xx";
    case Failure::kStream:
      return "stream_error";
    case Failure::kCut:
      return "cut";
    case Failure::kMalformed:
      return "malformed";
    case Failure::kNotSent:
      return "not_sent";
    case Failure::kStopped:
      return "stopped";
  }
  return "?";
}

void Recorder::Add(const Sample& sample) {
  first_start_s_ = requests_ == 0 ? sample.start_s : std::min(first_start_s_, sample.start_s);
  last_end_s_ = std::max(last_end_s_, sample.start_s + sample.e2e_s);
  ++requests_;
  if (sample.failure != Failure::kNotSent) late_.Add(sample.late_s);
  if (sample.failure != Failure::kNone) {
    FailureCount& failure = failures_[static_cast<size_t>(sample.failure)];
    if (failure.count++ == 0) failure.example = sample.failure_text;
    return;
  }
  ++completed_;
  if (sample.ttft_s >= 0) ttft_.Add(sample.ttft_s);
  for (const float gap : sample.itl_s) itl_.Add(gap);
  if (sample.ttft_s >= 0 && sample.output_tokens > 1) {
    tpot_.Add((sample.e2e_s - sample.ttft_s) / static_cast<double>(sample.output_tokens - 1));
  }
  e2e_.Add(sample.e2e_s);
  const int64_t prompt = std::max<int64_t>(sample.prompt_tokens, 0);
  const int64_t cached = std::max<int64_t>(sample.cached_tokens, 0);
  prompt_tokens_ += prompt;
  output_tokens_ += sample.output_tokens;
  if (sample.cached_tokens >= 0) {
    cached_tokens_ += cached;
    prompt_tokens_with_cache_ += prompt;
  }
  if (sample.endpoint.empty()) return;
  auto share = endpoints_.find(sample.endpoint);
  if (share == endpoints_.end()) {
    if (endpoints_.size() == kEndpointsMax) {
      ++endpoints_dropped_;
      return;
    }
    share = endpoints_.emplace(sample.endpoint, EndpointShare{.endpoint = sample.endpoint}).first;
  }
  ++share->second.requests;
  share->second.prompt_tokens += prompt;
  share->second.cached_tokens += cached;
}

Report Recorder::Finish(const BenchOptions& options, uint64_t warmup, bool stopped) const {
  Report report{.options = options,
                .stopped = stopped,
                .seconds = last_end_s_ - first_start_s_,
                .warmup = warmup,
                .requests = requests_,
                .completed = completed_,
                .prompt_tokens = prompt_tokens_,
                .output_tokens = output_tokens_,
                .cached_tokens = cached_tokens_,
                .prompt_tokens_with_cache = prompt_tokens_with_cache_,
                .ttft = ttft_.Summarize(),
                .itl = itl_.Summarize(),
                .tpot = tpot_.Summarize(),
                .e2e = e2e_.Summarize(),
                .late = late_.Summarize(),
                .endpoints_dropped = endpoints_dropped_};
  for (size_t i = 1; i < kFailures; ++i) {
    if (failures_[i].count == 0) continue;
    report.failures.push_back(failures_[i]);
    report.failures.back().failure = static_cast<Failure>(i);
  }
  std::sort(report.failures.begin(), report.failures.end(), [](const FailureCount& a, const FailureCount& b) {
    return a.count != b.count ? a.count > b.count : a.failure < b.failure;
  });
  for (const auto& [name, share] : endpoints_) report.endpoints.push_back(share);
  std::sort(report.endpoints.begin(), report.endpoints.end(), [](const EndpointShare& a, const EndpointShare& b) {
    return a.requests != b.requests ? a.requests > b.requests : a.endpoint < b.endpoint;
  });
  return report;
}

}  // namespace sluice::loadgen
