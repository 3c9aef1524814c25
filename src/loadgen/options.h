// BenchOptions: what `sluice bench` sends, where, how fast and for how long. Thread rule: plain values. The names
// follow the field's generators (inference-perf's shared_prefix, vLLM's bench).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace sluice::loadgen {

enum class Api : uint8_t { kCompletions, kChat };
Result<Api> ParseApi(std::string_view name);  // "completions", "chat"
std::string_view Name(Api api);

enum class WorkloadKind : uint8_t {
  kSharedPrefix,  // groups of prompts; the prompts of a group begin with the same text
  kRandom,        // no two prompts begin alike
};
Result<WorkloadKind> ParseWorkloadKind(std::string_view name);  // "shared-prefix", "random"
std::string_view Name(WorkloadKind kind);

// Lengths are in words of a list in which every word is one token for the usual vocabularies; the server's own count is
// what the report shows. Shared prefix: a prompt is prefix + question. Random: a prompt is a question.
struct WorkloadOptions {
  WorkloadKind kind = WorkloadKind::kSharedPrefix;
  std::optional<int64_t> groups;             // shared-prefix only, default 32
  std::optional<int64_t> prompts_per_group;  // shared-prefix only, default 32
  std::optional<int64_t> prefix_tokens;      // shared-prefix only, default 2048
  int64_t question_tokens = 256;
  int64_t output_tokens = 256;
  uint64_t seed = 1;  // equal seeds give equal prompts in equal order
};

enum class ArrivalKind : uint8_t {
  kConcurrency,  // closed loop: `concurrency` requests at any time
  kPoisson,      // open loop: `rate` a second, exponential gaps
  kConstant,     // open loop: `rate` a second, equal gaps
};
Result<ArrivalKind> ParseArrivalKind(std::string_view name);  // "concurrency", "poisson", "constant"
std::string_view Name(ArrivalKind kind);

struct ArrivalOptions {
  ArrivalKind kind = ArrivalKind::kConcurrency;
  std::optional<int64_t> concurrency;  // closed loop only, default 8
  std::optional<double> rate;          // open loops only, requests a second; must be given
};

struct BenchOptions {
  std::string url = "http://127.0.0.1:8080";
  std::string model;    // empty: the first that /v1/models names
  std::string api_key;  // empty: no Authorization header
  Api api = Api::kCompletions;
  bool ignore_eos = true;  // vLLM's extension: answers have the asked length
  WorkloadOptions workload;
  ArrivalOptions arrival;
  // The measured part ends at the first of these; with neither, every prompt of the workload is sent once.
  std::optional<int64_t> requests;
  std::optional<Duration> duration;
  int64_t warmup_requests = 0;
  Duration request_timeout = std::chrono::seconds(300);
  // An open loop does not wait for answers: beyond this many under way a request is not sent and counts as a failure.
  int64_t in_flight_max = 4096;
};

// Ranges, and options that do not belong together; the message names the option as the command line does.
Status Validate(const BenchOptions& options);

// With defaults filled in.
int64_t Groups(const WorkloadOptions& workload);
int64_t PromptsPerGroup(const WorkloadOptions& workload);
int64_t PrefixTokens(const WorkloadOptions& workload);
int64_t Concurrency(const ArrivalOptions& arrival);
// How many measured requests to send; the largest number when only time ends the run.
int64_t RequestsToSend(const BenchOptions& options);

// "http://HOST:PORT[/]" taken apart. The path must be empty: the API's paths are appended.
struct Target {
  std::string host;
  uint16_t port = 80;
};
Result<Target> ParseUrl(std::string_view url);

}  // namespace sluice::loadgen
