// Model predicts, for a request and an endpoint, the time to its first token (TTFT) and between its tokens (ITL), and
// learns from what then happened. It is physics with learned coefficients (terms.h has the formula, fit.h the learning,
// priors.h the start), one set for each *kind* of endpoint, and one small factor for each endpoint, so that a slow
// replica shows. Why not a trained forest beside the router, as upstream has: this needs no training set, no second
// process and no 13-48 ms a request, is right in size after a few requests, extrapolates, and can be read by people.
//
// Deterministic: the same calls in the same order give the same bits, so that recorded decisions replay.
// Thread rule: single owner (one model a pool). Predict and PredictMany are const and write only their results.
// Ownership: copies names. Memory: at most kinds_max x 4 KiB + endpoints_max x 24 bytes.
// Cost: PredictMany about 5 ns a candidate, no allocation; an observation 1 to 4 us.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "latency/error_window.h"
#include "latency/features.h"
#include "latency/fit.h"
#include "latency/terms.h"
#include "model/endpoint.h"

namespace sluice::latency {

// One row of a table for people. Rates are as used now, the fast correction included.
struct KindDescription {
  std::string name;
  std::string inherited_from;       // kind whose coefficients it started from; empty: priors
  double prefill_tokens_per_s = 0;  // short prompts; long ones pay attention on top
  double attention_ms_per_16k = 0;  // the quadratic part of a cold prompt of 16,384 tokens
  double overhead_ms = 0;
  double step_ms = 0;  // one sequence, no context: reading the weights
  double step_ms_per_sequence = 0;
  double step_ms_per_1k_resident = 0;  // per 1,000 tokens of KV
  double transfer_bytes_per_s = 0;
  ErrorReport ttft;
  ErrorReport itl;
};

class Model {
 public:
  struct Options {
    size_t kinds_max;      // beyond: kOtherKinds
    size_t endpoints_max;  // slots beyond have no factor of their own
  };
  static constexpr KindId kOtherKinds{0};  // shared by all kinds beyond kinds_max, and by names that are too long
  static constexpr size_t kKindNameMax = 256;

  explicit Model(Options options);

  // The id of a kind, made when it is new: "model|accelerator|engine", where "cpu" as accelerator means the CPU's
  // priors. A new kind starts from the nearest kind that has learned enough, if there is one. For when the pool
  // changes.
  KindId Intern(std::string_view kind);
  size_t kinds() const { return kinds_.size(); }  // kOtherKinds included
  std::string_view name(KindId kind) const { return At(kind).name; }
  uint64_t kinds_refused() const { return kinds_refused_; }  // calls of Intern that were answered with kOtherKinds

  Prediction Predict(KindId kind, model::EndpointId endpoint, const Features& features) const;
  // For all candidates at once, bit for bit what Predict says of each. Both outputs have n entries. The ± is the
  // prediction times the kind's ExpectedError.
  void PredictMany(const RequestFeatures& request, const Candidates& candidates, std::span<float> ttft_ms,
                   std::span<float> itl_ms) const;
  struct RelativeError {
    double ttft, itl;
  };
  RelativeError ExpectedError(KindId kind) const;
  // Of prompts in the queue: what PrefillLedger needs.
  double PrefillMsPerToken(KindId kind) const;

  // The first token of a request came `ttft_ms` after its dispatch with these features. `predicted_ms`, what was
  // predicted at dispatch, is what the error report counts; 0: what would be predicted now, before learning from this.
  // False, and counted as refused, when a number is NaN, negative, 0 or beyond the limits in features.h.
  bool ObserveTtft(KindId kind, model::EndpointId endpoint, const Features& at_dispatch, float ttft_ms,
                   float predicted_ms = 0);
  // A finished answer (of two tokens and more) had this mean time between tokens.
  bool ObserveItl(KindId kind, model::EndpointId endpoint, const DecodeFeatures& during, float itl_ms,
                  float predicted_ms = 0);

  ErrorReport TtftErrors(KindId kind) const;
  ErrorReport ItlErrors(KindId kind) const;
  std::vector<KindDescription> Describe() const;

  // What has been learned about kinds as JSON with a version, and back: predictions are then bit-equal to before, but
  // for the factors of single endpoints, which have no lasting name here and are learned anew within some ten requests.
  // Restore is all or nothing; ids handed out before stay valid. Errors: not JSON, another version, unknown or missing
  // fields, numbers out of range, more kinds than kinds_max, more than kStateBytesMax.
  static constexpr size_t kStateBytesMax = size_t{4} << 20;
  std::string Save() const;
  Status Restore(std::string_view text);

 private:
  struct Kind {
    explicit Kind(std::string kind_name);
    void Refresh();  // after any change of what is below: brings `rates` up to date

    std::string name;
    std::string inherited_from;
    Fit ttft;
    Fit itl;
    double mean_uncached;        // tokens of a prompt that are computed; moving mean
    double log_interleaved = 0;  // moving mean of log(1 + DecodeFeatures::prefill_tokens_per_token)
    uint64_t ttft_refused = 0;
    uint64_t itl_refused = 0;
    ErrorWindow ttft_errors;
    ErrorWindow itl_errors;
    Rates rates;
  };
  // How this endpoint differs from its kind, as logarithms and as the factors that predictions use.
  struct EndpointBias {
    uint32_t generation = 0;
    float ttft = 0;
    float itl = 0;
    float ttft_factor = 1;
    float itl_factor = 1;
  };

  const Kind& At(KindId kind) const;
  Kind& At(KindId kind) { return const_cast<Kind&>(static_cast<const Model*>(this)->At(kind)); }
  KindId Append(std::string name);
  void StartFromNearest(Kind& kind);
  EndpointBias BiasOf(model::EndpointId endpoint) const;
  EndpointBias* MutableBias(model::EndpointId endpoint);
  static Result<std::vector<Kind>> ReadKinds(std::string_view text);

  Options options_;
  std::vector<Kind> kinds_;
  std::vector<EndpointBias> biases_;  // by slot
  uint64_t kinds_refused_ = 0;
};

}  // namespace sluice::latency
