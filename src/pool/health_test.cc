#include "pool/health.h"

#include <gtest/gtest.h>

namespace sluice::pool {
namespace {

using std::chrono::milliseconds;

constexpr HealthOptions kOptions{
    .failures_to_eject = 2, .probe_initial = milliseconds(100), .probe_max = milliseconds(350), .jitter = 0};
TimePoint At(int ms) { return TimePoint(milliseconds(ms)); }

TEST(EndpointHealth, ConsecutiveFailuresEjectAndASuccessBetweenDoesNot) {
  Rng rng(1);
  EndpointHealth health(kOptions);
  EXPECT_TRUE(health.in_rotation());  // before anything was seen
  EXPECT_FALSE(health.OnConnectFailure(At(0), rng));
  EXPECT_FALSE(health.OnSuccess());
  EXPECT_FALSE(health.OnConnectFailure(At(1), rng));
  EXPECT_TRUE(health.in_rotation());
  EXPECT_TRUE(health.OnConnectFailure(At(2), rng));
  EXPECT_FALSE(health.in_rotation());
}

TEST(EndpointHealth, ProbesBackOffToTheLimitAndOneSuccessBringsItBack) {
  Rng rng(1);
  EndpointHealth health(kOptions);
  health.OnConnectFailure(At(0), rng);
  health.OnConnectFailure(At(0), rng);
  EXPECT_FALSE(health.ProbeDue(At(99)));
  EXPECT_TRUE(health.ProbeDue(At(100)));
  EXPECT_FALSE(health.OnConnectFailure(At(100), rng));
  EXPECT_EQ(health.next_probe(), At(300));  // 200 ms
  health.OnConnectFailure(At(150), rng);    // a late report of another request does not lengthen the wait
  EXPECT_EQ(health.next_probe(), At(300));
  health.OnConnectFailure(At(300), rng);
  EXPECT_EQ(health.next_probe(), At(650));  // 350 ms, the limit
  EXPECT_TRUE(health.OnSuccess());
  EXPECT_TRUE(health.in_rotation());
  EXPECT_FALSE(health.ProbeDue(At(10'000)));
  health.OnConnectFailure(At(1000), rng);
  health.OnConnectFailure(At(1000), rng);
  EXPECT_EQ(health.next_probe(), At(1100));  // the back-off starts anew
}

TEST(EndpointHealth, JitterStaysInItsShare) {
  Rng rng(3);
  HealthOptions options = kOptions;
  options.failures_to_eject = 1;
  options.jitter = 0.2;
  for (int i = 0; i < 200; ++i) {
    EndpointHealth health(options);
    health.OnConnectFailure(At(0), rng);
    EXPECT_GE(health.next_probe(), At(90));
    EXPECT_LE(health.next_probe(), At(110));
  }
}

}  // namespace
}  // namespace sluice::pool
