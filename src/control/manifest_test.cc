#include "control/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codec/yaml/yaml.h"
#include "control/node_text.h"
#include "control/pod_template.h"

namespace sluice::control {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

std::string Service(std::string_view spec, std::string_view name = "s") {
  return "apiVersion: serving.kserve.io/v1alpha2\nkind: LLMInferenceService\nmetadata: {name: " + std::string(name) +
         "}\nspec:\n" + std::string(spec);
}
const std::string kModel = "  model: {uri: 'file://m.gguf'}\n";

ServiceSpec One(const std::string& text) {
  auto services = ReadManifest(text, "service.yaml");
  EXPECT_TRUE(services.has_value()) << services.error().message;
  if (!services) return {};
  EXPECT_THAT(*services, SizeIs(1));
  return services->front();
}

std::string Fault(const std::string& text) {
  const auto services = ReadManifest(text, "service.yaml");
  return services ? "accepted" : services.error().message;
}

TEST(Manifest, TheDefaultReadsWithoutNotices) {
  const ServiceSpec s = One(std::string(DefaultManifest()));
  EXPECT_EQ(s.name, "smollm2");
  EXPECT_EQ(s.name_space, "default");
  EXPECT_EQ(s.model_name, "HuggingFaceTB/SmolLM2-135M-Instruct");
  EXPECT_EQ(s.model_uri, "file://SmolLM2-135M-Instruct.Q4_1.gguf");
  EXPECT_EQ(s.replicas, 2);
  EXPECT_THAT(s.notices, IsEmpty());
  EXPECT_THAT(s.worker_args, IsEmpty());
  ASSERT_TRUE(s.scheduler_config_yaml.has_value());
  const auto config = codec::yaml::Parse(*s.scheduler_config_yaml);
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->Find("kind")->scalar, "EndpointPickerConfig");
  EXPECT_THAT(config->Find("plugins")->items, SizeIs(6));
}

TEST(Manifest, TheSmallestServiceHasDefaults) {
  const ServiceSpec s = One(Service(kModel));
  EXPECT_EQ(s.model_name, "s") << "the service's name, as upstream's webhook fills it in";
  EXPECT_EQ(s.replicas, 1);
  EXPECT_FALSE(s.scheduler_config_yaml.has_value());
  EXPECT_THAT(s.notices, IsEmpty());
}

