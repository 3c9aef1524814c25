// Fit: non-negative coefficients of a sum of terms, learned from one observation after another. Weighted recursive
// least squares in the form of its sufficient statistics, solved anew after each observation:
//   minimise over phi >= 0:  sum_i L^(n-i) w_i (t_i - sum_j phi_j z_ij)^2 + sum_j p_j (phi_j - g)^2
// where coefficient_j = prior_j phi_j, and each observation is divided by the larger of what was seen and what was
// expected, so that errors are relative (what MAPE measures) and a wild value weighs little. w is Huber's weight.
// g is how much slower than its priors this machine is over all (exponential moving mean of the log ratio): one number
// that is right after a few requests, while the single coefficients need tens. The pull p_j = kPrior / max(g, phi_j)^2
// is worth at most kPrior observations in either direction, so a coefficient may be a thousand times its prior when
// the data say so, and stays at g times its prior when they say nothing.
// On top, `residual`: a fast moving mean of the remaining log error, so that a change of speed is followed in tens of
// requests; the coefficients come after.
// Thread rule: plain value, one owner. Deterministic: equal observations in equal order give equal bits.
// Cost: Learn 1 to 4 us; no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "latency/terms.h"

namespace sluice::latency {

class Fit {
 public:
  static constexpr size_t kTermsMax = kTtftTerms;
  static constexpr size_t kPairsMax = kTermsMax * (kTermsMax + 1) / 2;
  static constexpr double kFloorMs = 1e-3;
  static constexpr double kForget = 0.985;      // memory of about 67 observations
  static constexpr double kPrior = 0.02;        // about the variance of a relative error of 14 %
  static constexpr double kResidualRate = 0.1;  // of `residual`
  static constexpr double kScaleRate = 0.03;    // of g, once it has seen 33 observations

  // Everything there is to keep; what a restart restores.
  struct State {
    std::array<double, kTermsMax> prior{};       // > 0
    std::array<double, kTermsMax> multiplier{};  // phi
    std::array<double, kTermsMax> moment{};      // sum w z t
    std::array<double, kPairsMax> gram{};        // sum w z z', upper triangle, row by row
    double log_scale = 0;                        // log g
    double residual = 0;                         // log
    double error = 0;                            // moving mean of |relative error|
    uint64_t samples = 0;
  };

  explicit Fit(std::span<const double> prior);

  // Only before the first observation: start from other coefficients.
  void Inherit(std::span<const double> coefficients);

  // What the terms sum up to, without the residual; at least kFloorMs, since coefficients may all be 0 for these terms.
  double Sum(std::span<const double> x) const;
  // Learns that terms `x` (finite, >= 0, the first > 0) came out as `y` > 0.
  void Learn(std::span<const double> x, double y);
  // Moving mean of the absolute relative errors of predictions, for the ± of the next one.
  void NoteError(double relative);

  size_t terms() const { return terms_; }
  // prior_j phi_j: milliseconds a unit of term j.
  std::span<const double> coefficients() const { return {coefficient_.data(), terms_}; }
  double residual_factor() const { return residual_factor_; }
  double speed_factor() const;  // g
  // Mean relative error to expect: 1 without data, then more and more what was seen.
  double expected_error() const;
  const State& state() const { return state_; }
  // `state` has been checked by whoever read it (state.cc).
  void set_state(const State& state);

 private:
  void Solve();
  void Derive();

  size_t terms_;
  State state_;
  std::array<double, kTermsMax> coefficient_{};
  double residual_factor_ = 1;
};

}  // namespace sluice::latency
