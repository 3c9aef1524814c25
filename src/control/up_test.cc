// RunUp as a whole, in its own process and with stand-in workers and gateway (testing/child.cc).
#include "control/up.h"

#include <csignal>
#include <memory>

#include "base/text.h"
#include "control/commands.h"
#include "control/platform_status.h"
#include "control/process.h"
#include "control/testing/fixture.h"

namespace sluice::control {
namespace {

class UpTest : public ::testing::Test {
 protected:
  void SetUp() override { setenv("SLUICE_STATE_DIR", folder_.path().c_str(), 1); }
  void TearDown() override { unsetenv("SLUICE_STATE_DIR"); }

  std::string Manifest(const std::string& worker_arg) {
    const std::string model = folder_.Write("m.gguf", "");
    return folder_.Write(
        "service.yaml",
        "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\nmetadata: {name: s}\nspec:\n"
        "  model: {uri: 'file://" +
            model +
            "', name: m}\n  replicas: 2\n"
            "  template:\n    containers:\n    - name: main\n      args: ['" +
            worker_arg + "']\n");
  }
  void Start(std::vector<std::string> flags) {
    std::vector<std::string> argv = {ChildProgram(), "up"};
    argv.insert(argv.end(), flags.begin(), flags.end());
    auto process = Process::Start(loop_, {.argv = argv, .env = {}, .log_file = Log()});
    ASSERT_TRUE(process);
    up_.emplace(std::move(*process));
  }
  std::string Log() const { return folder_ / "up.out"; }

  // Until the output has `words`, at most until `up` ends or a minute is over.
  bool Says(const std::string& words) {
    const auto has = [&] { return ReadText(Log()).find(words) != std::string::npos; };
    for (int tries = 0; tries < 6000 && !has(); ++tries) {
      if (EndsWithinMs(up_->pid(), 10)) break;
    }
    return has();
  }
  std::string End() {
    EXPECT_TRUE(EndsWithin(up_->pid(), 60)) << ReadText(Log());
    const auto status = up_->Reap();
    return status ? status->Text() : "still running";
  }
  std::vector<pid_t> Pids() {
    std::vector<pid_t> pids;
    const auto status = FindPlatform(folder_.path(), 0);
    EXPECT_TRUE(status) << status.error().message;
    if (!status) return pids;
    for (const ProcessRecord& process : status->processes) pids.push_back(process.pid);
    pids.push_back(status->supervisor_pid);
    return pids;
  }

