// Receipts as text: JSON for machines (the documented shape of `sluice explain -o json`), a table for people, and the
// fields of upstream's "Got pod scores" log line.
// Thread rule: pure. Cost: O(candidates x scorers), off the request path.
//
// JSON, fields always present unless marked:
//   request_id, model, target_model, priority, fairness_id, streaming, time (unix seconds), prompt_tokens,
//   prompt_tokens_estimated, token_source ("tokenizer", "vllm", "request", "estimate"), tokenize_us (before the
//   decision), token_bytes_reused (of the prompt's text, tokenized in an earlier turn), expected_ttft_ms (of the pick,
//   by the latency model; null: none), expected_plus_minus_ms, saturation (null: asked for sheddable requests only),
//   outcome ("picked", "rejected-no-endpoints", "rejected-saturated", "error"), error (null or {code, message}),
//   notes [what was missing from the scores],
//   profile, pick (endpoint or null), runner_up (endpoint or null), decide_us, weights {scorer: weight},
//   candidates [{endpoint "ip:port", name, verdict, filters {filter: "pass" | "drop"}, matched_tokens,
//                cached (with a precise prefix producer: {predicted_tokens: that the engine need not compute,
//                        tiers {"gpu" | "cpu" | "disk" | "shared" | "other" | "speculative" | "history" | "guess":
//                        tokens}, age_s, trust: "exact" or why it may be wrong}),
//                data_age_ms (null: never scraped), predicted_ttft_ms (with a producer that predicts it), scores
//                {scorer: raw 0..1, null: none}, weighted {scorer: number}, total}],
//   candidates_omitted, other_profiles [the same from `profile` on; only with several], observed (after the answer:
//   {served_by, http_status, ttft_ms, e2e_ms, cached_tokens, predicted_tokens (with
//   `cached`), attributes}).
// `candidates` begins with the pick, then falls by total; endpoints that were dropped come last.
#pragma once

#include <string>
#include <string_view>

#include "model/decision.h"

namespace sluice::schedule {

std::string ReceiptJson(const model::Receipt& receipt);
std::string ReceiptTable(const model::Receipt& receipt);

// What upstream logs with "Got pod scores". `scores_json` is null when nobody holds a block, else an object from the
// endpoint's address (with its port where several share an address) to the blocks it is thought to hold. Views into the
// receipt.
struct PodScores {
  std::string_view request_id;
  std::string_view model;
  std::string_view resolved_target_model;
  std::string_view criticality;  // "Critical" above priority 0, "Standard" at 0, "Sheddable" below
  std::string scores_json;
};
PodScores PodScoresOf(const model::Receipt& receipt);

}  // namespace sluice::schedule
