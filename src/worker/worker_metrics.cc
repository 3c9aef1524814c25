#include "worker/worker_metrics.h"

#include <algorithm>
#include <array>

namespace sluice::worker {
namespace {

using observe::Counter;
using observe::Family;
using observe::Gauge;
using observe::Histogram;

constexpr std::string_view kEngine = "0";  // vLLM's data-parallel rank; a worker is one engine

const std::vector<double> kTtftBounds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                                         1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
const std::vector<double> kTokenBounds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                          0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
const std::vector<double> kRequestBounds = {0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
                                            30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
const std::vector<double> kIterationBounds = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const std::vector<double> kNBounds = {1, 2, 5, 10, 20};
const std::vector<double> kPreemptionBounds = {1, 2, 3, 4, 5, 10, 20};
const std::vector<double> kHttpBounds = {0.1, 0.5, 1.0};
constexpr std::array<std::string_view, 5> kReasons = {"stop", "length", "abort", "error", "repetition"};

// 1, 2, 5, 10, 20, 50, … up to `max`, as vLLM's build_1_2_5_buckets.
std::vector<double> OneTwoFive(int max) {
  std::vector<double> bounds;
  for (double scale = 1;; scale *= 10) {
    for (const double m : {1.0, 2.0, 5.0}) {
      if (m * scale > max) return bounds;
      bounds.push_back(m * scale);
    }
  }
}

std::string Join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ",") + name;
  return out;
}

}  // namespace

struct WorkerMetrics::Cells {
  Gauge *running, *waiting, *waiting_capacity, *waiting_deferred, *kv_usage;
  Counter *prefix_queries, *prefix_hits, *preemptions, *prompt_tokens, *local_compute, *local_hit, *cached,
      *cached_device, *generation_tokens, *rejected;
  std::array<Counter*, kReasons.size()> finished;
  Histogram *prompt, *generation, *iteration, *max_generation, *params_n, *params_max, *ttft, *inter_token, *per_token,
      *e2e, *queue, *inference, *prefill, *decode, *request_preemptions, *prefill_computed;
  Family<Gauge>* loras;
  Family<Counter>* tool_parses;
  Family<Counter>* http_requests;
  Family<Histogram>* http_seconds;
  // What the counters that follow the engine's own totals have been given so far.
  uint64_t seen_queries = 0, seen_hits = 0, seen_preemptions = 0;
  std::string running_loras, waiting_loras;
  bool loras_shown = false;
};

WorkerMetrics::WorkerMetrics(observe::Registry& registry) : registry_(registry) {}
WorkerMetrics::~WorkerMetrics() = default;

void WorkerMetrics::Bind(const ModelInfo& model, const std::string& model_name) {
  name_ = model_name;
  max_loras_ = std::to_string(model.loras.size());
  auto cells = std::make_unique<Cells>();
  Cells& c = *cells;
  const std::vector<std::string> labels = {"engine", "model_name"};
  const auto gauge = [&](const char* name, const char* help) {
    return &registry_.AddGauge(name, help, labels).With({kEngine, name_});
  };
  c.running = gauge("vllm:num_requests_running", "Number of requests in model execution batches.");
  c.waiting = gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.");
  auto& by_reason = registry_.AddGauge(
      "vllm:num_requests_waiting_by_reason",
      "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = "
      "deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals "
      "vllm:num_requests_waiting.",
      {"engine", "model_name", "reason"});
  c.waiting_capacity = &by_reason.With({kEngine, name_, "capacity"});
  c.waiting_deferred = &by_reason.With({kEngine, name_, "deferred"});
  auto& sleep =
      registry_.AddGauge("vllm:engine_sleep_state",
                         "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is "
                         "awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
                         {"engine", "model_name", "sleep_state"});
  sleep.With({kEngine, name_, "awake"}).Set(1);
  sleep.With({kEngine, name_, "weights_offloaded"}).Set(0);
  sleep.With({kEngine, name_, "discard_all"}).Set(0);
  c.kv_usage = gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.");
  cells_ = std::move(cells);
  BindCounters();
  BindHistograms(model);
  BindInfo(model);
}