TEST(Manifest, ArgumentsAndVariablesOfMain) {
  const ServiceSpec s = One(Service(kModel + R"(  replicas: 3
  template:
    containers:
    - name: main
      args: ["--max-model-len=4096", --max-num-seqs, 8]
      env:
      - {name: SLUICE_LOG, value: debug}
      - {name: VLLM_ADDITIONAL_ARGS, value: "  --block-size 16   --enable-prefix-caching "}
      - {name: EMPTY}
)"));
  EXPECT_EQ(s.replicas, 3);
  EXPECT_THAT(s.worker_args, ElementsAre("--block-size", "16", "--enable-prefix-caching", "--max-model-len=4096",
                                         "--max-num-seqs", "8"));
  EXPECT_THAT(s.env, ElementsAre(EnvVar{"SLUICE_LOG", "debug"}, EnvVar{"EMPTY", ""}));
  EXPECT_THAT(s.notices, IsEmpty());
}

// The shape of KServe's samples: resources, probes, storage, prefill, hf:// models.
TEST(Manifest, WhatOneMachineCannotDoIsANotice) {
  const ServiceSpec s = One(R"yaml(
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata:
  name: facebook-opt-125m-cpu
  namespace: team-a
  labels: {app: x}
spec:
  model:
    uri: hf://facebook/opt-125m
    name: facebook/opt-125m
    lora:
      adapters: [{name: a, uri: "hf://x/y"}]
  storageInitializer: {enabled: true}
  replicas: 1
  parallelism: {tensor: 2}
  kvCacheOffloading: {cpu: 10Gi}
  labels: {team: a}
  prefill: {replicas: 2}
  worker: {containers: []}
  tracing: {}
  baseRefs: [{name: b}]
  router:
    scheduler:
      pool: {ref: {name: p}}
      template: {containers: []}
    route: {http: {refs: [{name: r}]}}
    gateway: {}
  template:
    nodeSelector: {gpu: "yes"}
    containers:
    - name: main
      image: vllm/vllm-openai-cpu:v0.23.0
      command: [vllm, serve]
      securityContext: {runAsNonRoot: false}
      env:
      - name: HF_TOKEN
        valueFrom: {secretKeyRef: {name: hf, key: token}}
      - {name: TOPIC, value: "kv@$(POD_IP)"}
      resources: {
limits: {
cpu:
  '1', memory : 10Gi
}
}
      livenessProbe: {initialDelaySeconds: 30}
    - name: exporter
      image: x
)yaml");
  EXPECT_EQ(s.name_space, "team-a");
  EXPECT_THAT(s.env, ElementsAre(EnvVar{"TOPIC", "kv@$(POD_IP)"})) << "HF_TOKEN has no value here and is not set";
  for (const char* path : {"metadata.labels:",
                           "spec.model.lora:",
                           "spec.storageInitializer:",
                           "spec.parallelism:",
                           "spec.kvCacheOffloading:",
                           "spec.labels:",
                           "spec.prefill:",
                           "spec.worker:",
                           "spec.tracing:",
                           "spec.baseRefs:",
                           "spec.router.scheduler.pool:",
                           "spec.router.scheduler.template:",
                           "spec.router.route:",
                           "spec.template.nodeSelector:",
                           "spec.template.containers[0].image:",
                           "spec.template.containers[0].command:",
                           "spec.template.containers[0].securityContext:",
                           "spec.template.containers[0].env[0].valueFrom:",
                           "spec.template.containers[0].env[1].value:",
                           "spec.template.containers[0].resources:",
                           "spec.template.containers[0].livenessProbe:",
                           "spec.template.containers[1]:"}) {
    EXPECT_THAT(s.notices, testing::Contains(AllOf(testing::StartsWith(path), HasSubstr("(line ")))) << path;
  }
  EXPECT_THAT(s.notices, SizeIs(22)) << "an empty gateway is the default and needs no notice";
  EXPECT_THAT(s.notices, testing::Contains(HasSubstr("spec.prefill: is not carried out by `sluice up` on one machine; "
                                                     "each worker does both prefill and decode")));
}

TEST(Manifest, V1Alpha1IsReadToo) {
  const std::string head =
      "apiVersion: serving.kserve.io/v1alpha1\nkind: LLMInferenceService\nmetadata: {name: s}\nspec:\n";
  const ServiceSpec s = One(head + "  model: {uri: 'file://m.gguf', criticality: Critical}\n");
  EXPECT_THAT(s.notices, ElementsAre(HasSubstr("spec.model.criticality")));
  EXPECT_THAT(Fault(head + kModel + "  kvCacheOffloading: {cpu: 1Gi}\n"), HasSubstr("is not in v1alpha1"));
  EXPECT_THAT(Fault(Service("  model: {uri: 'file://m', criticality: Critical}\n")),
              HasSubstr("spec.model.criticality: unknown field"));
}

TEST(Manifest, TyposNameTheNearestFieldAndTheLine) {
  EXPECT_THAT(Fault(Service(kModel + "  replica: 2\n")),
              HasSubstr("spec.replica: unknown field; did you mean 'replicas'? (line 6)"));
  EXPECT_THAT(Fault(Service("  model: {url: 'file://m'}\n")),
              AllOf(HasSubstr("spec.model.url: unknown field"), HasSubstr("spec.model.uri")));
  EXPECT_THAT(Fault(Service(kModel + "  template: {containers: [{name: main, arg: []}]}\n")),
              HasSubstr("spec.template.containers[0].arg: unknown field; did you mean 'args'?"));
  EXPECT_THAT(Fault(Service(kModel + "  router: {scheduler: {config: {inlined: {}}}}\n")),
              HasSubstr("did you mean 'inline'?"));
  EXPECT_THAT(Fault("kind: LLMInferenceServise\n"), HasSubstr("did you mean 'LLMInferenceService'?"));
  EXPECT_THAT(
      Fault("apiVersion: serving.kserve.io/v1alpha3\nkind: LLMInferenceService\nmetadata: {name: s}\nspec:\n" + kModel),
      HasSubstr("v1alpha2"));
  EXPECT_THAT(Fault(Service(kModel) + "specs: {}\n"), HasSubstr("specs: unknown field; did you mean 'spec'?"));
}

TEST(Manifest, AllFaultsAreSaidAtOnce) {
  const std::string fault = Fault(Service("  model: {uri: m.gguf, name: 'a b'}\n  replicas: many\n  x: 1\n"));
  EXPECT_THAT(fault, testing::StartsWith("service.yaml"));
  EXPECT_THAT(fault, HasSubstr("spec.model.uri: 'm.gguf' has no scheme; for a file write file://PATH"));
  EXPECT_THAT(fault, HasSubstr("spec.model.name: must have"));
  EXPECT_THAT(fault, HasSubstr("spec.replicas: expected an integer"));
  EXPECT_THAT(fault, HasSubstr("spec.x: unknown field"));
}

TEST(Manifest, TypesAndRanges) {
  EXPECT_THAT(Fault(Service(kModel + "  replicas: -1\n")), HasSubstr("spec.replicas"));
  EXPECT_EQ(Fault(Service(kModel + "  replicas: 0\n")), "accepted");
  EXPECT_EQ(Fault(Service(kModel + "  replicas: 256\n")), "accepted");
  EXPECT_THAT(Fault(Service(kModel + "  replicas: 257\n")), HasSubstr("spec.replicas"));
  EXPECT_THAT(Fault(Service(kModel + "  replicas: '2'\n")), HasSubstr("expected an integer"));
  EXPECT_THAT(Fault(Service("  model: file://m\n")), HasSubstr("spec.model: expected a map"));
  EXPECT_THAT(Fault(Service("  model: {uri: 'hff://m'}\n")), HasSubstr("did you mean 'hf'?"));
  EXPECT_THAT(Fault(Service("  model: {uri: 'file://'}\n")), HasSubstr("must name something after file://"));
  EXPECT_THAT(Fault(Service(kModel, "Not_A_Label")), HasSubstr("is not a DNS label"));
  EXPECT_THAT(Fault(Service(kModel, std::string(64, 'a'))), HasSubstr("is not a DNS label"));
  EXPECT_EQ(Fault(Service(kModel, std::string(63, 'a'))), "accepted");
  EXPECT_THAT(Fault(Service(kModel + "  scaling: {maxReplicas: 3}\n  replicas: 1\n")), HasSubstr("beside scaling"));
  EXPECT_THAT(Fault(Service(kModel + "  router: {scheduler: {config: {inline: text}}}\n")), HasSubstr("(a map)"));
  EXPECT_THAT(Fault(Service(kModel + "  router: {scheduler: {config: {}}}\n")), HasSubstr("needs inline"));
  EXPECT_THAT(Fault(Service(kModel + "  router: {scheduler: {config: {inline: {kind: x}, ref: {name: c}}}}\n")),
              HasSubstr("beside inline"));
}

TEST(Manifest, MissingPartsAreNamed) {
  EXPECT_THAT(Fault("{}"), HasSubstr("kind"));
  EXPECT_THAT(Fault("kind: LLMInferenceService"),
              AllOf(HasSubstr("apiVersion: is missing"), HasSubstr("metadata.name: is missing"),
                    HasSubstr("spec: is missing")));
  EXPECT_THAT(Fault(Service("  replicas: 1\n")), HasSubstr("spec.model: is missing"));
  EXPECT_THAT(Fault(""), HasSubstr("has no LLMInferenceService"));
  EXPECT_THAT(Fault("# only a comment\n---\n"), HasSubstr("has no LLMInferenceService"));
  EXPECT_THAT(Fault("a: [1"), AllOf(testing::StartsWith("service.yaml: "), HasSubstr("line")));
}

TEST(Manifest, ArgumentsThatCannotBePassedOn) {
  const auto args = [](const std::string& list) {
    return Fault(Service(kModel + "  template: {containers: [{name: main, args: " + list + "}]}\n"));
  };
  EXPECT_THAT(args("[--port, 9000]"), HasSubstr("args[0]: --port is set by `sluice up` itself"));
  EXPECT_THAT(args("['--model=x']"), HasSubstr("--model is set by"));
  EXPECT_EQ(args("[--model-thing]"), "accepted");
  EXPECT_THAT(args("[{a: b}]"), HasSubstr("args[0]: expected a string"));
  EXPECT_THAT(args("[\"a\\0b\"]"), HasSubstr("zero byte"));
  EXPECT_THAT(args("['" + std::string(kArgBytesMax + 1, 'x') + "']"), HasSubstr("is too long"));
  EXPECT_EQ(args("['" + std::string(kArgBytesMax, 'x') + "']"), "accepted");
  std::string many = "[";
  for (size_t i = 0; i < kArgsMax; ++i) many += "x,";
  EXPECT_EQ(args(many + "]"), "accepted");
  EXPECT_THAT(args(many + "x,x]"), HasSubstr("more than 256 arguments"));
}

TEST(Manifest, VariablesThatCannotBePassedOn) {
  const auto env = [](const std::string& list) {
    return Fault(Service(kModel + "  template: {containers: [{name: main, env: " + list + "}]}\n"));
  };
  EXPECT_THAT(env("[{name: 'A=B', value: x}]"), HasSubstr("is not a variable name"));
  EXPECT_THAT(env("[{name: A}, {name: A}]"), HasSubstr("env[1].name: 'A' is given twice"));
  EXPECT_THAT(env("[{value: x}]"), HasSubstr("env[0].name"));
  EXPECT_THAT(env("[{name: VLLM_ADDITIONAL_ARGS, value: \"--x '$HOME'\"}]"), HasSubstr("need a shell"));
  EXPECT_THAT(env("[{name: VLLM_ADDITIONAL_ARGS, value: \"--port 1\"}]"), HasSubstr("--port is set by"));
  EXPECT_THAT(env("[{name: A, val: x}]"), HasSubstr("did you mean 'value'?"));
}

TEST(Manifest, SeveralServices) {
  const auto two = ReadManifest(Service(kModel, "a") + "---\n" + Service(kModel, "b") + "---\n", "f");
  ASSERT_TRUE(two.has_value()) << two.error().message;
  ASSERT_THAT(*two, SizeIs(2));
  EXPECT_EQ((*two)[1].name, "b");
  EXPECT_THAT(Fault(Service(kModel, "a") + "---\n" + Service(kModel, "a")),
              HasSubstr("[1].metadata.name: service 'default/a' is in the file twice, first on line 1"));
  EXPECT_THAT(Fault(Service("  model: {uri: 'file://m', name: x}\n", "a") + "---\n" +
                    Service("  model: {uri: 'file://m', name: x}\n", "b")),
              HasSubstr("model 'x' is served by 'default/a' already"));
  EXPECT_THAT(Fault(Service(kModel, "a") + "---\n" + Service(kModel + "  replica: 1\n", "b")),
              HasSubstr("[1].spec.replica"));
  EXPECT_THAT(Fault(Service(kModel, "a") + "---\nkind: ConfigMap\nwhatever: 1\n"),
              AllOf(HasSubstr("[1].kind: 'ConfigMap'"), Not(HasSubstr("whatever"))));
  std::string many;
  for (size_t i = 0; i < kServicesMax; ++i) many += Service(kModel, "s" + std::to_string(i)) + "---\n";
  EXPECT_EQ(Fault(many), "accepted");
  EXPECT_THAT(Fault(many + Service(kModel, "last")), HasSubstr("more than 64 services"));
}

TEST(NodeText, ReadsBackAsTheSameTree) {
  const auto tree = codec::yaml::Parse(
      "a: [1, 2.5, true, null, '7', \"x\\ty\", plain text, {}, []]\nb:\n- - 1\n  - 'odd: key': |\n      two\n    "
      "  lines\n");
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  const auto again = codec::yaml::Parse(NodeText(*tree));
  ASSERT_TRUE(again.has_value()) << again.error().message;
  const codec::yaml::Node& a = *again->Find("a");
  ASSERT_THAT(a.items, SizeIs(9));
  EXPECT_FALSE(a.items[0].quoted);
  EXPECT_EQ(a.items[1].scalar, "2.5");
  EXPECT_FALSE(a.items[2].quoted);
  EXPECT_TRUE(a.items[3].IsNull());
  EXPECT_TRUE(a.items[4].quoted) << "a string stays a string";
  EXPECT_EQ(a.items[4].scalar, "7");
  EXPECT_EQ(a.items[5].scalar, "x\ty");
  EXPECT_EQ(a.items[6].scalar, "plain text");
  EXPECT_TRUE(a.items[7].IsMap());
  EXPECT_TRUE(a.items[8].IsSequence());
  const codec::yaml::Node& inner = again->Find("b")->items.at(0);
  EXPECT_EQ(inner.items.at(0).scalar, "1");
  EXPECT_EQ(inner.items.at(1).Find("odd: key")->scalar, "two\nlines\n");
}

}  // namespace
}  // namespace sluice::control
