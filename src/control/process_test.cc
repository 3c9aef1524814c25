#include "control/process.h"

#include <fcntl.h>

#include <csignal>
#include <cstdio>

#include "base/text.h"
#include "control/testing/fixture.h"

namespace sluice::control {
namespace {

using runtime::AnyOf;
using runtime::Loop;
using runtime::Task;

Task<> WaitFor(Process* process, std::optional<ExitStatus>* status) {
  while (!*status) {
    co_await AnyOf(process->exited());
    *status = process->Reap();
  }
}

struct World {
  Loop loop;
  TempFolder folder;
  std::string log = folder / "child.log";

  Result<Process> Start(std::vector<std::string> argv, std::vector<std::pair<std::string, std::string>> env = {}) {
    return Process::Start(loop, {.argv = std::move(argv), .env = std::move(env), .log_file = log});
  }
  ExitStatus End(Process& process) {
    std::optional<ExitStatus> status;
    RunTask(loop, WaitFor(&process, &status));
    return status.value_or(ExitStatus{true, -1});
  }
};

TEST(Process, TellsExitCodesAndSignals) {
  for (const auto& [script, text] : {std::pair{"exit 0", "exit code 0"}, std::pair{"exit 3", "exit code 3"},
                                     std::pair{"kill -9 $$", "killed by signal 9 (SIGKILL)"}}) {
    World w;
    auto process = w.Start({"/bin/sh", "-c", script});
    ASSERT_TRUE(process);
    EXPECT_EQ(w.End(*process).Text(), text);
  }
}

TEST(Process, AppendsBothOutputsToItsLogAndTakesItsEnvironment) {
  World w;
  w.folder.Write("child.log", "before\n");
  ASSERT_EQ(setenv("SLUICE_TEST_KEPT", "kept", 1), 0);
  ASSERT_EQ(setenv("SLUICE_TEST_CHANGED", "old", 1), 0);
  auto process = w.Start({"/bin/sh", "-c", "echo $SLUICE_TEST_KEPT $SLUICE_TEST_CHANGED; echo err >&2; cat"},
                         {{"SLUICE_TEST_CHANGED", "new"}});
  ASSERT_TRUE(process);
  EXPECT_EQ(w.End(*process), (ExitStatus{false, 0})) << "cat ends because standard input is empty";
  EXPECT_EQ(ReadText(w.log), "before\nkept new\nerr\n");
}

TEST(Process, ArgumentsAreNotReadByAShell) {
  World w;
  auto process = w.Start({"/bin/echo", "$HOME; *", "two  spaces"});
  ASSERT_TRUE(process);
  w.End(*process);
  EXPECT_EQ(ReadText(w.log), "$HOME; * two  spaces\n");
}

TEST(Process, WhatCannotBeRunIsAnErrorThatNamesIt) {
  World w;
  const auto missing = w.Start({w.folder / "no-such-program"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("no-such-program: No such file"), std::string::npos)
      << missing.error().message;
  const auto folder = w.Start({w.folder.path()});
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code, Code::kInvalidArgument);
}

TEST(Process, InheritsNoDescriptorOfOurs) {
  World w;
  const int ours = open("/dev/null", O_RDONLY | O_CLOEXEC);
  auto process = w.Start({"/bin/ls", "/proc/self/fd"});
  ASSERT_TRUE(process);
  w.End(*process);
  close(ours);
  // 0, 1, 2 and the one with which ls reads the folder.
  EXPECT_EQ(ReadText(w.log), "0\n1\n2\n3\n");
}

TEST(Process, StartsWithAllSignalsDeliverable) {
  World w;
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  std::signal(SIGHUP, SIG_IGN);
  auto process = w.Start({"/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"});
  std::signal(SIGHUP, SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(process);
  w.End(*process);
  // Signals 32 and 33 are the C library's own: no program can set them, and some ancestors leave them ignored.
  constexpr uint64_t kLibraryOwn = uint64_t{3} << 31;
  uint64_t masked = ~uint64_t{0}, ignored = ~uint64_t{0};
  ASSERT_EQ(std::sscanf(ReadText(w.log).c_str(), "SigBlk:\t%lx\nSigIgn:\t%lx\n", &masked, &ignored), 2);
  EXPECT_EQ(masked, 0u);
  EXPECT_EQ(ignored & ~kLibraryOwn, 0u);
}

TEST(Process, TerminateAndKillReachTheWholeGroup) {
  World w;
  // The shell prints the pid of its own child and waits for it.
  auto process = w.Start({"/bin/sh", "-c", "sleep 1000 & echo $!; wait"});
  ASSERT_TRUE(process);
  pid_t grandchild = 0;
  while (grandchild == 0) grandchild = ParseNumber<pid_t>(TrimSpace(ReadText(w.log))).value_or(0);
  process->Terminate();
  EXPECT_EQ(w.End(*process), (ExitStatus{true, SIGTERM}));
  EXPECT_TRUE(EndsWithin(grandchild, 20));
  process->Kill();  // reaped: nothing happens
}

TEST(Process, DestroyingItKillsIt) {
  World w;
  pid_t pid = 0;
  {
    auto process = w.Start({"/bin/sleep", "1000"});
    ASSERT_TRUE(process);
    pid = process->pid();
  }
  EXPECT_EQ(kill(pid, 0), -1) << "reaped, so there is no such process";
}

TEST(Process, EndsWhenItsParentIsKilled) {
  World w;
  auto process = w.Start({ChildProgram(), "orphan", w.folder / "orphan.log"});
  ASSERT_TRUE(process);
  EXPECT_EQ(w.End(*process), (ExitStatus{true, SIGKILL}));
  const auto orphan = ParseNumber<pid_t>(TrimSpace(ReadText(w.log)));
  ASSERT_TRUE(orphan);
  EXPECT_TRUE(EndsWithin(*orphan, 20));
}

}  // namespace
}  // namespace sluice::control