void WorkerMetrics::BindCounters() {
  Cells& c = *cells_;
  const auto counter = [&](const char* name, const char* help) {
    return &registry_.AddCounter(name, help, {"engine", "model_name"}).With({kEngine, name_});
  };
  c.prefix_queries =
      counter("vllm:prefix_cache_queries_total", "Prefix cache queries, in terms of number of queried tokens.");
  c.prefix_hits = counter("vllm:prefix_cache_hits_total", "Prefix cache hits, in terms of number of cached tokens.");
  counter("vllm:external_prefix_cache_queries_total",
          "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried "
          "tokens.");
  counter("vllm:external_prefix_cache_hits_total",
          "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached "
          "tokens.");
  counter("vllm:mm_cache_queries_total", "Multi-modal cache queries, in terms of number of queried items.");
  counter("vllm:mm_cache_hits_total", "Multi-modal cache hits, in terms of number of cached items.");
  c.preemptions = counter("vllm:num_preemptions_total", "Cumulative number of preemption from the engine.");
  c.prompt_tokens = counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.");
  auto& by_source = registry_.AddCounter("vllm:prompt_tokens_by_source_total", "Number of prompt tokens by source.",
                                         {"engine", "model_name", "source"});
  c.local_compute = &by_source.With({kEngine, name_, "local_compute"});
  c.local_hit = &by_source.With({kEngine, name_, "local_cache_hit"});
  by_source.With({kEngine, name_, "external_kv_transfer"});
  c.cached = counter("vllm:prompt_tokens_cached_total", "Number of cached prompt tokens (local + external).");
  auto& tiers = registry_.AddCounter(
      "vllm:prompt_tokens_cached_by_source_total",
      "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), "
      "disk, "
      "p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to "
      "vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.",
      {"engine", "model_name", "source"});
  c.cached_device = &tiers.With({kEngine, name_, "device"});
  for (const char* tier : {"host", "p2p", "disk", "external_unspecified"}) tiers.With({kEngine, name_, tier});
  c.generation_tokens = counter("vllm:generation_tokens_total", "Number of generation tokens processed.");
  auto& success = registry_.AddCounter("vllm:request_success_total", "Count of successfully processed requests.",
                                       {"engine", "finished_reason", "model_name"});
  for (size_t i = 0; i < kReasons.size(); ++i) c.finished[i] = &success.With({kEngine, kReasons[i], name_});
  auto& rejections = registry_.AddCounter("vllm:admission_rejections_total",
                                          "Number of admission attempts rejected by a queue limit, by reason.",
                                          {"model_name", "reason"});
  c.rejected = &rejections.With({name_, "max_num_queued_reqs"});
  rejections.With({name_, "max_num_queued_tokens"});
}

void WorkerMetrics::BindHistograms(const ModelInfo& model) {
  Cells& c = *cells_;
  const auto histogram = [&](const char* name, const char* help, const std::vector<double>& bounds) {
    return &registry_.AddHistogram(name, help, {"engine", "model_name"}, bounds).With({kEngine, name_});
  };
  const std::vector<double> lengths = OneTwoFive(model.max_model_len);
  c.prompt = histogram("vllm:request_prompt_tokens", "Number of prefill tokens processed.", lengths);
  c.generation = histogram("vllm:request_generation_tokens", "Number of generation tokens processed.", lengths);
  c.iteration =
      histogram("vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.", kIterationBounds);
  c.max_generation = histogram("vllm:request_max_num_generation_tokens",
                               "Histogram of maximum number of requested generation tokens.", lengths);
  c.params_n = histogram("vllm:request_params_n", "Histogram of the n request parameter.", kNBounds);
  c.params_max = histogram("vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter.", lengths);
  c.ttft = histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", kTtftBounds);
  c.inter_token =
      histogram("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", kTokenBounds);
  c.per_token = histogram("vllm:request_time_per_output_token_seconds",
                          "Histogram of time_per_output_token_seconds per request.", kTokenBounds);
  c.e2e = histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", kRequestBounds);
  c.queue = histogram("vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.",
                      kRequestBounds);
  c.inference = histogram("vllm:request_inference_time_seconds",
                          "Histogram of time spent in RUNNING phase for request.", kRequestBounds);
  c.prefill = histogram("vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.",
                        kRequestBounds);
  c.decode = histogram("vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.",
                       kRequestBounds);
  c.request_preemptions = histogram("vllm:request_num_preemptions",
                                    "Histogram of the number of times a request was preempted.", kPreemptionBounds);
  c.prefill_computed =
      histogram("vllm:request_prefill_kv_computed_tokens",
                "Histogram of new KV tokens computed during prefill (excluding cached tokens).", lengths);
}

void WorkerMetrics::BindInfo(const ModelInfo& model) {
  Cells& c = *cells_;
  // The labels that routers and autoscalers read, in vLLM's spelling; those that describe a GPU's memory are left out.
  const std::string block_size = std::to_string(model.block_size);
  const std::string tokens = std::to_string(static_cast<int64_t>(model.block_size) * model.num_blocks);
  registry_
      .AddGauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig",
                {"block_size", "cache_dtype", "enable_prefix_caching", "engine", "kv_cache_size_tokens",
                 "num_cpu_blocks", "num_gpu_blocks", "prefix_caching_hash_algo"})
      .With({block_size, "auto", model.prefix_caching ? "True" : "False", kEngine, tokens, "None",
             std::to_string(model.num_blocks), model.hash_algorithm})
      .Set(1);
  c.loras = &registry_.AddGauge("vllm:lora_requests_info", "Running stats on lora requests.",
                                {"max_lora", "running_lora_adapters", "waiting_lora_adapters"});
  c.http_requests =
      &registry_.AddCounter("http_requests_total", "Total number of requests by method, status and handler.",
                            {"handler", "method", "status"});
  c.http_seconds = &registry_.AddHistogram("http_request_duration_seconds", "Latency with only few buckets by handler.",
                                           {"handler", "method"}, kHttpBounds);
  c.tool_parses =
      &registry_.AddCounter("vllm:tool_call_parser_invocations_total",
                            "Total number of ToolParser invocations. Non-streaming increments once per choice; "
                            "streaming increments once per delta.",
                            {"mode", "model_name", "outcome", "request_type"});
  for (const char* mode : {"streaming", "non_streaming"}) {
    for (const char* outcome : {"tool_call", "no_tool_call"}) {
      c.tool_parses->With({mode, name_, outcome, "chat_completions"});
    }
  }
}

