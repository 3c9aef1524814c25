// A Report for people (a table) and for programs (JSON). Thread rule: pure.
//
// JSON keys, stable: `url`, `model`, `api`, `stopped`,
// `workload` {kind, groups, prompts_per_group, prefix_tokens, question_tokens, output_tokens, seed} (the first two and
// prefix_tokens only for shared-prefix), `arrival` {kind, concurrency | rate}, `seconds`, `requests`, `completed`,
// `failed`, `warmup_requests`, `requests_per_second`, `prompt_tokens`, `output_tokens`, `cached_tokens` and `hit_rate`
// (null when no answer said how much was cached), `prompt_tokens_per_second`, `output_tokens_per_second`,
// `ttft_ms`, `itl_ms`, `tpot_ms`, `e2e_ms`, `late_ms` {count, mean, p50, p90, p95, p99, max},
// `failures` [{kind, count, example}], `endpoints` [{endpoint, requests, prompt_tokens, cached_tokens}].
// Tokens, latencies and rates are of completed requests; `late_ms` (sent after it was due) is of all that were sent.
#pragma once

#include <string>

#include "loadgen/recorder.h"

namespace sluice::loadgen {

std::string ReportTable(const Report& report);  // ends in a newline
std::string ReportJson(const Report& report);   // one line, ends in a newline

}  // namespace sluice::loadgen
