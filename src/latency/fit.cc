#include "latency/fit.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace sluice::latency {
namespace {

constexpr uint64_t kStart = 16;       // observations before clipping starts: nothing is an outlier yet
constexpr double kHuber = 0.3;        // relative error from which an observation weighs less
constexpr double kLogClip = 1;        // one observation moves a mean by at most a factor of e times its rate
constexpr double kDoubtSamples = 8;   // the priors' doubt counts as so many samples of 100 % error
constexpr double kChange = 0.3;       // log residual that means the machine is another one
constexpr double kForgetMore = 0.07;  // then taken off Fit::kForget
constexpr double kErrorRate = 0.03;
constexpr int kSweepsMax = 20;
constexpr double kSettled = 1e-5;

double Clip(double value, double limit) { return std::clamp(value, -limit, limit); }

}  // namespace

Fit::Fit(std::span<const double> prior) : terms_(prior.size()) {
  SLUICE_CHECK(terms_ > 0 && terms_ <= kTermsMax, "a fit has 1 to kTermsMax terms");
  std::ranges::copy(prior, state_.prior.begin());
  std::fill_n(state_.multiplier.begin(), terms_, 1.0);
  Derive();
}

void Fit::Inherit(std::span<const double> coefficients) {
  SLUICE_CHECK(state_.samples == 0 && coefficients.size() == terms_, "only a fit without observations inherits");
  std::ranges::copy(coefficients, state_.prior.begin());
  Derive();
}

double Fit::Sum(std::span<const double> x) const {
  double sum = 0;
  for (size_t j = 0; j < terms_; ++j) sum += coefficient_[j] * x[j];
  return std::max(sum, kFloorMs);
}

double Fit::speed_factor() const { return std::exp(state_.log_scale); }

double Fit::expected_error() const {
  const auto n = static_cast<double>(state_.samples);
  return (kDoubtSamples + n * state_.error) / (kDoubtSamples + n);
}

void Fit::NoteError(double relative) {
  const double rate = std::max(kErrorRate, 1.0 / static_cast<double>(state_.samples + 1));
  state_.error += rate * (std::min(std::abs(relative), 1.0) - state_.error);
}

void Fit::Learn(std::span<const double> x, double y) {
  const double expected = Sum(x);
  double from_priors = 0;
  for (size_t j = 0; j < terms_; ++j) from_priors += state_.prior[j] * x[j];
  SLUICE_CHECK(y > 0 && from_priors > 0, "observations are positive and checked by the model");

  const double n = static_cast<double>(state_.samples);
  const bool started = state_.samples >= kStart;
  double ratio = std::log(y / from_priors) - state_.log_scale;
  if (started) ratio = Clip(ratio, kLogClip);
  state_.log_scale += std::max(kScaleRate, 1 / (n + 1)) * ratio;

  // The residual is measured against the coefficients that were used, before they move.
  if (started) {
    state_.residual += kResidualRate * (Clip(std::log(y / expected), kLogClip) - state_.residual);
  }

  const double scale = std::max(y, expected);
  const double error = (y - expected) / scale;
  const double weight = started ? std::min(1.0, kHuber / std::max(std::abs(error), kHuber)) : 1.0;
  std::array<double, kTermsMax> z;
  for (size_t j = 0; j < terms_; ++j) z[j] = state_.prior[j] * x[j] / scale;
  // While the residual says that the past is no guide, the past goes faster.
  const double change = std::min(1.0, state_.residual * state_.residual / (kChange * kChange));
  const double forget = kForget - kForgetMore * change;
  size_t at = 0;
  for (size_t i = 0; i < terms_; ++i) {
    state_.moment[i] = forget * state_.moment[i] + weight * z[i] * (y / scale);
    for (size_t j = i; j < terms_; ++j, ++at) state_.gram[at] = forget * state_.gram[at] + weight * z[i] * z[j];
  }
  ++state_.samples;
  Solve();
  Derive();
}

// Coordinate descent, warm: each coefficient in turn to its best value at or above 0. Exact for this convex problem,
// and never leaves it, unlike a projected recursion.
void Fit::Solve() {
  std::array<std::array<double, kTermsMax>, kTermsMax> gram;
  size_t at = 0;
  for (size_t i = 0; i < terms_; ++i) {
    for (size_t j = i; j < terms_; ++j, ++at) gram[i][j] = gram[j][i] = state_.gram[at];
  }
  const double g = std::exp(state_.log_scale);
  std::array<double, kTermsMax> pull;
  for (size_t j = 0; j < terms_; ++j) {
    const double size = std::max(g, state_.multiplier[j]);
    pull[j] = kPrior / (size * size);
  }
  for (int sweep = 0; sweep < kSweepsMax; ++sweep) {
    double moved = 0;
    for (size_t j = 0; j < terms_; ++j) {
      double gradient = state_.moment[j] + pull[j] * g;
      for (size_t i = 0; i < terms_; ++i) {
        if (i != j) gradient -= gram[j][i] * state_.multiplier[i];
      }
      const double best = std::max(0.0, gradient / (gram[j][j] + pull[j]));
      moved = std::max(moved, std::abs(best - state_.multiplier[j]) / std::max(g, best));
      state_.multiplier[j] = best;
    }
    if (moved < kSettled) break;
  }
}

void Fit::Derive() {
  for (size_t j = 0; j < terms_; ++j) coefficient_[j] = state_.prior[j] * state_.multiplier[j];
  residual_factor_ = std::exp(state_.residual);
}

void Fit::set_state(const State& state) {
  state_ = state;
  Derive();
}

}  // namespace sluice::latency
