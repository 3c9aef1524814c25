#include "serving/router_metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "serving/upstream_error.h"

namespace sluice::serving {
namespace {

constexpr size_t kNamesMax = 1000;
constexpr size_t kEndpointsKept = 10'000;  // cells remembered a series, before they are looked up again
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

// Upstream's error_code values; what it has no name for is the client's fault.
std::string_view ErrorCode(Code code) {
  if (code == Code::kBadGateway || code == Code::kUpstreamTimeout) return "ModelServerError";
  if (code == Code::kCancelled) return "Unknown";
  const std::string_view name = UpstreamErrorName(code);
  return name.empty() ? "BadRequest" : name;
}

}  // namespace

RouterMetrics::RouterMetrics(observe::Registry& r)
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
      deviation_kv_(r.AddGauge("llm_d_epp_std_dev_kv_cache_utilization",
                               "[ALPHA] Sample standard deviation over fresh endpoints.", {"name"})),
      deviation_queue_(r.AddGauge("llm_d_epp_std_dev_queue_size",
                                  "[ALPHA] Sample standard deviation over fresh endpoints.", {"name"})),
      deviation_running_(r.AddGauge("llm_d_epp_std_dev_running_requests",
                                    "[ALPHA] Sample standard deviation over fresh endpoints.", {"name"})),
      ready_(r.AddGauge("llm_d_epp_ready_endpoints", "[ALPHA] Endpoints in rotation with metrics younger than 2 s.",
                        {"name"})),
      endpoint_queue_(r.AddGauge("llm_d_epp_per_endpoint_queue_size", "[ALPHA] Waiting requests.",
                                 {"name", "model_server_endpoint"})),
      decide_(r.AddHistogram("llm_d_epp_scheduler_e2e_duration_seconds", "[ALPHA] Time of one decision.", {},
                             kDecideSeconds)
                  .Get()),
      attempts_(r.AddCounter("llm_d_epp_scheduler_attempts_total", "[ALPHA] Decisions.",
                             {"status", "target_model_name", "endpoint_name", "namespace", "port"})),
      poll_errors_(
          r.AddCounter("llm_d_epp_datalayer_poll_errors_total", "[ALPHA] Scrapes that failed.", {"source_type"})),
      extract_errors_(r.AddCounter("llm_d_epp_datalayer_extract_errors_total",
                                   "[ALPHA] Pages that came but could not be read, wholly or in part.",
                                   {"source_type", "extractor_type"})),
      scrape_period_(r.AddGauge("sluice_gateway_scrape_period_seconds",
                                "Time between two scrapes of an endpoint, as reached.", {"name"})),
      retries_(r.AddCounter("sluice_gateway_retries_total", "Requests sent to another endpoint after a failure.",
                            {"reason"})),
      predicted_ttft_(r.AddHistogram("llm_d_epp_request_predicted_ttft_seconds",
                                     "[ALPHA] To the first byte, as the latency model expected it at dispatch.",
                                     {"plugin_name", "plugin_type", "model_name", "target_model_name"}, kTtftSeconds)),
      model_error_(r.AddGauge("sluice_gateway_latency_model_error_ratio",
                              "Mean of |expected - measured| / measured over the last 256 (what: ttft, itl).",
                              {"pool", "kind", "what"})),
      rewrites_(r.AddCounter("llm_d_epp_model_rewrite_decisions_total",
                             "[ALPHA] Requests whose model an InferenceModelRewrite replaced.",
                             {"model_rewrite_name", "model_name", "target_model"})),
      policy_changes_(r.AddCounter("sluice_gateway_policy_changes_total",
                                   "Policies reloaded, refused, promoted and taken back.", {"pool", "what"})),
      incomplete_(r.AddCounter("sluice_gateway_decisions_incomplete_total",
                               "Decisions made without all of their data; their receipts say what was missing.",
                               {"pool"})),
      tokenized_(r.AddCounter("sluice_gateway_tokenized_requests_total",
                              "Requests of pools that want exact tokens, by who made theirs: tokenizer, vllm, request "
                              "(the client sent them), estimate (they could not be had).",
                              {"pool", "source"})),
      not_tokenized_(r.AddCounter("sluice_gateway_tokenize_failures_total",
                                  "Requests whose exact tokens could not be had, so that they were estimated.",
                                  {"pool", "source", "reason"})),
      tokenize_(r.AddHistogram("sluice_gateway_tokenize_seconds",
                               "Time a request waited for its tokens before the decision.", {"pool", "source"},
                               kDecideSeconds)),
      cache_(r) {}

std::string_view RouterMetrics::Bounded(std::set<std::string, std::less<>>& seen, std::string_view value) {
  const auto found = seen.find(value);
  if (found != seen.end()) return *found;
  if (seen.size() >= kNamesMax) return "other";
  return *seen.emplace(value).first;
}

// Cells of histograms that not every request needs are looked up at first use.
struct RouterMetrics::Series {
  std::array<std::string, 4> labels;  // model, target model, tenant, priority
  int priority = 0;
  observe::Counter* requests;
  observe::Gauge* running;
  observe::Histogram* duration;
  observe::Histogram* request_bytes;
  observe::Histogram* response_bytes;
  std::array<observe::Histogram*, 2> ttft{};  // not streamed, streamed
  observe::Histogram* input_tokens = nullptr;
  observe::Histogram* cached_tokens = nullptr;
  observe::Histogram* output_tokens = nullptr;
  observe::Histogram* ntpot = nullptr;
  observe::Histogram* tpot = nullptr;
  observe::Histogram* itl = nullptr;
  observe::Histogram* predicted_ttft = nullptr;
  std::map<std::string, observe::Counter*, std::less<>> scheduled_to;  // by endpoint name

