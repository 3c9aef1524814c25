#include "gateway/gateway_metrics.h"

#include <array>
#include <vector>

namespace sluice::gateway {
namespace {

using Labels = GatewayMetrics::Labels;

constexpr size_t kNamesMax = 1000;
constexpr Duration kFreshFor = std::chrono::seconds(2);

const std::vector<std::string> kRequestLabels = {"model_name", "target_model_name", "fairness_id", "priority"};

std::vector<std::string> With(std::vector<std::string> labels, std::string more) {
  labels.push_back(std::move(more));
  return labels;
}

// Upstream's buckets, its 32778 included.
const std::vector<double> kLongSeconds = {.005, .025, .05, .1,  .2,  .4,  .6,  .8,   1,    1.25, 1.5, 2,
                                          3,    4,    5,   6,   8,   10,  15,  20,   30,   45,   60,  120,
                                          180,  240,  300, 360, 480, 600, 900, 1200, 1800, 2700, 3600};
const std::vector<double> kInputTokens = {1,    8,    16,    32,    64,    128,    256,    512,    1024,   2048,
                                          4096, 8192, 16384, 32778, 65536, 131072, 262144, 524288, 1048576};
const std::vector<double> kOutputTokens = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
const std::vector<double> kTtftSeconds = {.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 30, 60, 120};
const std::vector<double> kTpotSeconds = {.0005, .00205, .005, .01, .02, .04, .06, .08, .1, .2, .5, 1, 2};
const std::vector<double> kItlSeconds = {.001, .002, .005, .01, .02, .04, .06, .08, .1, .2, .5, 1, 2};
const std::vector<double> kNtpotSeconds = {.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10};
const std::vector<double> kDecideSeconds = {.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1};

std::vector<double> PowersOfTwo(double first, double last) {
  std::vector<double> out;
  for (double v = first; v <= last; v *= 2) out.push_back(v);
  return out;
}
std::vector<double> ResponseBytes() {
  std::vector<double> out = {1};
  for (double v = 8; v <= 16384; v *= 2) out.push_back(v);
  out.push_back(32778);
  out.push_back(65536);
  return out;
}

std::array<std::string_view, 4> Values(const Labels& l) { return {l.model, l.target_model, l.fairness_id, l.priority}; }

template <class Cell>
Cell& Of(observe::Family<Cell>& family, const Labels& labels) {
  const auto values = Values(labels);
  return family.With(std::span<const std::string_view>(values));
}

// Upstream's error_code values.
std::string_view ErrorCode(Code code) {
  switch (code) {
    case Code::kUnauthenticated:
      return "Unauthorized";
    case Code::kPermissionDenied:
      return "Forbidden";
    case Code::kNotFound:
      return "NotFound";
    case Code::kPreconditionFailed:
      return "PreconditionFailed";
    case Code::kResourceExhausted:
      return "ResourceExhausted";
    case Code::kUnavailable:
      return "ServiceUnavailable";
    case Code::kInternal:
      return "Internal";
    case Code::kBadGateway:
    case Code::kUpstreamTimeout:
      return "ModelServerError";
    case Code::kCancelled:
      return "Unknown";
    default:
      return "BadRequest";
  }
}

}  // namespace

GatewayMetrics::GatewayMetrics(observe::Registry& r)
    : requests_(r.AddCounter("llm_d_epp_request_total", "[ALPHA] Requests that were scheduled.", kRequestLabels)),
      errors_(r.AddCounter("llm_d_epp_request_error_total", "[ALPHA] Requests that failed.",
                           With(kRequestLabels, "error_code"))),
      duration_(r.AddHistogram("llm_d_epp_request_duration_seconds", "[ALPHA] From request to the end of its answer.",
                               kRequestLabels, kLongSeconds)),
      request_bytes_(r.AddHistogram("llm_d_epp_request_size_bytes", "[ALPHA] Request bodies.", kRequestLabels,
                                    PowersOfTwo(64, 1073741824))),
      response_bytes_(
          r.AddHistogram("llm_d_epp_response_size_bytes", "[ALPHA] Response bodies.", kRequestLabels, ResponseBytes())),
      input_tokens_(r.AddHistogram("llm_d_epp_request_input_tokens", "[ALPHA] Prompt tokens, as the engine counted.",
                                   kRequestLabels, kInputTokens)),
      cached_tokens_(r.AddHistogram("llm_d_epp_request_cached_tokens",
                                    "[ALPHA] Prompt tokens that the engine had cached.", kRequestLabels, kInputTokens)),
      output_tokens_(r.AddHistogram("llm_d_epp_request_output_tokens", "[ALPHA] Generated tokens.", kRequestLabels,
                                    kOutputTokens)),
      running_(r.AddGauge("llm_d_epp_request_running", "[ALPHA] Requests under way.", kRequestLabels)),
      ntpot_(r.AddHistogram("llm_d_epp_request_ntpot_seconds", "[ALPHA] Duration per generated token.", kRequestLabels,
                            kNtpotSeconds)),
      ttft_(r.AddHistogram("llm_d_epp_request_ttft_seconds", "[ALPHA] To the first byte of the answer.",
                           With(kRequestLabels, "streaming"), kTtftSeconds)),
      tpot_(r.AddHistogram("llm_d_epp_request_streaming_tpot_seconds",
                           "[ALPHA] Time per generated token after the first.", kRequestLabels, kTpotSeconds)),
      itl_(r.AddHistogram("llm_d_epp_request_streaming_itl_seconds", "[ALPHA] Between pieces of a streamed answer.",
                          kRequestLabels, kItlSeconds)),
      average_kv_(r.AddGauge("llm_d_epp_average_kv_cache_utilization", "[ALPHA] Mean over fresh endpoints.", {"name"})),
      average_queue_(r.AddGauge("llm_d_epp_average_queue_size", "[ALPHA] Mean over fresh endpoints.", {"name"})),
      average_running_(
          r.AddGauge("llm_d_epp_average_running_requests", "[ALPHA] Mean over fresh endpoints.", {"name"})),
      ready_(r.AddGauge("llm_d_epp_ready_endpoints", "[ALPHA] Endpoints in rotation with metrics younger than 2 s.",
                        {"name"})),
      endpoint_queue_(r.AddGauge("llm_d_epp_per_endpoint_queue_size", "[ALPHA] Waiting requests.",
                                 {"name", "model_server_endpoint"})),
      decide_(r.AddHistogram("llm_d_epp_scheduler_e2e_duration_seconds", "[ALPHA] Time of one decision.", {},
                             kDecideSeconds)),
      attempts_(r.AddCounter("llm_d_epp_scheduler_attempts_total", "[ALPHA] Decisions.",
                             {"status", "target_model_name", "endpoint_name", "namespace", "port"})),
      poll_errors_(
          r.AddCounter("llm_d_epp_datalayer_poll_errors_total", "[ALPHA] Scrapes that failed.", {"source_type"})),
      retries_(r.AddCounter("sluice_gateway_retries_total", "Requests sent to another endpoint after a failure.",
                            {"reason"})) {}

std::string_view GatewayMetrics::Bounded(std::set<std::string, std::less<>>& seen, std::string_view value) {
  const auto found = seen.find(value);
  if (found != seen.end()) return *found;
  if (seen.size() >= kNamesMax) return "other";
  return *seen.emplace(value).first;
}

Labels GatewayMetrics::LabelsOf(std::string_view model, std::string_view target_model, std::string_view fairness_id,
                                int priority) {
  return {Bounded(models_, model), Bounded(models_, target_model), Bounded(tenants_, fairness_id),
          std::to_string(priority)};
}

void GatewayMetrics::Scheduled(const Labels& labels, uint64_t body_bytes, Duration decide,
                               std::string_view endpoint_name, std::string_view ns, std::string_view port) {
  Of(requests_, labels).Add();
  Of(request_bytes_, labels).Observe(static_cast<double>(body_bytes));
  decide_.Get().Observe(Seconds(decide));
  attempts_.With({"success", labels.target_model, endpoint_name, ns, port}).Add();
}

void GatewayMetrics::NotScheduled(const Labels& labels, Duration decide) {
  decide_.Get().Observe(Seconds(decide));
  attempts_.With({"failure", labels.target_model, "", "", ""}).Add();
}

observe::Histogram& GatewayMetrics::InterToken(const Labels& labels) { return Of(itl_, labels); }

void GatewayMetrics::Running(const Labels& labels, int delta) { Of(running_, labels).Add(delta); }

void GatewayMetrics::Ended(const Labels& labels, const RelayReport& report, TimePoint received, bool streaming) {
  const double seconds = Seconds(report.last_byte - received);
  Of(duration_, labels).Observe(seconds);
  Of(response_bytes_, labels).Observe(static_cast<double>(report.response_bytes));
  if (report.first_byte) {
    const auto base = Values(labels);
    const std::array<std::string_view, 5> values = {base[0], base[1], base[2], base[3], streaming ? "true" : "false"};
    ttft_.With(std::span<const std::string_view>(values)).Observe(Seconds(*report.first_byte - received));
  }
  if (!report.usage) return;
  Of(input_tokens_, labels).Observe(static_cast<double>(report.usage->prompt_tokens));
  Of(cached_tokens_, labels).Observe(static_cast<double>(report.usage->cached_tokens));
  const auto generated = static_cast<double>(report.usage->completion_tokens);
  Of(output_tokens_, labels).Observe(generated);
  if (generated > 0) Of(ntpot_, labels).Observe(seconds / generated);
  if (streaming && generated > 1 && report.first_byte) {
    Of(tpot_, labels).Observe(Seconds(report.last_byte - *report.first_byte) / (generated - 1));
  }
}

void GatewayMetrics::Failed(const Labels& labels, Code code) {
  const auto base = Values(labels);
  const std::array<std::string_view, 5> values = {base[0], base[1], base[2], base[3], ErrorCode(code)};
  errors_.With(std::span<const std::string_view>(values)).Add();
}

void GatewayMetrics::Retried(std::string_view reason) { retries_.With({reason}).Add(); }

void GatewayMetrics::Pool(std::string_view pool, const model::PoolView& view, TimePoint now) {
  double waiting = 0, running = 0, kv = 0;
  size_t fresh = 0;
  for (size_t row = 0; row < view.size(); ++row) {
    endpoint_queue_.With({pool, view.endpoint(row).name}).Set(view.waiting[row]);
    if (view.in_rotation[row] == 0 || view.scraped_at[row] == model::EndpointState::kNever ||
        now - view.scraped_at[row] > kFreshFor) {
      continue;
    }
    ++fresh;
    waiting += view.waiting[row];
    running += view.running[row];
    kv += view.kv_usage[row];
  }
  ready_.With({pool}).Set(static_cast<double>(fresh));
  if (fresh == 0) return;
  const auto n = static_cast<double>(fresh);
  average_queue_.With({pool}).Set(waiting / n);
  average_running_.With({pool}).Set(running / n);
  average_kv_.With({pool}).Set(kv / n);
}

void GatewayMetrics::ForgetEndpoint(std::string_view pool, std::string_view endpoint) {
  endpoint_queue_.Remove({pool, endpoint});
}

void GatewayMetrics::ScrapeFailed(std::string_view source) { poll_errors_.With({source}).Add(); }

}  // namespace sluice::gateway
