#include "control/platform_view.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "codec/json/dom.h"
#include "codec/yaml/reader.h"

namespace sluice::control {
namespace {

constexpr std::string_view kGatewayAnswer = R"({"pools": [{"name": "s", "endpoints": [
  {"name": "s-0", "address": "127.0.0.1:8081", "in_rotation": true, "kv_usage": 0.125, "running": 3.0, "waiting": 1,
   "models": ["m"], "data_age_ms": 40, "something_new": {}},
  {"name": "s-1", "address": "127.0.0.1:8082", "in_rotation": false, "kv_usage": 0.0, "running": 0.0, "waiting": 0.0,
   "data_age_ms": null}]}]})";

PlatformStatus SomeStatus() {
  PlatformStatus status{.phase = "ready",
                        .supervisor_pid = 10,
                        .supervisor_start_ticks = 1,
                        .started_unix = 5,
                        .host = "127.0.0.1",
                        .port = 8080,
                        .url = "http://127.0.0.1:8080",
                        .services = {{"s", "default", "org/m", "/m.gguf", 2}},
                        .processes = {}};
  status.processes.push_back({"s-0", "worker", "s", "ready", 11, "127.0.0.1:8081", 0, 5, "", "/l/s-0.log"});
  status.processes.push_back(
      {"s-1", "worker", "s", "backing-off", 0, "127.0.0.1:8082", 2, 5, "killed by signal 9 (SIGKILL)", "/l/s-1.log"});
  status.processes.push_back({"gateway", "gateway", "", "ready", 12, "127.0.0.1:8080", 0, 5, "", "/l/gateway.log"});
  return status;
}

PlatformView View() {
  const auto seen = ParseGatewayEndpoints(kGatewayAnswer);
  EXPECT_TRUE(seen) << seen.error().message;
  return JoinView(SomeStatus(), *seen);
}

TEST(PlatformView, TableJoinsSupervisorAndGateway) {
  EXPECT_EQ(ToTable(View()),
            "GATEWAY http://127.0.0.1:8080  ready  pid 12\n\n"
            "SERVICE   ENDPOINT         STATE         RESTARTS   KV-USE   RUNNING   WAITING   MODEL   PID\n"
            "s         127.0.0.1:8081   ready         0          12.5%    3         1         org/m   11\n"
            "s         127.0.0.1:8082   backing-off   2          -        -         -         org/m   -\n"
            "\n"
            "s-1 ended last by: killed by signal 9 (SIGKILL)\n"
            "  log: /l/s-1.log\n");
}

TEST(PlatformView, ThePickerBehindEnvoyIsNoEndpoint) {
  PlatformStatus status = SomeStatus();
  status.processes.push_back({"picker", "picker", "", "ready", 13, "127.0.0.1:7003", 1, 5, "exit code 1", "/l/p.log"});
  const PlatformView view = JoinView(std::move(status), std::nullopt);
  EXPECT_EQ(view.endpoints.size(), 2u);
  const std::string table = ToTable(view);
  EXPECT_NE(table.find("ENVOY   http://127.0.0.1:8080  ready  pid 12"), std::string::npos) << table;
  EXPECT_NE(table.find("PICKER  http://127.0.0.1:7003  ready  restarts 1  pid 13\n"), std::string::npos) << table;
  EXPECT_NE(table.find("picker ended last by: exit code 1"), std::string::npos) << table;
  EXPECT_EQ(codec::ParseDom(ToJson(view), {})->at("picker").at("restarts"), 1);
  EXPECT_TRUE(codec::ParseDom(ToJson(View()), {})->at("picker").is_null());
}

TEST(PlatformView, WithoutTheGatewayItsNumbersAreUnknownNotZero) {
  const PlatformView view = JoinView(SomeStatus(), std::nullopt);
  EXPECT_NE(ToTable(view).find("ready         0          -        -         -         org/m   11"), std::string::npos);
  const auto json = codec::ParseDom(ToJson(view), {});
  EXPECT_TRUE(json->at("endpoints")[0].at("kv_use").is_null());
  EXPECT_TRUE(json->at("endpoints")[0].at("in_rotation").is_null());
  EXPECT_FALSE(json->at("gateway").at("answers"));
}

TEST(PlatformView, AReadyEndpointThatGetsNoRequestsSaysSo) {
  PlatformStatus status = SomeStatus();
  status.processes[1].state = "ready";
  const PlatformView view = JoinView(status, *ParseGatewayEndpoints(kGatewayAnswer));
  EXPECT_NE(ToTable(view).find("127.0.0.1:8082   out-of-rotation"), std::string::npos);
}

TEST(PlatformView, JsonHasTheDocumentedKeys) {
  const auto json = codec::ParseDom(ToJson(View()), {});
  ASSERT_TRUE(json);
  const auto keys = [](const nlohmann::ordered_json& object) {
    std::string all;
    for (const auto& [key, value] : object.items()) all += key + " ";
    return all;
  };
  EXPECT_EQ(keys(*json), "url phase started supervisor gateway picker services endpoints ");
  EXPECT_EQ(keys(json->at("gateway")), "address state pid restarts last_end log answers ");
  EXPECT_EQ(keys(json->at("services")[0]), "name namespace model model_file replicas ready ");
  EXPECT_EQ(
      keys(json->at("endpoints")[0]),
      "service name endpoint state in_rotation restarts kv_use running waiting data_age_ms model pid last_end log ");
  EXPECT_EQ(json->at("services")[0].at("ready"), 1);
  EXPECT_EQ(json->at("endpoints")[0].at("running"), 3);
  EXPECT_EQ(json->at("endpoints")[0].at("kv_use"), 0.125);
  EXPECT_EQ(json->at("endpoints")[1].at("restarts"), 2);
  EXPECT_TRUE(json->at("endpoints")[1].at("pid").is_null());
}

TEST(PlatformView, YamlHasTheSameValues) {
  EXPECT_TRUE(ToYaml(View()).starts_with("url: \"http://127.0.0.1:8080\"\nphase: \"ready\"\n"));
  const auto yaml = codec::yaml::Parse(ToYaml(View()));
  ASSERT_TRUE(yaml);
  EXPECT_EQ(yaml->Find("url")->scalar, "http://127.0.0.1:8080");
  EXPECT_EQ(codec::yaml::AsInt(*yaml->Find("endpoints")->items[0].Find("running")), 3);
  EXPECT_TRUE(yaml->Find("endpoints")->items[1].Find("pid")->IsNull());
}

TEST(PlatformView, AnAnswerThatIsNotTheGatewaysIsRefused) {
  for (const char* bad :
       {"", "[]", "{}", R"({"pools":[{"name":"s","endpoints":[{}]}]})", R"({"pools":[{"name":1}]})"}) {
    EXPECT_FALSE(ParseGatewayEndpoints(bad)) << bad;
  }
}

}  // namespace
}  // namespace sluice::control