void WorkerMetrics::TakeLoras(const EngineStats& stats, double unix_seconds) {
  Cells& c = *cells_;
  std::string running = Join(stats.running_loras);
  std::string waiting = Join(stats.waiting_loras);
  if (c.loras_shown && (running != c.running_loras || waiting != c.waiting_loras)) {
    c.loras->Remove({max_loras_, c.running_loras, c.waiting_loras});
  }
  c.running_loras = std::move(running);
  c.waiting_loras = std::move(waiting);
  c.loras_shown = true;
  c.loras->With({max_loras_, c.running_loras, c.waiting_loras}).Set(unix_seconds);
}

std::string WorkerMetrics::Render(const EngineStats& stats, double unix_seconds) {
  Cells& c = *cells_;
  c.running->Set(stats.running);
  c.waiting->Set(stats.waiting);
  c.waiting_deferred->Set(stats.waiting_deferred);
  c.waiting_capacity->Set(stats.waiting - stats.waiting_deferred);
  c.kv_usage->Set(stats.kv_usage);
  const auto follow = [](Counter* counter, uint64_t total, uint64_t& seen) {
    if (total > seen) counter->Add(static_cast<double>(total - seen));
    seen = std::max(seen, total);
  };
  follow(c.prefix_queries, stats.prefix_queries_tokens, c.seen_queries);
  follow(c.prefix_hits, stats.prefix_hits_tokens, c.seen_hits);
  follow(c.preemptions, stats.preemptions, c.seen_preemptions);
  TakeLoras(stats, unix_seconds);
  return registry_.Render();
}

void WorkerMetrics::OnRequest(int n) { cells_->params_n->Observe(n); }
void WorkerMetrics::OnRejected() { cells_->rejected->Add(); }

void WorkerMetrics::OnToolParse(bool streaming, bool called) {
  cells_->tool_parses
      ->With(
          {streaming ? "streaming" : "non_streaming", name_, called ? "tool_call" : "no_tool_call", "chat_completions"})
      .Add();
}

void WorkerMetrics::OnHttp(std::string_view route, std::string_view method, int status, double seconds) {
  const std::array<char, 3> code = {static_cast<char>('0' + std::clamp(status / 100, 0, 9)), 'x', 'x'};
  cells_->http_requests->With({route, method, std::string_view(code.data(), code.size())}).Add();
  cells_->http_seconds->With({route, method}).Observe(seconds);
}

void WorkerMetrics::OnStep(const StepReport& report) {
  if (!cells_) return;
  cells_->iteration->Observe(report.prompt_tokens + report.generation_tokens);
  cells_->generation_tokens->Add(report.generation_tokens);
}

void WorkerMetrics::OnFirstToken(const FirstTokenReport& report) {
  Cells& c = *cells_;
  c.ttft->Observe(report.ttft_seconds);
  c.prompt_tokens->Add(report.prompt_tokens);
  c.local_compute->Add(report.prompt_tokens - report.cached_tokens);
  c.local_hit->Add(report.cached_tokens);
  c.cached->Add(report.cached_tokens);
  c.cached_device->Add(report.cached_tokens);
}

void WorkerMetrics::OnInterToken(double seconds) { cells_->inter_token->Observe(seconds); }

void WorkerMetrics::OnFinish(const FinishReport& report) {
  Cells& c = *cells_;
  switch (report.reason) {
    case FinishReason::kNone:
      return;
    case FinishReason::kStop:
      c.finished[0]->Add();
      break;
    case FinishReason::kLength:
      c.finished[1]->Add();
      break;
    case FinishReason::kAbort:
      c.finished[2]->Add();
      break;
    case FinishReason::kError:
      c.finished[3]->Add();
      break;
  }
  c.prompt->Observe(report.prompt_tokens);
  c.generation->Observe(report.completion_tokens);
  c.max_generation->Observe(report.completion_tokens);
  c.params_max->Observe(report.max_tokens);
  c.e2e->Observe(report.e2e_seconds);
  c.queue->Observe(report.queue_seconds);
  c.inference->Observe(report.inference_seconds);
  c.prefill->Observe(report.prefill_seconds);
  c.decode->Observe(report.decode_seconds);
  c.per_token->Observe(report.mean_seconds_per_token);
  c.request_preemptions->Observe(report.preemptions);
  c.prefill_computed->Observe(report.prompt_tokens - report.cached_tokens);
}

}  // namespace sluice::worker
