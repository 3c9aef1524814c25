#include "control/lifecycle.h"

#include <gtest/gtest.h>

namespace sluice::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

struct World {
  ManualClock clock;
  Lifecycle process{RestartPolicy{}};

  void BecomeReady() {
    process.OnStarted(clock.Now());
    process.OnProbe(clock.Now(), Probe::kReady);
  }
  Lifecycle::AfterEnd End(bool mistake = false) { return process.OnEnd(clock.Now(), mistake); }
};

TEST(Lifecycle, IsReadyOnlyWhenItAnswers200) {
  World w;
  w.process.OnStarted(w.clock.Now());
  EXPECT_EQ(w.process.state(), ProcessState::kStarting);
  w.process.OnProbe(w.clock.Now(), Probe::kNotReady);
  w.process.OnProbe(w.clock.Now(), Probe::kSilent);
  EXPECT_EQ(w.process.state(), ProcessState::kStarting);
  w.process.OnProbe(w.clock.Now(), Probe::kReady);
  EXPECT_EQ(w.process.state(), ProcessState::kReady);
}

TEST(Lifecycle, DelaysDoubleToTheLimitAndStartAgainAfterAHealthyMinute) {
  World w;
  w.BecomeReady();
  std::vector<double> delays;
  for (int i = 0; i < 9; ++i) {
    const auto after = w.End();
    ASSERT_TRUE(after.restart);
    EXPECT_EQ(w.process.state(), ProcessState::kBackingOff);
    delays.push_back(Seconds(after.delay));
    w.clock.Advance(seconds(59));
    w.BecomeReady();
  }
  EXPECT_EQ(delays, (std::vector<double>{0.5, 1, 2, 4, 8, 16, 30, 30, 30}));
  EXPECT_EQ(w.process.restarts(), 9);
  w.clock.Advance(seconds(60));
  EXPECT_EQ(Seconds(w.End().delay), 0.5) << "a minute of health forgets the failures";
  EXPECT_EQ(w.process.restarts(), 9) << "but not the count";
}

TEST(Lifecycle, AMinuteWithoutEverAnsweringIsNotHealth) {
  World w;
  w.BecomeReady();
  w.End();
  w.process.OnStarted(w.clock.Now());
  w.clock.Advance(seconds(90));
  EXPECT_EQ(Seconds(w.End().delay), 1);
}

TEST(Lifecycle, TheCallersMistakeIsNotTriedAgainUnlessItOnceWorked) {
  World w;
  w.process.OnStarted(w.clock.Now());
  EXPECT_FALSE(w.End(/*mistake=*/true).restart);
  EXPECT_EQ(w.process.state(), ProcessState::kFailed);

  World once_ready;
  once_ready.BecomeReady();
  EXPECT_TRUE(once_ready.End(/*mistake=*/true).restart);
}

TEST(Lifecycle, GivesUpAfterThreeTriesThatWereNeverReady) {
  World w;
  for (int i = 0; i < 2; ++i) {
    w.process.OnStarted(w.clock.Now());
    EXPECT_TRUE(w.End().restart);
  }
  w.process.OnStarted(w.clock.Now());
  EXPECT_FALSE(w.End().restart);
  EXPECT_TRUE(w.process.over());
}

TEST(Lifecycle, NeverGivesUpOnWhatWasReadyOnce) {
  World w;
  w.BecomeReady();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(w.End().restart);
    w.process.OnStarted(w.clock.Now());
  }
}

TEST(Lifecycle, OneMissedProbeIsForgivenThreeAreNot) {
  World w;
  w.BecomeReady();
  w.process.OnProbe(w.clock.Now(), Probe::kSilent);
  w.process.OnProbe(w.clock.Now(), Probe::kSilent);
  EXPECT_EQ(w.process.state(), ProcessState::kReady);
  w.process.OnProbe(w.clock.Now(), Probe::kSilent);
  EXPECT_EQ(w.process.state(), ProcessState::kNotReady);
  w.process.OnProbe(w.clock.Now(), Probe::kReady);
  EXPECT_EQ(w.process.state(), ProcessState::kReady);
  w.process.OnProbe(w.clock.Now(), Probe::kNotReady);
  EXPECT_EQ(w.process.state(), ProcessState::kNotReady) << "503 is an answer and is believed at once";
}

TEST(Lifecycle, SilenceHangsButAnAnswerOtherThan200DoesNot) {
  World w;
  w.BecomeReady();
  for (int i = 0; i < 100; ++i) {
    w.clock.Advance(seconds(2));
    w.process.OnProbe(w.clock.Now(), Probe::kNotReady);
    EXPECT_EQ(w.process.HungBecause(w.clock.Now()), "");
  }
  for (int i = 0; i < 29; ++i) {
    w.clock.Advance(seconds(2));
    w.process.OnProbe(w.clock.Now(), Probe::kSilent);
    EXPECT_EQ(w.process.HungBecause(w.clock.Now()), "");
  }
  w.clock.Advance(seconds(2));
  EXPECT_EQ(w.process.HungBecause(w.clock.Now()), "stopped answering");
}

TEST(Lifecycle, AStartHasALimit) {
  World w;
  w.process.OnStarted(w.clock.Now());
  w.clock.Advance(minutes(10) - milliseconds(1));
  EXPECT_EQ(w.process.HungBecause(w.clock.Now()), "");
  w.clock.Advance(milliseconds(1));
  EXPECT_EQ(w.process.HungBecause(w.clock.Now()), "was not ready in time");
}

TEST(Lifecycle, WhatWasToldToStopIsNotStartedAgain) {
  World w;
  w.BecomeReady();
  w.process.OnStop();
  w.process.OnProbe(w.clock.Now(), Probe::kReady);
  EXPECT_EQ(w.process.state(), ProcessState::kStopping) << "a late probe does not revive it";
  EXPECT_FALSE(w.End().restart);
  EXPECT_EQ(w.process.state(), ProcessState::kStopped);
}

TEST(Lifecycle, StateNamesReadBack) {
  for (int i = 0; i <= static_cast<int>(ProcessState::kFailed); ++i) {
    const auto state = static_cast<ProcessState>(i);
    EXPECT_EQ(ParseProcessState(Name(state)), state);
  }
  EXPECT_EQ(ParseProcessState("sleeping"), std::nullopt);
}

}  // namespace
}  // namespace sluice::control
