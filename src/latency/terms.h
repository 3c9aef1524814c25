// The physics: which terms make up TTFT and ITL. One template for the learner (double, one row) and the predictor
// (float, a block of rows that the compiler vectorises), so that both compute the same formula. Pure; no branches.
//
// A decode step reads the weights once, all resident KV once, and does a little work for each sequence:
//   step(B, D) = a + c B + k D                        [ms]  B sequences, D resident KV tokens
//   ITL        = step + i                             [ms]  i: prompt tokens of others computed per step / prefill rate
// ("Decode step = a + k sum KV", specs of Qwen3-32B and Llama-70B fitted on H100; 20 us a sequence; "a mixed step takes
// decode time + prefill tokens / R".) TTFT is what must pass before the first token:
//   TTFT = o                                          fixed: network, parsing, templates
//        + p u                                        own prefill: u = prompt - cached tokens, p = 1 / R
//        + q u (prompt + cached) / 2                  attention of these to all before them: the quadratic part
//        + h A                                        prefill queue: A tokens ahead (own in flight, and requests of
//                                                     others that wait, at the kind's mean uncached prompt)
//        + r step(B, D) [B > 0]                       the step that is running, and what others add to our own
//        + m (u + A) step(B, D) [B > 0]               prefill shares its steps with decode; m = 1 / chunk
//        + l E step(B, D) / B                         E requests too many for the slots: each waits for one of B to
//                                                     end, every l / B steps (l: remaining tokens of an answer)
//        + t bytes                                    KV transfer
//        + e encoder tokens                           media
//        - elapsed                                    what is already done of the part ahead (not more than that part)
// Coefficients are never negative and are learned per kind (fit.h). u is at least 1: the last token is always computed.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "latency/features.h"

namespace sluice::latency {

enum TtftTerm : size_t {
  kOverhead,
  kPrefill,
  kAttention,
  kAhead,
  kStep,
  kMixed,
  kSlots,
  kTransfer,
  kEncoder,
  kTtftTerms
};
enum ItlTerm : size_t { kWeights, kSequence, kResident, kInterleaved, kItlTerms };

inline constexpr std::array<std::string_view, kTtftTerms> kTtftTermNames = {
    "overhead", "prefill", "attention", "ahead", "step", "mixed", "slots", "transfer", "encoder"};
inline constexpr std::array<std::string_view, kItlTerms> kItlTermNames = {"weights", "sequence", "resident",
                                                                          "interleaved"};

// What a prediction reads of a kind.
struct Rates {
  std::array<float, kTtftTerms> ttft;
  std::array<float, kItlTerms> itl;
  float ttft_factor, itl_factor, mean_uncached, interleaved;
};

// 0 for NaN and below, at most `limit`.
template <class T>
T Clean(T value, T limit) {
  const T positive = value > T{0} ? value : T{0};
  return positive < limit ? positive : limit;
}
template <class T>
T Larger(T a, T b) {
  return a > b ? a : b;
}
template <class T>
T Smaller(T a, T b) {
  return a < b ? a : b;
}

template <class T>
struct Row {  // EndpointFeatures, cleaned, in the precision of the computation
  T waiting, running, resident, ahead_tokens, ahead_requests, elapsed, decode, slots, cached, encoder_cached, transfer;
};

template <class T>
Row<T> CleanRow(const EndpointFeatures& f) {
  const auto requests = [](float v) { return static_cast<T>(Clean(v, kRequestsMax)); };
  const auto tokens = [](float v) { return static_cast<T>(Clean(v, kTokensMax)); };
  return {requests(f.waiting),
          requests(f.running),
          tokens(f.resident_tokens),
          tokens(f.prefill_tokens_ahead),
          requests(f.prefill_requests_ahead),
          static_cast<T>(Clean(f.prefill_elapsed_ms, kTtftMsMax)),
          requests(f.decode_requests),
          requests(f.slots),
          tokens(f.cached_tokens),
          tokens(f.encoder_cached_tokens),
          static_cast<T>(Clean(f.transfer_bytes, kBytesMax))};
}

template <class T>
struct RequestRow {
  T prompt, encoder, output;
};

template <class T>
RequestRow<T> CleanRequest(const RequestFeatures& f) {
  return {static_cast<T>(Clean(f.prompt_tokens, kTokensMax)), static_cast<T>(Clean(f.encoder_tokens, kTokensMax)),
          static_cast<T>(Clean(f.output_tokens, kTokensMax))};
}

template <class T>
T Uncached(const RequestRow<T>& request, const Row<T>& row) {
  return Larger(request.prompt - row.cached, T{1});
}

// Sequences that decode there now. The engine's `running` counts those in prefill too: own ones are taken off.
template <class T>
T Decoding(const Row<T>& row) {
  const T prefilling = Larger(row.ahead_requests - row.waiting, T{0});
  return Larger(row.decode, row.running - prefilling);
}

template <class T>
std::array<T, kItlTerms> ItlTermsOf(T running, T resident, T interleaved) {
  return {T{1}, running, resident, interleaved};
}

// The milliseconds of a pure decode step that runs now.
template <class T, class Rates>
T StepMs(const Rates& itl, T decoding, T resident) {
  return itl[kWeights] + itl[kSequence] * decoding + itl[kResident] * resident;
}

template <class T>
std::array<T, kTtftTerms> TtftTermsOf(const RequestRow<T>& request, const Row<T>& row, T step_ms, T mean_uncached) {
  const T uncached = Uncached(request, row);
  const T others = Larger(row.waiting - row.ahead_requests, T{0});
  const T ahead = row.ahead_tokens + others * mean_uncached;
  const T decoding = Decoding(row);
  const T there = Larger(row.running + row.waiting, row.decode + row.ahead_requests);
  const T excess = row.slots > T{0} ? Larger(there + T{1} - row.slots, T{0}) : row.waiting;
  const T cached = Smaller(row.cached, request.prompt);
  return {T{1},
          uncached,
          uncached * (request.prompt + cached) * T{0.5},
          ahead,
          decoding > T{0} ? step_ms : T{0},
          decoding > T{0} ? (uncached + ahead) * step_ms : T{0},
          excess * step_ms / Larger(decoding, T{1}),
          row.transfer,
          Larger(request.encoder - row.encoder_cached, T{0})};
}

// The part of the sum that is other requests' work, of which `elapsed` is done already.
template <class T, class Rates>
T AheadMs(const Rates& ttft, const std::array<T, kTtftTerms>& x, T uncached, T step_ms) {
  const T mixed = Larger(x[kMixed] - uncached * step_ms, T{0});
  return ttft[kAhead] * x[kAhead] + ttft[kMixed] * mixed + ttft[kSlots] * x[kSlots];
}

}  // namespace sluice::latency