  std::vector<std::string_view> Values(std::initializer_list<std::string_view> more = {}) const {
    std::vector<std::string_view> values(labels.begin(), labels.end());
    values.insert(values.end(), more);
    return values;
  }
  template <class Cell>
  Cell& Of(Cell*& cell, observe::Family<Cell>& family, std::initializer_list<std::string_view> more = {}) {
    if (cell == nullptr) cell = &family.With(std::span<const std::string_view>(Values(more)));
    return *cell;
  }
};

RouterMetrics::~RouterMetrics() = default;

RouterMetrics::Series& RouterMetrics::SeriesOf(std::string_view model, std::string_view target_model,
                                               std::string_view fairness_id, int priority) {
  if (last_ != nullptr && last_->priority == priority && last_->labels[0] == model &&
      last_->labels[1] == target_model && last_->labels[2] == fairness_id) {
    return *last_;
  }
  const std::string number = std::to_string(priority);
  const std::array<std::string_view, 4> labels = {Bounded(models_, model), Bounded(models_, target_model),
                                                  Bounded(tenants_, fairness_id), number};
  key_.clear();
  for (const std::string_view label : labels) key_.append(label).push_back('\xff');
  const auto found = series_.find(key_);
  if (found != series_.end()) return *(last_ = found->second.get());
  auto series = std::make_unique<Series>();
  for (size_t i = 0; i < labels.size(); ++i) series->labels[i] = labels[i];
  series->priority = priority;
  const std::span<const std::string_view> values(labels);
  series->requests = &requests_.With(values);
  series->running = &running_.With(values);
  series->duration = &duration_.With(values);
  series->request_bytes = &request_bytes_.With(values);
  series->response_bytes = &response_bytes_.With(values);
  return *(last_ = series_.emplace(key_, std::move(series)).first->second.get());
}

void RouterMetrics::Scheduled(Series& series, uint64_t body_bytes, Duration decide, const model::Endpoint& endpoint) {
  series.requests->Add();
  series.request_bytes->Observe(static_cast<double>(body_bytes));
  decide_.Observe(Seconds(decide));
  auto found = series.scheduled_to.find(endpoint.id);
  if (found == series.scheduled_to.end()) {
    if (series.scheduled_to.size() >= kEndpointsKept) series.scheduled_to.clear();
    const std::string port = std::to_string(endpoint.port);
    observe::Counter& counter = attempts_.With({"success", series.labels[1], endpoint.name, endpoint.ns, port});
    found = series.scheduled_to.emplace(endpoint.id, &counter).first;
  }
  found->second->Add();
}

void RouterMetrics::NotScheduled(Series& series, Duration decide) {
  decide_.Observe(Seconds(decide));
  attempts_.With({"failure", series.labels[1], "", "", ""}).Add();
}

void RouterMetrics::InterToken(Series& series, Duration since_previous) {
  series.Of(series.itl, itl_).Observe(Seconds(since_previous));
}

void RouterMetrics::Running(Series& series, int delta) { series.running->Add(delta); }

void RouterMetrics::Ended(Series& series, const RelayReport& report, TimePoint received, bool streaming) {
  const double seconds = Seconds(report.last_byte - received);
  series.duration->Observe(seconds);
  series.response_bytes->Observe(static_cast<double>(report.response_bytes));
  if (report.first_byte) {
    observe::Histogram*& cell = series.ttft[streaming ? 1 : 0];
    series.Of(cell, ttft_, {streaming ? "true" : "false"}).Observe(Seconds(*report.first_byte - received));
  }
  if (!report.usage) return;
  series.Of(series.input_tokens, input_tokens_).Observe(static_cast<double>(report.usage->prompt_tokens));
  series.Of(series.cached_tokens, cached_tokens_).Observe(static_cast<double>(report.usage->cached_tokens));
  const auto generated = static_cast<double>(report.usage->completion_tokens);
  series.Of(series.output_tokens, output_tokens_).Observe(generated);
  if (generated > 0) series.Of(series.ntpot, ntpot_).Observe(seconds / generated);
  if (streaming && generated > 1 && report.first_byte) {
    series.Of(series.tpot, tpot_).Observe(Seconds(report.last_byte - *report.first_byte) / (generated - 1));
  }
}

void RouterMetrics::Failed(Series& series, Code code) {
  errors_.With(std::span<const std::string_view>(series.Values({ErrorCode(code)}))).Add();
}

void RouterMetrics::Retried(std::string_view reason) { retries_.With({reason}).Add(); }

void RouterMetrics::Expected(Series& series, double ttft_ms) {
  if (series.predicted_ttft == nullptr) {
    series.predicted_ttft =
        &predicted_ttft_.With({"latency-model", "latency-model", series.labels[0], series.labels[1]});
  }
  series.predicted_ttft->Observe(ttft_ms / 1e3);
}

void RouterMetrics::Latency(std::string_view pool, const std::vector<latency::KindDescription>& kinds) {
  for (const latency::KindDescription& kind : kinds) {
    if (kind.ttft.samples > 0) model_error_.With({pool, kind.name, "ttft"}).Set(kind.ttft.mape);
    if (kind.itl.samples > 0) model_error_.With({pool, kind.name, "itl"}).Set(kind.itl.mape);
  }
}

void RouterMetrics::Rewritten(std::string_view object, std::string_view model, std::string_view target_model) {
  rewrites_.With({object, Bounded(models_, model), Bounded(models_, target_model)}).Add();
}

void RouterMetrics::Tokenized(std::string_view pool, std::string_view source, Duration took) {
  tokenized_.With({pool, source}).Add();
  if (source != "request") tokenize_.With({pool, source}).Observe(Seconds(took));
}

void RouterMetrics::NotTokenized(std::string_view pool, std::string_view source, std::string_view reason) {
  not_tokenized_.With({pool, source, reason}).Add();
}

void RouterMetrics::PolicyChanged(std::string_view pool, std::string_view what) {
  policy_changes_.With({pool, what}).Add();
}

void RouterMetrics::Incomplete(std::string_view pool) { incomplete_.With({pool}).Add(); }

namespace {

// Mean and sample standard deviation, in one pass over small numbers.
struct Spread {
  double sum = 0, squares = 0, n = 0;
  void Add(double v) {
    sum += v;
    squares += v * v;
    n += 1;
  }
  double Mean() const { return sum / n; }
  double Deviation() const {  // two decimals, as upstream
    if (n < 2) return 0;
    return std::round(std::sqrt(std::max(0.0, (squares - sum * sum / n) / (n - 1))) * 100) / 100;
  }
};

}  // namespace

void RouterMetrics::Pool(std::string_view pool, const model::PoolView& view, TimePoint now) {
  Spread waiting, running, kv;
  for (size_t row = 0; row < view.size(); ++row) {
    endpoint_queue_.With({pool, view.endpoint(row).name}).Set(view.waiting[row]);
    if (view.in_rotation[row] == 0 || view.scraped_at[row] == model::EndpointState::kNever ||
        now - view.scraped_at[row] > kFreshFor) {
      continue;
    }
    waiting.Add(view.waiting[row]);
    running.Add(view.running[row]);
    kv.Add(view.kv_usage[row]);
  }
  ready_.With({pool}).Set(waiting.n);
  if (waiting.n == 0) return;  // the last numbers stay
  average_queue_.With({pool}).Set(waiting.Mean());
  average_running_.With({pool}).Set(running.Mean());
  average_kv_.With({pool}).Set(kv.Mean());
  deviation_queue_.With({pool}).Set(waiting.Deviation());
  deviation_running_.With({pool}).Set(running.Deviation());
  deviation_kv_.With({pool}).Set(kv.Deviation());
}

void RouterMetrics::ForgetEndpoint(std::string_view pool, std::string_view endpoint) {
  endpoint_queue_.Remove({pool, endpoint});
}

void RouterMetrics::ScrapeFailed(std::string_view source_type) { poll_errors_.With({source_type}).Add(); }

void RouterMetrics::ExtractFailed(std::string_view source_type, std::string_view extractor_type) {
  extract_errors_.With({source_type, extractor_type}).Add();
}

void RouterMetrics::ScrapePeriod(std::string_view pool, double seconds) { scrape_period_.With({pool}).Set(seconds); }

}  // namespace sluice::serving
