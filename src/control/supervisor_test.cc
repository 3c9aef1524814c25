#include "control/supervisor.h"

#include <algorithm>
#include <csignal>
#include <memory>

#include "control/testing/fixture.h"
#include "net/port_reservation.h"

namespace sluice::control {
namespace {

using runtime::AnyOf;
using runtime::Loop;
using runtime::Task;
using std::chrono::milliseconds;

// Supervises stand-in processes with times of milliseconds, and keeps what it was told.
class World {
 public:
  void Add(const std::string& name, std::vector<std::string> extra = {}, int stop_rank = 0) {
    auto port = net::PortReservation::Take({"127.0.0.1", 0}, net::PortReservation::TakenBy::kAnySocket);
    ASSERT_TRUE(port);
    ProcessSpec spec{.name = name,
                     .role = "worker",
                     .service = "s",
                     .command = {},
                     .address = port->address(),
                     .probe = port->address(),
                     .ready_target = "/health",
                     .stop_rank = stop_rank,
                     .stop_max = stop_max};
    spec.command.argv = {program, "worker", "--port", std::to_string(port->address().port)};
    spec.command.argv.insert(spec.command.argv.end(), extra.begin(), extra.end());
    spec.command.log_file = folder / (name + ".log");
    specs.push_back(std::move(spec));
    ports.push_back(std::move(*port));
  }

  void Run(Task<> (*script)(World*)) {
    Make();
    supervisor->Start();
    RunTask(loop, script(this));
  }
  void Make() {
    supervisor =
        std::make_unique<Supervisor>(loop,
                                     Supervisor::Options{.policy = {.backoff_first = milliseconds(1)},
                                                         .probe_starting_every = milliseconds(2),
                                                         .probe_every = milliseconds(2),
                                                         .probe_timeout = std::chrono::seconds(5)},
                                     specs, [this](const ProcessStatus& status) {
                                       changes.push_back(status.spec->name + " " + std::string(Name(status.state)));
                                       changed.Set();
                                     });
  }

  // Until one process is in that state (after at least `restarts` restarts).
  Task<> Until(size_t index, ProcessState state, int restarts = 0) {
    for (;;) {
      const ProcessStatus now = supervisor->processes()[index];
      if (now.state == state && now.restarts >= restarts) co_return;
      changed.Clear();
      co_await AnyOf(changed);
    }
  }
  size_t IndexOf(const std::string& change) const {
    const auto at = std::ranges::find(changes, change);
    EXPECT_NE(at, changes.end()) << change;
    return static_cast<size_t>(at - changes.begin());
  }