  TempFolder folder_;
  runtime::Loop loop_;
  std::optional<Process> up_;
};

TEST_F(UpTest, StaysInForegroundUntilSigintAndLeavesNothing) {
  Start({"-f", Manifest("--x")});
  ASSERT_TRUE(Says("stop: Ctrl-C")) << ReadText(Log());
  const std::vector<pid_t> pids = Pids();
  ASSERT_EQ(pids.size(), 4u);
  kill(up_->pid(), SIGINT);
  EXPECT_EQ(End(), "exit code 0") << ReadText(Log());
  for (const pid_t pid : pids) EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_NE(ReadText(Log()).find("draining"), std::string::npos);
  EXPECT_EQ(FindPlatform(folder_.path(), 0).error().code, Code::kUnavailable);
}

TEST_F(UpTest, TellsARestartAndCountsIt) {
  Start({"-f", Manifest("--x")});
  ASSERT_TRUE(Says("stop: Ctrl-C")) << ReadText(Log());
  kill(Pids()[0], SIGKILL);
  ASSERT_TRUE(Says("s-0  started again (restart 1)")) << ReadText(Log());
  EXPECT_NE(ReadText(Log()).find("s-0  killed by signal 9 (SIGKILL); starting again in 0.5 s"), std::string::npos);
  const auto text = GetText(0, OutputFormat::kJson);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_NE(text->find("\"restarts\":1"), std::string::npos);
}

TEST_F(UpTest, KilledItLeavesNothingAndIsNotTakenForRunning) {
  Start({"-f", Manifest("--x")});
  ASSERT_TRUE(Says("stop: Ctrl-C")) << ReadText(Log());
  const std::vector<pid_t> pids = Pids();
  kill(up_->pid(), SIGKILL);
  EXPECT_EQ(End(), "killed by signal 9 (SIGKILL)");
  for (const pid_t pid : pids) EXPECT_TRUE(EndsWithin(pid, 20));
  const auto text = GetText(0, OutputFormat::kTable);
  ASSERT_FALSE(text);
  EXPECT_EQ(Info(text.error().code).exit_code, 1);
}

TEST_F(UpTest, AWorkersMistakeEndsItWithTheWorkersWords) {
  Start({"-f", Manifest("--misbehave=exit:2:sluice, the model is corrupt")});
  EXPECT_EQ(End(), "exit code 2");
  const std::string said = ReadText(Log());
  EXPECT_NE(said.find("could not start: exit code 2: sluice, the model is corrupt"), std::string::npos) << said;
  EXPECT_NE(said.find("/logs/s-"), std::string::npos) << said;
}

TEST_F(UpTest, DetachedItRunsOnUntilDown) {
  Start({"-f", Manifest("--x"), "--detach", "yes"});
  EXPECT_EQ(End(), "exit code 0") << ReadText(Log());
  EXPECT_TRUE(Says("Ready: http://127.0.0.1:"));
  const std::vector<pid_t> pids = Pids();
  ASSERT_EQ(pids.size(), 4u);
  EXPECT_EQ(getsid(pids.back()), pids.back()) << "its own session: a closed terminal does not end it";

  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::fopen((folder_ / "down.out").c_str(), "w"),
                                                            &std::fclose);
  const auto down = RunDown(0, out.get());
  ASSERT_TRUE(down) << down.error().message;
  EXPECT_EQ(*down, 0);
  for (const pid_t pid : pids) EXPECT_TRUE(EndsWithin(pid, 20));
  EXPECT_EQ(RunDown(0, out.get()).error().code, Code::kUnavailable);
}

TEST_F(UpTest, DetachedAFailedStartIsTheParentsExitCode) {
  Start({"-f", Manifest("--misbehave=exit:2:bad model"), "--detach", "yes"});
  EXPECT_EQ(End(), "exit code 2");
  EXPECT_NE(ReadText(Log()).find("bad model"), std::string::npos);
  EXPECT_FALSE(FindPlatform(folder_.path(), 0));
}

TEST_F(UpTest, ASecondOneOnThePortSaysWhoHasIt) {
  Start({"-f", Manifest("--x")});
  ASSERT_TRUE(Says("stop: Ctrl-C")) << ReadText(Log());
  const auto first = FindPlatform(folder_.path(), 0);
  ASSERT_TRUE(first);
  UpOptions options;
  options.manifest_file = folder_ / "service.yaml";
  options.port = first->port;
  const auto second = RunUp(options);
  ASSERT_FALSE(second);
  EXPECT_EQ(Info(second.error().code).exit_code, 1);
  EXPECT_NE(second.error().message.find("already running on port " + std::to_string(first->port) + " (pid " +
                                        std::to_string(first->supervisor_pid) + ")"),
            std::string::npos)
      << second.error().message;
}

TEST_F(UpTest, APortThatAnotherProgramHasIsSaid) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(listen(fd, 1), 0);  // unbound: the kernel chooses a port
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length);
  UpOptions options;
  options.manifest_file = Manifest("--x");
  options.port = net::FromSocketAddress(bound).port;
  const auto result = RunUp(options);
  close(fd);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("is taken by another program"), std::string::npos) << result.error().message;
}

TEST_F(UpTest, FlagsThatExcludeEachOtherAndFilesThatAreNotThere) {
  UpOptions both;
  both.manifest_file = "a.yaml";
  both.model = "b.gguf";
  EXPECT_EQ(RunUp(both).error().code, Code::kInvalidArgument);
  UpOptions missing;
  missing.manifest_file = folder_ / "none.yaml";
  const auto result = RunUp(missing);
  ASSERT_FALSE(result);
  EXPECT_EQ(Info(result.error().code).exit_code, 2);
  EXPECT_NE(result.error().message.find("none.yaml"), std::string::npos);
}

}  // namespace
}  // namespace sluice::control
