#include "control/platform.h"

#include "codec/yaml/reader.h"
#include "control/model_file.h"
#include "control/testing/fixture.h"
#include "control/up_screen.h"

namespace sluice::control {
namespace {

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

struct World {
  TempFolder folder;
  StateDir dir{folder.path(), 8080};
  std::string model = folder.Write("m.gguf", "");

  ServiceSpec Spec(const std::string& name, int64_t replicas = 1) {
    return {.name = name,
            .name_space = "default",
            .model_uri = "file://" + model,
            .model_name = name + "-model",
            .replicas = replicas,
            .worker_args = {},
            .env = {},
            .scheduler_config_yaml = std::nullopt,
            .notices = {}};
  }
  std::vector<PlannedService> Plan(std::vector<ServiceSpec> specs) {
    auto services = PlanServices(std::move(specs), {folder.path()});
    EXPECT_TRUE(services) << services.error().message;
    uint16_t port = 8081;
    for (PlannedService& service : *services) {
      for (int64_t i = 0; i < service.spec.replicas; ++i) service.workers.push_back({"127.0.0.1", port++});
    }
    return *services;
  }
  Error PlanError(std::vector<ServiceSpec> specs) {
    auto services = PlanServices(std::move(specs), {folder.path()});
    EXPECT_FALSE(services);
    return services ? Error{} : services.error();
  }
};

TEST(Platform, WorkersGetTheirModelPortThreadsArgumentsAndEnvironment) {
  World w;
  ServiceSpec spec = w.Spec("a", 2);
  spec.worker_args = {"--max-model-len=4096"};
  spec.env = {{"KEY", "value"}};
  const auto processes =
      PlanProcesses(w.Plan({spec}), {.executable = "/bin/sluice", .listen = {"0.0.0.0", 8080}, .cores = 8}, w.dir);
  ASSERT_EQ(processes.size(), 3u);
  EXPECT_EQ(processes[1].name, "a-1");
  EXPECT_EQ(Joined(processes[1].command.argv), "/bin/sluice worker --model " + w.model +
                                                   " --served-model-name a-model --host 127.0.0.1 --port 8082 "
                                                   "--threads 3 --max-model-len=4096");
  EXPECT_EQ(processes[1].command.env, (std::vector<std::pair<std::string, std::string>>{{"KEY", "value"}}));
  EXPECT_EQ(processes[1].ready_target, "/health");
  EXPECT_GT(processes[1].stop_rank, processes[2].stop_rank) << "the gateway stops first";
  EXPECT_EQ(processes[2].probe.ToString(), "127.0.0.1:8080") << "0.0.0.0 cannot be asked";
}

TEST(Platform, ThreadsShareTheCoresAndTheManifestsOwnWin) {
  World w;
  ServiceSpec own = w.Spec("b");
  own.worker_args = {"--threads=5"};
  for (const auto& [cores, threads] : {std::pair{1u, "1"}, std::pair{2u, "1"}, std::pair{16u, "5"}}) {
    const auto processes = PlanProcesses(w.Plan({w.Spec("a", 2), own}), {"/s", {"127.0.0.1", 8080}, cores, {}}, w.dir);
    EXPECT_NE(Joined(processes[0].command.argv).find(std::string("--threads ") + threads), std::string::npos) << cores;
    EXPECT_EQ(Joined(processes[2].command.argv).find("--threads "), std::string::npos);
  }
}

TEST(Platform, OneGatewayServesAllServices) {
  World w;
  const auto processes = PlanProcesses(w.Plan({w.Spec("a"), w.Spec("b")}), {"/s", {"127.0.0.1", 8080}, 2, {}}, w.dir);
  const std::string folder = w.dir.path();
  EXPECT_EQ(Joined(processes.back().command.argv),
            "/s gateway --host 127.0.0.1 --port 8080 --drain-timeout 25 --state-dir " + folder +
                " --pool-name a --config-file " + folder + "/epp-a.yaml --endpoints-file " + folder +
                "/endpoints-a.yaml --pool-name b --config-file " + folder + "/epp-b.yaml --endpoints-file " + folder +
                "/endpoints-b.yaml");
}

TEST(Platform, EnvoyAndAPickerTakeTheGatewaysPlace) {
  World w;
  ASSERT_TRUE(w.dir.Create());
  PlatformOptions options{"/s", {"127.0.0.1", 8080}, 2, {}};
  options.envoy = EnvoySetup{.program = "/bin/envoy",
                             .form = EnvoyForm::kLean,
                             .ext_proc = {"127.0.0.1", 7001},
                             .health = {"127.0.0.1", 7002},
                             .pages = {"127.0.0.1", 7003},
                             .admin = {"127.0.0.1", 7004}};
  const auto services = w.Plan({w.Spec("a", 2)});
  EXPECT_TRUE(CheckEnvoyServes(services));
  const auto processes = PlanProcesses(services, options, w.dir);
  ASSERT_EQ(processes.size(), 4u);
  const std::string folder = w.dir.path();
  EXPECT_EQ(Joined(processes[2].command.argv),
            "/s epp --host 127.0.0.1 --grpc-port 7001 --grpc-health-port 7002 --metrics-port 7003 --health-checking "
            "--secure-serving=false --drain-timeout 0s --state-dir " +
                folder + " --pool-name a --config-file " + folder + "/epp-a.yaml --endpoints-file " + folder +
                "/endpoints-a.yaml");
  EXPECT_EQ(Joined(processes[3].command.argv).find("/bin/envoy -c " + folder + "/envoy.yaml "), 0u);
  EXPECT_EQ(processes[3].role, "gateway") << "what clients talk to";
  EXPECT_EQ(processes[3].probe.ToString(), "127.0.0.1:7004");
  EXPECT_TRUE(processes[3].drain) << "Envoy cuts its requests on SIGTERM";
  EXPECT_LT(processes[3].stop_rank, processes[2].stop_rank) << "Envoy needs its picker to the end";
  EXPECT_LT(processes[2].stop_rank, processes[0].stop_rank);
  ASSERT_TRUE(WriteGatewayFiles(services, options, w.dir));
  EXPECT_NE(ReadText(w.dir.File("envoy.yaml")).find("port_value: 7001"), std::string::npos);
  EXPECT_EQ(CheckEnvoyServes(w.Plan({w.Spec("a"), w.Spec("b")})).error().code, Code::kInvalidArgument);
}

TEST(Platform, FilesForTheGatewayAreUpstreamsFormats) {
  World w;
  ASSERT_TRUE(w.dir.Create());
  const auto services = w.Plan({w.Spec("a", 2)});
  ASSERT_TRUE(WriteGatewayFiles(services, {}, w.dir));
  EXPECT_NE(ReadText(w.dir.File("epp-a.yaml")).find("EndpointPickerConfig"), std::string::npos);
  const auto tree = codec::yaml::Parse(ReadText(w.dir.File("endpoints-a.yaml")));
  ASSERT_TRUE(tree);
  codec::yaml::Problems problems;
  codec::yaml::MapReader file(*tree, "", problems);
  std::vector<std::string> seen;
  file.Each("endpoints", [&](const codec::yaml::Node& node, const std::string& path) {
    codec::yaml::MapReader endpoint(node, path, problems);
    seen.push_back(endpoint.String("namespace") + "/" + endpoint.String("name") + " " + endpoint.String("address") +
                   ":" + endpoint.String("port"));
    EXPECT_EQ(endpoint.StringMap("labels").at("app.kubernetes.io/name"), "a");
    endpoint.Finish();
  });
  file.Finish();
  EXPECT_TRUE(problems.ok());
  EXPECT_EQ(seen, (std::vector<std::string>{"default/a-0 127.0.0.1:8081", "default/a-1 127.0.0.1:8082"}));
}

TEST(Platform, WorkersPublishKvEventsWhenTheirSchedulerReadsThem) {
  World w;
  ServiceSpec spec = w.Spec("a", 2);
  spec.scheduler_config_yaml =
      "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: precise-prefix-cache-producer\n"
      "- type: prefix-cache-scorer\n  parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}\n";
  ServiceSpec own = spec;
  own.name = "b";
  own.model_name = "b-model";
  own.worker_args = {"--kv-events-config={}"};
  auto services = w.Plan({spec, own, w.Spec("c")});
  EXPECT_TRUE(services[0].kv_events);
  EXPECT_FALSE(services[1].kv_events) << "the manifest says itself where events go";
  EXPECT_FALSE(services[2].kv_events) << "nobody would read them";
  EXPECT_EQ(EventPortCount(services), 4u);
  for (uint16_t port = 9000; port < 9004; port += 2) {
    services[0].events.push_back({"127.0.0.1", port});
    services[0].replays.push_back({"127.0.0.1", static_cast<uint16_t>(port + 1)});
  }
  const auto processes = PlanProcesses(services, {"/s", {"127.0.0.1", 8080}, 2, {}}, w.dir);
  EXPECT_NE(
      Joined(processes[1].command.argv)
          .find(R"(--kv-events-config {"enable_kv_cache_events":true,"endpoint":"tcp://127.0.0.1:9002","bind":true,)"
                R"("replay_endpoint":"tcp://127.0.0.1:9003","topic":"kv@127.0.0.1:8082@a-model"})"),
      std::string::npos)
      << Joined(processes[1].command.argv);
  EXPECT_EQ(Joined(processes[4].command.argv).find("kv-events-config"), std::string::npos);
  EXPECT_NE(EndpointsYaml(services[0])
                .find("llm-d.ai/kv-events-port: \"9002\"\n    llm-d.ai/kv-events-replay-port: \"9003\""),
            std::string::npos)
      << EndpointsYaml(services[0]);
  EXPECT_EQ(EndpointsYaml(services[2]).find("kv-events"), std::string::npos);
}

TEST(Platform, ServicesOfOneNameInTwoNamespacesKeepApart) {
  World w;
  ServiceSpec other = w.Spec("a");
  other.name_space = "blue";
  other.model_name = "other";
  const auto services = w.Plan({w.Spec("a"), other});
  EXPECT_EQ(services[0].key, "default.a");
  EXPECT_EQ(services[1].key, "blue.a");
}

TEST(Platform, SaysWhatCannotRunOnOneMachine) {
  World w;
  ServiceSpec same_model = w.Spec("b");
  same_model.model_name = "a-model";
  EXPECT_NE(w.PlanError({w.Spec("a"), same_model}).message.find("'a' and 'b' both serve"), std::string::npos);
  EXPECT_NE(w.PlanError({w.Spec("a", 0)}).message.find("spec.replicas is 0"), std::string::npos);
  EXPECT_NE(w.PlanError({w.Spec("a", kWorkersMax), w.Spec("b")}).message.find("more than 64"), std::string::npos);
  EXPECT_EQ(w.Plan({w.Spec("a", kWorkersMax)}).size(), 1u);
}

TEST(Platform, ABadSchedulerConfigurationIsFoundBeforeAnythingStarts) {
  World w;
  ServiceSpec spec = w.Spec("a");
  spec.scheduler_config_yaml =
      "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: queue-scorrer\n";
  const Error error = w.PlanError({spec});
  EXPECT_EQ(Info(error.code).exit_code, 2);
  EXPECT_NE(error.message.find("service 'a': spec.router.scheduler.config.inline"), std::string::npos);
  EXPECT_NE(error.message.find("queue-scorer"), std::string::npos) << error.message;
}

TEST(Platform, AModelFileIsServedUnderItsName) {
  const TempFolder folder;
  const auto service = ServiceForModelFile(folder.Write("My_Model-1.5.Q4.gguf", ""), {});
  ASSERT_TRUE(service);
  EXPECT_EQ(service->model_name, "My_Model-1.5.Q4");
  EXPECT_EQ(service->name, "my-model-1-5-q4");
  EXPECT_EQ(service->model_uri, folder / "My_Model-1.5.Q4.gguf");
  EXPECT_EQ(ServiceForModelFile("My_Model-1.5.Q4.gguf", {folder.path()})->model_uri, service->model_uri);
  EXPECT_FALSE(ServiceForModelFile("", {}));
  const auto missing = ServiceForModelFile("none.gguf", {folder.path()});
  ASSERT_FALSE(missing);
  EXPECT_TRUE(missing.error().message.starts_with("--model: there is no model 'none.gguf'")) << missing.error().message;
  EXPECT_NE(missing.error().message.find(std::filesystem::current_path().string() + "/none.gguf"), std::string::npos);
}

TEST(ModelFile, IsFoundByPathAndInTheFolders) {
  const TempFolder folder;
  const std::string file = folder.Write("m.gguf", "");
  const std::vector<std::string> folders = {folder / "none", folder.path()};
  for (const std::string& uri : {"file://" + file, file, std::string("m.gguf"), std::string("file://m.gguf")}) {
    const auto found = FindModelFile(uri, "spec.model.uri", folders);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(*found, file);
  }
}

TEST(ModelFile, ErrorsNameTheFieldAndThePlaces) {
  const TempFolder folder;
  const auto missing = FindModelFile("no.gguf", "spec.model.uri", {folder / "a", folder / "b"});
  ASSERT_FALSE(missing);
  for (const std::string& part : {std::string("spec.model.uri"), folder / "a/no.gguf", folder / "b/no.gguf"}) {
    EXPECT_NE(missing.error().message.find(part), std::string::npos) << part;
  }
  for (const char* uri : {"hf://org/model", "s3://bucket/m", "oci://r/m", "pvc://claim/m"}) {
    const auto remote = FindModelFile(uri, "spec.model.uri", {folder.path()});
    ASSERT_FALSE(remote);
    EXPECT_EQ(Info(remote.error().code).exit_code, 2);
    EXPECT_NE(remote.error().message.find("download"), std::string::npos);
  }
  EXPECT_NE(FindModelFile(folder.path(), "f", {}).error().message.find("is a folder"), std::string::npos);
  EXPECT_FALSE(FindModelFile("/no/such.gguf", "f", {}));
  EXPECT_FALSE(FindModelFile("file://", "f", {}));
}

TEST(UpScreen, TextsSayWhatHappened) {
  World w;
  const auto services = w.Plan({w.Spec("it's", 2)});
  const std::string ready = ReadyText(services, "http://127.0.0.1:9000", 9000, "/logs", "bin/sluice", true);
  EXPECT_NE(ready.find("Ready: http://127.0.0.1:9000\n"), std::string::npos);
  EXPECT_NE(ready.find(R"(-d '{"model": "it'\''s-model")"), std::string::npos) << "safe to paste into a shell";
  EXPECT_NE(ready.find("bin/sluice down --port 9000"), std::string::npos);
  EXPECT_NE(ReadyText(services, "u", 8080, "/l", "sluice", false).find("stop: Ctrl-C"), std::string::npos);

  const auto processes = PlanProcesses(services, {"/s", {"127.0.0.1", 8080}, 2, {}}, w.dir);
  ProcessStatus status{.spec = &processes[0], .state = ProcessState::kBackingOff, .restarts = 1};
  status.last_end = "killed by signal 9 (SIGKILL)";
  status.next_try = std::chrono::milliseconds(500);
  EXPECT_EQ(ChangeText(status), "it's-0  killed by signal 9 (SIGKILL); starting again in 0.5 s");
  status.state = ProcessState::kStarting;
  EXPECT_EQ(ChangeText(status), "it's-0  started again (restart 1)");
  EXPECT_NE(ProgressText({status}, 1.25).find("0 of 1 ready"), std::string::npos);
}

}  // namespace
}  // namespace sluice::control
