#include "loadgen/report.h"

#include <algorithm>
#include <cstdio>

#include "codec/json/write.h"

namespace sluice::loadgen {
namespace {

constexpr size_t kEndpointsShown = 20;

double PerSecond(double count, const Report& report) { return report.seconds > 0 ? count / report.seconds : 0; }

std::string Format(const char* format, auto... values) {
  char buffer[512];
  const int size = std::snprintf(buffer, sizeof(buffer), format, values...);
  return std::string(buffer, static_cast<size_t>(std::clamp(size, 0, static_cast<int>(sizeof(buffer)) - 1)));
}

std::string Describe(const BenchOptions& o) {
  const WorkloadOptions& w = o.workload;
  std::string text(Name(w.kind));
  if (w.kind == WorkloadKind::kSharedPrefix) {
    text +=
        Format(" %lld x %lld, %lld+%lld", static_cast<long long>(Groups(w)), static_cast<long long>(PromptsPerGroup(w)),
               static_cast<long long>(PrefixTokens(w)), static_cast<long long>(w.question_tokens));
  } else {
    text += Format(" %lld", static_cast<long long>(w.question_tokens));
  }
  text += Format(" -> %lld tokens, ", static_cast<long long>(w.output_tokens));
  if (o.arrival.kind == ArrivalKind::kConcurrency) {
    text += Format("%lld at a time", static_cast<long long>(Concurrency(o.arrival)));
  } else {
    text += Format("%g requests/s %s", *o.arrival.rate, std::string(Name(o.arrival.kind)).c_str());
  }
  return text + Format(", seed %llu", static_cast<unsigned long long>(w.seed));
}

std::string LatencyRow(const char* name, const Percentiles& p) {
  if (p.count == 0) return Format("%-10s         -\n", name);
  return Format("%-10s %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f\n", name, p.mean * 1e3, p.p50 * 1e3, p.p90 * 1e3,
                p.p95 * 1e3, p.p99 * 1e3, p.max * 1e3);
}

std::string EndpointRows(const Report& report) {
  if (report.endpoints.empty()) return {};
  std::string out = Format("\n%-32s %9s %14s %8s\n", "Endpoint", "requests", "prompt tokens", "cached");
  for (size_t i = 0; i < std::min(report.endpoints.size(), kEndpointsShown); ++i) {
    const EndpointShare& share = report.endpoints[i];
    const double prompt = static_cast<double>(std::max<int64_t>(share.prompt_tokens, 1));
    out +=
        Format("%-32s %9llu %14lld %6.1f %%\n", share.endpoint.c_str(), static_cast<unsigned long long>(share.requests),
               static_cast<long long>(share.prompt_tokens), 100.0 * static_cast<double>(share.cached_tokens) / prompt);
  }
  if (report.endpoints.size() > kEndpointsShown) {
    out += Format("and %zu more (-o json has all)\n", report.endpoints.size() - kEndpointsShown);
  }
  return out;
}

void WritePercentiles(codec::JsonWriter& w, std::string_view key, const Percentiles& p) {
  w.Key(key).BeginObject().Field("count", p.count);
  const std::pair<std::string_view, double> values[] = {{"mean", p.mean}, {"p50", p.p50}, {"p90", p.p90},
                                                        {"p95", p.p95},   {"p99", p.p99}, {"max", p.max}};
  for (const auto& [name, seconds] : values) {
    if (p.count == 0) {
      w.Field(name, nullptr);
    } else {
      w.Field(name, seconds * 1e3);
    }
  }
  w.EndObject();
}

void WriteOptions(codec::JsonWriter& w, const Report& report) {
  const BenchOptions& o = report.options;
  w.Field("url", o.url).Field("model", o.model).Field("api", Name(o.api)).Field("stopped", report.stopped);
  w.Key("workload").BeginObject().Field("kind", Name(o.workload.kind));
  if (o.workload.kind == WorkloadKind::kSharedPrefix) {
    w.Field("groups", Groups(o.workload)).Field("prompts_per_group", PromptsPerGroup(o.workload));
    w.Field("prefix_tokens", PrefixTokens(o.workload));
  }
  w.Field("question_tokens", o.workload.question_tokens).Field("output_tokens", o.workload.output_tokens);
  w.Field("seed", o.workload.seed).EndObject();
  w.Key("arrival").BeginObject().Field("kind", Name(o.arrival.kind));
  if (o.arrival.kind == ArrivalKind::kConcurrency) {
    w.Field("concurrency", Concurrency(o.arrival));
  } else {
    w.Field("rate", *o.arrival.rate);
  }
  w.EndObject();
}

}  // namespace

std::string ReportTable(const Report& report) {
  const auto n = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::string out = report.options.url + ", model " + report.options.model + "\n" + Describe(report.options) + "\n\n";
  out += Format("Requests   %llu measured in %.1f s, %llu completed, %llu failed%s", n(report.requests), report.seconds,
                n(report.completed), n(report.requests - report.completed),
                report.stopped ? "; stopped before the end" : "");
  if (report.warmup > 0) out += Format("; %llu before them to warm up", n(report.warmup));
  out += "\n";
  out += Format("Throughput %.2f requests/s, %.1f output tokens/s, %.1f prompt tokens/s\n",
                PerSecond(static_cast<double>(report.completed), report),
                PerSecond(static_cast<double>(report.output_tokens), report),
                PerSecond(static_cast<double>(report.prompt_tokens), report));
  if (report.prompt_tokens_with_cache > 0) {
    out +=
        Format("Cache      %.1f %% of prompt tokens were cached (%lld of %lld)\n",
               100.0 * static_cast<double>(report.cached_tokens) / static_cast<double>(report.prompt_tokens_with_cache),
               static_cast<long long>(report.cached_tokens), static_cast<long long>(report.prompt_tokens_with_cache));
  } else {
    out += "Cache      the server does not say how many prompt tokens were cached\n";
  }
  out += Format("\n%-10s %9s %9s %9s %9s %9s %9s\n", "ms", "mean", "p50", "p90", "p95", "p99", "max");
  out += LatencyRow("TTFT", report.ttft) + LatencyRow("ITL", report.itl) + LatencyRow("TPOT", report.tpot) +
         LatencyRow("E2E", report.e2e);
  if (report.options.arrival.kind != ArrivalKind::kConcurrency) out += LatencyRow("sent late", report.late);
  out += EndpointRows(report);
  if (!report.failures.empty()) out += "\nFailures\n";
  for (const FailureCount& failure : report.failures) {
    out += Format("%-12s %9llu", std::string(Name(failure.failure)).c_str(), n(failure.count));
    out += failure.example.empty() ? "\n" : "  first: " + failure.example + "\n";
  }
  return out;
}

std::string ReportJson(const Report& report) {
  std::string out;
  codec::JsonWriter w(out);
  w.BeginObject();
  WriteOptions(w, report);
  w.Field("seconds", report.seconds).Field("requests", report.requests).Field("completed", report.completed);
  w.Field("failed", report.requests - report.completed).Field("warmup_requests", report.warmup);
  w.Field("requests_per_second", PerSecond(static_cast<double>(report.completed), report));
  w.Field("prompt_tokens", report.prompt_tokens).Field("output_tokens", report.output_tokens);
  if (report.prompt_tokens_with_cache > 0) {
    w.Field("cached_tokens", report.cached_tokens);
    w.Field("hit_rate",
            static_cast<double>(report.cached_tokens) / static_cast<double>(report.prompt_tokens_with_cache));
  } else {
    w.Field("cached_tokens", nullptr).Field("hit_rate", nullptr);
  }
  w.Field("prompt_tokens_per_second", PerSecond(static_cast<double>(report.prompt_tokens), report));
  w.Field("output_tokens_per_second", PerSecond(static_cast<double>(report.output_tokens), report));
  WritePercentiles(w, "ttft_ms", report.ttft);
  WritePercentiles(w, "itl_ms", report.itl);
  WritePercentiles(w, "tpot_ms", report.tpot);
  WritePercentiles(w, "e2e_ms", report.e2e);
  WritePercentiles(w, "late_ms", report.late);
  w.Key("failures").BeginArray();
  for (const FailureCount& failure : report.failures) {
    w.BeginObject().Field("kind", Name(failure.failure)).Field("count", failure.count);
    w.Field("example", failure.example).EndObject();
  }
  w.EndArray().Key("endpoints").BeginArray();
  for (const EndpointShare& share : report.endpoints) {
    w.BeginObject().Field("endpoint", share.endpoint).Field("requests", share.requests);
    w.Field("prompt_tokens", share.prompt_tokens).Field("cached_tokens", share.cached_tokens).EndObject();
  }
  w.EndArray().EndObject();
  out += '\n';
  return out;
}

}  // namespace sluice::loadgen
