#include "control/state_dir.h"

#include <sys/stat.h>

#include "control/platform_status.h"
#include "control/testing/fixture.h"

namespace sluice::control {
namespace {

int Mode(const std::string& path) {
  struct stat info{};
  return stat(path.c_str(), &info) == 0 ? static_cast<int>(info.st_mode & 0777) : -1;
}

// Sets a variable (nullptr: unsets it) for the life of the object.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name); old != nullptr) old_ = old;
    Set(value);
  }
  ~Variable() { Set(old_ ? old_->c_str() : nullptr); }

 private:
  void Set(const char* value) { value != nullptr ? setenv(name_, value, 1) : unsetenv(name_); }
  const char* name_;
  std::optional<std::string> old_;
};

TEST(StateDir, RootFollowsTheVariables) {
  const Variable home("HOME", "/h");
  {
    const Variable own("SLUICE_STATE_DIR", "/s");
    EXPECT_EQ(*StateDir::Root(), "/s");
  }
  const Variable own("SLUICE_STATE_DIR", nullptr);
  {
    const Variable xdg("XDG_STATE_HOME", "/x");
    EXPECT_EQ(*StateDir::Root(), "/x/sluice");
  }
  const Variable xdg("XDG_STATE_HOME", nullptr);
  EXPECT_EQ(*StateDir::Root(), "/h/.local/state/sluice");
  const Variable nobody("HOME", nullptr);
  EXPECT_FALSE(StateDir::Root());
}

TEST(StateDir, IsForItsOwnerOnly) {
  const TempFolder folder;
  const StateDir dir(folder.path(), 8080);
  ASSERT_TRUE(dir.Create());
  EXPECT_EQ(Mode(dir.path()), 0700);
  EXPECT_EQ(Mode(dir.path() + "/logs"), 0700);
  ASSERT_TRUE(WriteAtomically(dir.StatusFile(), "{}"));
  EXPECT_EQ(Mode(dir.StatusFile()), 0600);
  ASSERT_TRUE(StateDir(folder.path(), 80).Create());
  folder.Write("not-a-port", "");
  EXPECT_EQ(KnownPorts(folder.path()), (std::vector<uint16_t>{80, 8080}));
}

TEST(StateDir, AFolderThatCannotBeMadeIsAnErrorThatSaysWhatToSet) {
  const TempFolder folder;
  const StateDir dir(folder.Write("file", "") + "/below", 1);
  const Status made = dir.Create();
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("SLUICE_STATE_DIR"), std::string::npos);
}

TEST(StateLock, HasOneHolderAndIsFreeAfterIt) {
  const TempFolder folder;
  const StateDir dir(folder.path(), 8080);
  ASSERT_TRUE(dir.Create());
  EXPECT_FALSE(StateLock::Held(dir));
  {
    const auto lock = StateLock::Take(dir);
    ASSERT_TRUE(lock);
    EXPECT_TRUE(StateLock::Held(dir));
    const auto second = StateLock::Take(dir);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kConflict);
  }
  EXPECT_FALSE(StateLock::Held(dir));
  EXPECT_TRUE(StateLock::Take(dir));
}

TEST(Files, AreReplacedInOneStepAndReadUpToALimit) {
  const TempFolder folder;
  const std::string file = folder / "f";
  ASSERT_TRUE(WriteAtomically(file, "one"));
  ASSERT_TRUE(WriteAtomically(file, "two"));
  EXPECT_EQ(*ReadWhole(file, 3), "two");
  EXPECT_EQ(ReadWhole(file, 2).error().code, Code::kTooLarge);
  EXPECT_EQ(ReadWhole(folder / "none", 2).error().code, Code::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(file + ".new"));
}

TEST(Logs, RotateOnceAndAreCutAtTheLimit) {
  const TempFolder folder;
  const std::string log = folder.Write("a.log", "old");
  RotateLog(log);
  EXPECT_EQ(ReadText(log + ".1"), "old");
  EXPECT_FALSE(std::filesystem::exists(log));

  std::ofstream writer(log, std::ios::app);
  writer << std::string(10, 'x') << std::flush;
  CapLog(log, 10);
  EXPECT_EQ(ReadText(log).size(), 10u) << "at the limit nothing happens";
  writer << "yz" << std::flush;
  CapLog(log, 10);
  EXPECT_EQ(ReadText(log + ".1"), "xxxxxxxxyz") << "the newest bytes are kept";
  writer << "next" << std::flush;
  EXPECT_EQ(ReadText(log), "next") << "the writer goes on at the beginning";
}