  std::string program = ChildProgram();
  Duration stop_max = std::chrono::seconds(20);
  TempFolder folder;
  Loop loop;
  runtime::Event changed{loop};
  std::vector<std::string> changes;
  std::vector<net::PortReservation> ports;
  std::vector<ProcessSpec> specs;
  std::unique_ptr<Supervisor> supervisor;
};

TEST(Supervisor, IsStartedWhenAllAnswerAndLeavesNothingBehind) {
  World w;
  w.Add("a");
  w.Add("b", {}, /*stop_rank=*/1);
  w.Run([](World* world) -> Task<> {
    co_await AnyOf(world->supervisor->started());
    EXPECT_TRUE(world->supervisor->all_ready());
    std::vector<pid_t> pids;
    for (const ProcessStatus& process : world->supervisor->processes()) pids.push_back(process.pid);
    co_await world->supervisor->Stop();
    for (const pid_t pid : pids) EXPECT_EQ(kill(pid, 0), -1);
  });
  EXPECT_LT(w.IndexOf("a stopped"), w.IndexOf("b stopping")) << "a lower rank is gone before a higher one is told";
  for (const ProcessStatus& process : w.supervisor->processes()) {
    EXPECT_EQ(process.state, ProcessState::kStopped);
    EXPECT_EQ(process.pid, 0);
    EXPECT_EQ(process.last_end, "exit code 0: got a signal");
  }
}

TEST(Supervisor, AProcessThatIsDrainedByHttpGetsItsSignalWhenNothingIsLeft) {
  World w;
  w.Add("a");
  w.specs[0].drain = DrainByHttp{w.specs[0].address, "/drain", "/left", std::chrono::seconds(20)};
  w.Run([](World* world) -> Task<> {
    co_await AnyOf(world->supervisor->started());
    co_await world->supervisor->Stop();
  });
  EXPECT_EQ(ReadText(w.specs[0].command.log_file), "draining\nleft 2\nleft 1\nleft 0\ngot a signal\n");
}

TEST(Supervisor, WhatCannotBeDrainedIsStoppedAllTheSame) {
  World w;
  w.Add("a");
  w.specs[0].drain = DrainByHttp{{"127.0.0.1", 1}, "/drain", "/left", std::chrono::seconds(20)};
  w.Run([](World* world) -> Task<> {
    co_await AnyOf(world->supervisor->started());
    co_await world->supervisor->Stop();
  });
  EXPECT_EQ(ReadText(w.specs[0].command.log_file), "got a signal\n");
}

TEST(Supervisor, StartsAgainWhatWasKilledOnTheSamePort) {
  World w;
  w.Add("a");
  w.Run([](World* world) -> Task<> {
    co_await world->Until(0, ProcessState::kReady);
    const pid_t first = world->supervisor->processes()[0].pid;
    kill(first, SIGKILL);
    co_await world->Until(0, ProcessState::kReady, /*restarts=*/1);
    const ProcessStatus now = world->supervisor->processes()[0];
    EXPECT_NE(now.pid, first);
    EXPECT_EQ(now.restarts, 1);
    EXPECT_EQ(now.last_end, "killed by signal 9 (SIGKILL)");
    co_await world->supervisor->Stop();
  });
  EXPECT_LT(w.IndexOf("a ready"), w.IndexOf("a backing-off"));
}

TEST(Supervisor, TheCallersMistakeFailsAtOnceWithTheLastLine) {
  World w;
  w.Add("good");
  w.Add("bad", {"--misbehave=exit:2:sluice: no such model"});
  w.Run([](World* world) -> Task<> {
    co_await AnyOf(world->supervisor->started());
    const auto failed = world->supervisor->failed();
    EXPECT_TRUE(failed.has_value());
    if (failed) {
      EXPECT_EQ(failed->spec->name, "bad");
      EXPECT_EQ(failed->last_end, "exit code 2: sluice: no such model");
      EXPECT_TRUE(failed->callers_mistake);
      EXPECT_EQ(failed->restarts, 0);
    }
    co_await world->supervisor->Stop();
  });
  EXPECT_EQ(w.supervisor->processes()[0].state, ProcessState::kStopped);
}

TEST(Supervisor, OtherFailuresAreTriedThreeTimes) {
  World w;
  w.Add("bad", {"--misbehave=exit:1:out of luck"});
  w.Run([](World* world) -> Task<> { co_await AnyOf(world->supervisor->started()); });
  EXPECT_EQ(w.supervisor->failed()->restarts, 2);
  EXPECT_FALSE(w.supervisor->failed()->callers_mistake);
}

TEST(Supervisor, AProgramThatCannotBeRunFails) {
  World w;
  w.program = w.folder / "none";
  w.Add("a");
  w.Run([](World* world) -> Task<> { co_await AnyOf(world->supervisor->started()); });
  EXPECT_NE(w.supervisor->failed()->last_end.find("No such file"), std::string::npos);
}

TEST(Supervisor, WhatAnswersOtherThan200IsNotReady) {
  World w;
  w.Add("a", {"--misbehave=unready"});
  w.Add("b");
  w.Run([](World* world) -> Task<> {
    co_await world->Until(1, ProcessState::kReady);
    EXPECT_FALSE(world->supervisor->started().ready());
    EXPECT_EQ(world->supervisor->processes()[0].state, ProcessState::kStarting);
    co_await world->supervisor->Stop();
  });
}

TEST(Supervisor, WhatIgnoresSigtermIsKilledAfterItsTime) {
  World w;
  w.stop_max = milliseconds(50);
  w.Add("a", {"--misbehave=deaf"});
  w.Run([](World* world) -> Task<> {
    co_await world->Until(0, ProcessState::kReady);
    co_await world->supervisor->Stop();
  });
  EXPECT_EQ(w.supervisor->processes()[0].last_end, "did not end in time after SIGTERM; killed by signal 9 (SIGKILL)");
}

Task<> KillSoon(World* world) {
  co_await world->Until(0, ProcessState::kStopping);
  world->supervisor->KillAll();
}

TEST(Supervisor, KillAllEndsAStopThatTakesLong) {
  World w;
  w.Add("a", {"--misbehave=deaf"});
  w.Add("b", {"--misbehave=deaf"}, 1);
  w.Run([](World* world) -> Task<> {
    co_await world->Until(0, ProcessState::kReady);
    co_await world->Until(1, ProcessState::kReady);
    world->loop.Spawn(KillSoon(world));
    co_await world->supervisor->Stop();
  });
  for (const ProcessStatus& process : w.supervisor->processes()) {
    EXPECT_EQ(process.state, ProcessState::kStopped);
    EXPECT_EQ(process.last_end, "killed by signal 9 (SIGKILL)");
  }
}

TEST(Supervisor, StopBeforeAnythingStartedStartsNothing) {
  World w;
  w.Add("a");
  w.Make();
  RunTask(w.loop, [](World* world) -> Task<> {
    world->supervisor->Start();  // its tasks begin in the loop's next round
    co_await world->supervisor->Stop();
  }(&w));
  EXPECT_EQ(w.changes, (std::vector<std::string>{"a stopping", "a stopped"}));
  EXPECT_FALSE(std::filesystem::exists(w.specs[0].command.log_file));
}

TEST(Supervisor, DestroyingItKillsEverything) {
  World w;
  w.Add("a", {"--misbehave=deaf"});
  pid_t pid = 0;
  w.Run([](World* world) -> Task<> { co_await world->Until(0, ProcessState::kReady); });
  pid = w.supervisor->processes()[0].pid;
  EXPECT_EQ(kill(pid, 0), 0);
  w.supervisor.reset();
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(LastLines, CountsNonEmptyLinesOfThisRunOnly) {
  const TempFolder folder;
  const std::string log = folder.Write("l", "old\none\ntwo\nthree\n\n");
  EXPECT_EQ(LastLines(log, 4, 1), "three");
  EXPECT_EQ(LastLines(log, 4, 2), "two\nthree");
  EXPECT_EQ(LastLines(log, 4, 99), "one\ntwo\nthree");
  EXPECT_EQ(LastLines(log, 1000, 1), "three") << "the log was cut meanwhile";
  EXPECT_EQ(LastLines(folder / "none", 0, 1), "");
}

}  // namespace
}  // namespace sluice::control
