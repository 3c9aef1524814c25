#include "latency/fit.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "base/rng.h"

namespace sluice::latency {
namespace {

constexpr std::array<double, 3> kPriors = {10, 0.1, 0.001};

double Uniform(Rng& rng, double least, double most) { return least + rng.Uniform() * (most - least); }

TEST(Fit, FindsCoefficientsFarFromTheirPriors) {
  Fit fit(kPriors);
  Rng rng(1);
  for (int i = 0; i < 300; ++i) {
    const std::array<double, 3> x = {1, Uniform(rng, 0, 100), Uniform(rng, 0, 100)};
    fit.Learn(x, (30 + 0.02 * x[1] + 2 * x[2]) * Uniform(rng, 0.95, 1.05));
  }
  EXPECT_NEAR(fit.coefficients()[0], 30, 3);
  EXPECT_NEAR(fit.coefficients()[1], 0.02, 0.1);
  EXPECT_NEAR(fit.coefficients()[2], 2, 0.1);  // 2,000 times its prior
  EXPECT_NEAR(fit.residual_factor(), 1, 0.03);
}

TEST(Fit, IsRightInSizeAfterOneObservation) {
  Fit fit(kPriors);
  const std::array<double, 3> x = {1, 50, 0};
  fit.Learn(x, 1'500);  // a hundred times what the priors say
  EXPECT_NEAR(fit.Sum(x), 1'500, 150);
  EXPECT_NEAR(fit.speed_factor(), 100, 1);
  // A term that was not there is as much slower as the rest.
  EXPECT_NEAR(fit.coefficients()[2], 0.1, 0.01);
}

TEST(Fit, NeverGoesNegative) {
  Fit fit(kPriors);
  Rng rng(2);
  for (int i = 0; i < 500; ++i) {
    const std::array<double, 3> x = {1, Uniform(rng, 0, 100), Uniform(rng, 0, 100)};
    fit.Learn(x, std::max(1.0, 200 - 1.5 * x[1]));  // falls where the model can only rise
    for (const double c : fit.coefficients()) ASSERT_GE(c, 0) << i;
  }
  EXPECT_EQ(fit.coefficients()[1], 0);
}

TEST(Fit, ItsStateIsAllOfIt) {
  Fit a(kPriors);
  const auto step = [](Fit& fit, uint64_t seed) {
    Rng own(seed);
    const std::array<double, 3> x = {1, Uniform(own, 0, 100), Uniform(own, 0, 100)};
    fit.NoteError(Uniform(own, -0.5, 0.5));
    fit.Learn(x, 10 + x[1] * Uniform(own, 0.5, 1.5));
  };
  for (uint64_t i = 0; i < 50; ++i) step(a, i);
  Fit b(kPriors);
  b.set_state(a.state());
  for (uint64_t i = 50; i < 100; ++i) {
    step(a, i);
    step(b, i);
  }
  for (size_t j = 0; j < 3; ++j) EXPECT_EQ(a.coefficients()[j], b.coefficients()[j]);
  EXPECT_EQ(a.residual_factor(), b.residual_factor());
  EXPECT_EQ(a.expected_error(), b.expected_error());
}

}  // namespace
}  // namespace sluice::latency
