#include "loadgen/options.h"

#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "base/text.h"

namespace sluice::loadgen {
namespace {

constexpr int64_t kTokensMax = 1'000'000;
constexpr int64_t kRequestsMax = 10'000'000;

template <class Kind>
struct Named {
  std::string_view name;
  Kind kind;
};

constexpr std::array kApis{Named<Api>{"completions", Api::kCompletions}, Named<Api>{"chat", Api::kChat}};
constexpr std::array kWorkloads{Named<WorkloadKind>{"shared-prefix", WorkloadKind::kSharedPrefix},
                                Named<WorkloadKind>{"random", WorkloadKind::kRandom}};
constexpr std::array kArrivals{Named<ArrivalKind>{"concurrency", ArrivalKind::kConcurrency},
                               Named<ArrivalKind>{"poisson", ArrivalKind::kPoisson},
                               Named<ArrivalKind>{"constant", ArrivalKind::kConstant}};

template <class Kind, size_t N>
Result<Kind> Parse(const std::array<Named<Kind>, N>& table, std::string_view name, std::string_view option) {
  std::vector<std::string_view> known;
  std::string list;
  for (const auto& entry : table) {
    if (entry.name == name) return entry.kind;
    known.push_back(entry.name);
    list += (list.empty() ? "" : ", ") + std::string(entry.name);
  }
  return Fail(Code::kInvalidArgument,
              std::string(option) + ": '" + std::string(name) + "' is not one of " + list + DidYouMean(name, known),
              std::string(option));
}

template <class Kind, size_t N>
std::string_view NameIn(const std::array<Named<Kind>, N>& table, Kind kind) {
  for (const auto& entry : table) {
    if (entry.kind == kind) return entry.name;
  }
  return "?";
}

Status Between(std::string_view option, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return Fail(Code::kInvalidArgument,
              std::string(option) + " must be from " + std::to_string(low) + " to " + std::to_string(high) + ", not " +
                  std::to_string(value),
              std::string(option));
}

tl::unexpected<Error> DoesNotBelong(std::string_view option, std::string_view to) {
  return Fail(Code::kInvalidArgument, std::string(option) + " does not belong to " + std::string(to) + "; leave it out",
              std::string(option));
}

Status ValidateWorkload(const WorkloadOptions& w) {
  if (w.kind == WorkloadKind::kRandom) {
    constexpr std::string_view kTo = "the random workload (its prompts are --question-tokens long and share nothing)";
    if (w.groups) return DoesNotBelong("--groups", kTo);
    if (w.prompts_per_group) return DoesNotBelong("--prompts-per-group", kTo);
    if (w.prefix_tokens) return DoesNotBelong("--prefix-tokens", kTo);
  }
  struct Check {
    std::string_view option;
    int64_t value, low, high;
  };
  const Check checks[] = {{"--groups", Groups(w), 1, 1'000'000},
                          {"--prompts-per-group", PromptsPerGroup(w), 1, 1'000'000},
                          {"--prefix-tokens", PrefixTokens(w), 0, kTokensMax},
                          {"--question-tokens", w.question_tokens, 1, kTokensMax},
                          {"--output-tokens", w.output_tokens, 1, kTokensMax},
                          {"--groups times --prompts-per-group", Groups(w) * PromptsPerGroup(w), 1, kRequestsMax}};
  for (const Check& c : checks) {
    if (auto status = Between(c.option, c.value, c.low, c.high); !status) return status;
  }
  return {};
}

Status ValidateArrival(const ArrivalOptions& a) {
  if (a.kind == ArrivalKind::kConcurrency) {
    if (a.rate) return DoesNotBelong("--rate", "a closed loop (--arrival concurrency)");
    return Between("--concurrency", Concurrency(a), 1, 65'536);
  }
  if (a.concurrency) return DoesNotBelong("--concurrency", "an open loop (--arrival poisson or constant)");
  if (!a.rate) return Fail(Code::kInvalidArgument, "--rate is missing: an open loop needs requests a second", "--rate");
  if (!std::isfinite(*a.rate) || *a.rate < 0.001 || *a.rate > 100'000) {
    return Fail(Code::kInvalidArgument, "--rate must be from 0.001 to 100000 requests a second", "--rate");
  }
  return {};
}

}  // namespace

Result<Api> ParseApi(std::string_view name) { return Parse(kApis, name, "--api"); }
std::string_view Name(Api api) { return NameIn(kApis, api); }
Result<WorkloadKind> ParseWorkloadKind(std::string_view name) { return Parse(kWorkloads, name, "--workload"); }
std::string_view Name(WorkloadKind kind) { return NameIn(kWorkloads, kind); }
Result<ArrivalKind> ParseArrivalKind(std::string_view name) { return Parse(kArrivals, name, "--arrival"); }
std::string_view Name(ArrivalKind kind) { return NameIn(kArrivals, kind); }

int64_t Groups(const WorkloadOptions& w) { return w.kind == WorkloadKind::kRandom ? 1 : w.groups.value_or(32); }
int64_t PromptsPerGroup(const WorkloadOptions& w) {
  return w.kind == WorkloadKind::kRandom ? 1 : w.prompts_per_group.value_or(32);
}
int64_t PrefixTokens(const WorkloadOptions& w) {
  return w.kind == WorkloadKind::kRandom ? 0 : w.prefix_tokens.value_or(2048);
}
int64_t Concurrency(const ArrivalOptions& a) { return a.concurrency.value_or(8); }

int64_t RequestsToSend(const BenchOptions& o) {
  if (o.requests) return *o.requests;
  if (o.duration) return std::numeric_limits<int64_t>::max();
  // A random workload has no end of its own.
  return o.workload.kind == WorkloadKind::kRandom ? 1000 : Groups(o.workload) * PromptsPerGroup(o.workload);
}

Status Validate(const BenchOptions& o) {
  if (auto target = ParseUrl(o.url); !target) return tl::unexpected(std::move(target.error()));
  if (auto status = ValidateWorkload(o.workload); !status) return status;
  if (auto status = ValidateArrival(o.arrival); !status) return status;
  if (o.requests) {
    if (auto status = Between("--requests", *o.requests, 1, kRequestsMax); !status) return status;
  }
  if (o.duration && (*o.duration < std::chrono::milliseconds(1) || *o.duration > std::chrono::hours(24 * 7))) {
    return Fail(Code::kInvalidArgument, "--duration must be over zero and at most seven days", "--duration");
  }
  if (o.request_timeout < std::chrono::milliseconds(1) || o.request_timeout > std::chrono::hours(24)) {
    return Fail(Code::kInvalidArgument, "--request-timeout must be over zero and at most a day", "--request-timeout");
  }
  if (auto status = Between("--warmup", o.warmup_requests, 0, kRequestsMax); !status) return status;
  return Between("--in-flight-max", o.in_flight_max, 1, 65'536);
}

Result<Target> ParseUrl(std::string_view url) {
  const auto bad = [url](std::string_view why) {
    return Fail(Code::kInvalidArgument,
                "--url '" + std::string(url) + "': " + std::string(why) + "; the form is http://HOST:PORT", "--url");
  };
  std::string_view rest = url;
  if (rest.starts_with("https://")) return bad("only http is spoken");
  if (!rest.starts_with("http://")) return bad("it does not begin with http://");
  rest.remove_prefix(7);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#@") != std::string_view::npos) return bad("only a host and a port may follow http://");
  Target target;
  const size_t colon = rest.rfind(':');
  const bool has_port = colon != std::string_view::npos && rest.find(']', colon) == std::string_view::npos;
  std::string_view host = has_port ? rest.substr(0, colon) : rest;
  if (has_port) {
    const auto port = ParseNumber<uint16_t>(rest.substr(colon + 1));
    if (!port || *port == 0) return bad("the port is not a number from 1 to 65535");
    target.port = *port;
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) return bad("the host is missing");
  target.host = std::string(host);
  return target;
}

}  // namespace sluice::loadgen
