// What the latency model is asked about: a request, and for each candidate endpoint the numbers known when the request
// is dispatched. All of them may be 0 ("none" or "not known"); NaN and negative numbers count as 0, absurd ones as
// their limit, so that a prediction is always finite. Thread rule: plain values; columns are views, the caller's for
// the time of the call. Cost: nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "model/endpoint.h"

namespace sluice::latency {

// A kind of endpoint: same model, same accelerator, same engine. An index into the model's table (Model::Intern).
enum class KindId : uint16_t {};

struct RequestFeatures {
  float prompt_tokens = 0;   // all of them, also those of media
  float encoder_tokens = 0;  // of media: what the encoder has to compute
  float output_tokens = 0;   // expected
};

// One endpoint at dispatch. "Own" numbers are this process's count of what it sent there and has not seen answered.
struct EndpointFeatures {
  float waiting = 0;                 // requests, from the engine's metrics
  float running = 0;                 // requests, from the engine's metrics
  float resident_tokens = 0;         // tokens of KV in use: ResidentTokens() of its metrics
  float prefill_tokens_ahead = 0;    // own: uncached prompt tokens of requests without a first token
  float prefill_requests_ahead = 0;  // own: how many requests these are
  float prefill_elapsed_ms = 0;      // how long the engine has been busy with the oldest of these: since its dispatch,
                                     // or since the first token of the one before it, whichever is later
  float decode_requests = 0;         // own: requests after their first token
  float slots = 0;                   // sequences that the engine runs at once (max_num_seqs)
  float cached_tokens = 0;           // leading tokens of this prompt that it holds
  float encoder_cached_tokens = 0;
  float transfer_bytes = 0;  // of KV that must be moved to it before it can start (P/D, pulling a cache)
};

struct Features {
  RequestFeatures request;
  EndpointFeatures endpoint;
};

// The same for n candidates, as columns. An empty column is a column of zeros; all others have n entries.
struct Candidates {
  std::span<const KindId> kind;                 // n entries; neighbours of equal kind are computed together
  std::span<const model::EndpointId> endpoint;  // n entries
  std::span<const float> waiting;
  std::span<const float> running;
  std::span<const float> resident_tokens;
  std::span<const float> prefill_tokens_ahead;
  std::span<const float> prefill_requests_ahead;
  std::span<const float> prefill_elapsed_ms;
  std::span<const float> decode_requests;
  std::span<const float> slots;
  std::span<const float> cached_tokens;
  std::span<const float> encoder_cached_tokens;
  std::span<const float> transfer_bytes;

  size_t size() const { return kind.size(); }
};

// What a finished answer ran beside, over its decode phase. Both counts include the answer itself.
struct DecodeFeatures {
  float running = 1;          // sequences in a step
  float resident_tokens = 0;  // tokens of KV read by a step
  float prefill_tokens_per_token =
      0;  // prompt tokens of others that this endpoint computed meanwhile / tokens answered
};

struct Prediction {
  float ttft_ms = 0;
  float itl_ms = 0;
  // Mean absolute error to expect, from the errors made so far; with few samples mostly the doubt in the priors.
  float ttft_plus_minus_ms = 0;
  float itl_plus_minus_ms = 0;
};

inline float ResidentTokens(float kv_usage, uint32_t num_blocks, uint32_t block_size) {
  return kv_usage * static_cast<float>(num_blocks) * static_cast<float>(block_size);
}

// Beyond these a number in an observation is garbage (and in a question is cut).
inline constexpr float kTokensMax = 1e8F;
inline constexpr float kRequestsMax = 1e6F;
inline constexpr float kBytesMax = 1e15F;
inline constexpr float kTtftMsMax = 3.6e6F;  // an hour
inline constexpr float kItlMsMax = 60'000;

}  // namespace sluice::latency