PlatformStatus SomeStatus() {
  return {.phase = "ready",
          .supervisor_pid = getpid(),
          .supervisor_start_ticks = StartTicks(getpid()),
          .started_unix = 1.5,
          .host = "127.0.0.1",
          .port = 8080,
          .url = "http://127.0.0.1:8080",
          .services = {{.name = "s", .ns = "default", .model = "m \"x\"", .model_file = "/m.gguf", .replicas = 1}},
          .processes = {{.name = "s-0",
                         .role = "worker",
                         .service = "s",
                         .state = "ready",
                         .pid = 7,
                         .address = "127.0.0.1:8081",
                         .restarts = 2,
                         .since_unix = 2.5,
                         .last_end = "exit code 1: \xff",
                         .log = "/l"}}};
}

TEST(PlatformStatus, ReadsBackWhatItWrote) {
  const std::string text = ToJson(SomeStatus());
  const auto read = ParsePlatformStatus(text);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(ToJson(*read), text);
  EXPECT_EQ(read->services[0].model, "m \"x\"");
  EXPECT_EQ(read->processes[0].restarts, 2);
}

TEST(PlatformStatus, RefusesWhatIsNotOne) {
  for (const char* bad : {"", "[]", "{}", R"({"version":2})", R"({"version":1,"phase":3})"}) {
    EXPECT_FALSE(ParsePlatformStatus(bad)) << bad;
  }
}

TEST(PlatformStatus, StartTicksAreThoseOfALivingProcess) {
  EXPECT_GT(StartTicks(getpid()), 0u);
  EXPECT_EQ(StartTicks(0x7ffffff), 0u);
}

TEST(FindPlatform, TellsRunningFromKilledStoppedAndReusedPids) {
  const TempFolder folder;
  EXPECT_EQ(FindPlatform(folder.path(), 0).error().code, Code::kUnavailable);
  const StateDir dir(folder.path(), 8080);
  ASSERT_TRUE(dir.Create());
  PlatformStatus status = SomeStatus();
  ASSERT_TRUE(WriteAtomically(dir.StatusFile(), ToJson(status)));
  EXPECT_NE(RunningPlatform(dir).error().message.find("was killed"), std::string::npos);
  {
    const auto lock = StateLock::Take(dir);
    EXPECT_TRUE(RunningPlatform(dir));
    EXPECT_EQ(FindPlatform(folder.path(), 0)->port, 8080);
    EXPECT_FALSE(FindPlatform(folder.path(), 8081));
    status.supervisor_start_ticks += 1;  // the pid came to mean another process
    ASSERT_TRUE(WriteAtomically(dir.StatusFile(), ToJson(status)));
    EXPECT_FALSE(RunningPlatform(dir));
  }
  status.phase = "stopped";
  ASSERT_TRUE(WriteAtomically(dir.StatusFile(), ToJson(status)));
  EXPECT_NE(RunningPlatform(dir).error().message.find("was stopped"), std::string::npos);
}

TEST(FindPlatform, AsksWhichOfSeveral) {
  const TempFolder folder;
  std::vector<StateLock> locks;
  for (const uint16_t port : {8080, 9000}) {
    const StateDir dir(folder.path(), port);
    ASSERT_TRUE(dir.Create());
    PlatformStatus status = SomeStatus();
    status.port = port;
    ASSERT_TRUE(WriteAtomically(dir.StatusFile(), ToJson(status)));
    auto lock = StateLock::Take(dir);
    ASSERT_TRUE(lock);
    locks.push_back(std::move(*lock));
  }
  const auto any = FindPlatform(folder.path(), 0);
  ASSERT_FALSE(any);
  EXPECT_NE(any.error().message.find("8080, 9000"), std::string::npos);
  EXPECT_EQ(FindPlatform(folder.path(), 9000)->port, 9000);
}

}  // namespace
}  // namespace sluice::control
