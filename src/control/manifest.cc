#include "control/manifest.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "codec/yaml/reader.h"
#include "control/node_text.h"
#include "control/pod_template.h"

namespace sluice::control {
namespace {

using codec::yaml::MapReader;
using codec::yaml::Node;
using codec::yaml::Problems;

constexpr std::string_view kVersions[] = {"serving.kserve.io/v1alpha2", "serving.kserve.io/v1alpha1"};
constexpr std::string_view kSchemes[] = {"file", "hf", "s3", "gs", "pvc", "oci", "oci+native", "http", "https"};

std::string Note(std::string_view why) { return std::string(kNotHere) + "; " + std::string(why); }

// A DNS label, as Kubernetes wants names to be (RFC 1123).
bool IsDnsLabel(std::string_view name) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= 63 && alnum(name.front()) && alnum(name.back()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return alnum(c) || c == '-'; });
}

// Text that may stand in a request, a header and a log line.
bool IsPrintable(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) > ' ' && c != '\x7f'; });
}

class ServiceReader {
 public:
  ServiceReader(const Node& document, std::string path, Problems& problems)
      : problems_(problems), root_(document, std::move(path), problems) {}

  ServiceSpec Read() {
    const std::string kind = root_.RequiredString("kind");
    if (!kind.empty() && kind != "LLMInferenceService") return WrongKind(kind);
    const std::string version = root_.Choice("apiVersion", "", kVersions);
    if (!root_.Has("apiVersion")) root_.Error("apiVersion", "is missing; use " + std::string(kVersions[0]));
    alpha1_ = version == kVersions[1];
    ReadMetadata(root_.Map("metadata"));
    if (!root_.Has("spec")) root_.Error("spec", "is missing");
    ReadSpec(root_.Map("spec"));
    root_.NotCarriedOut("status", "is not read: it is what a cluster reports");
    root_.Finish();
    return std::move(service_);
  }

  const std::string& Path() const { return root_.path(); }
  int Line() const { return root_.line(); }

 private:
  // Nothing more is said about a document of another kind: its fields are not ours to judge.
  ServiceSpec WrongKind(const std::string& kind) {
    const std::string_view known[] = {"LLMInferenceService"};
    std::string message = "'" + kind.substr(0, 80) + "' " + std::string(kNotHere) + "; only LLMInferenceService is";
    if (kind == "LLMInferenceServiceConfig") {
      message += " (put the base's fields into the service)";
    } else {
      message += DidYouMean(kind, known);
    }
    root_.Error("kind", std::move(message));
    return {};
  }

  void ReadMetadata(MapReader metadata) {
    service_.name = metadata.String("name");
    if (service_.name.empty()) {
      problems_.Error(metadata.line() > 0 ? metadata.line() : root_.line(), metadata.PathOf("name"), "is missing");
    } else if (!IsDnsLabel(service_.name)) {
      metadata.Error("name", "'" + service_.name.substr(0, 80) +
                                 "' is not a DNS label: at most 63 of a-z, 0-9 and -, not at the ends");
    }
    service_.name_space = metadata.String("namespace", "default");
    if (!IsDnsLabel(service_.name_space)) metadata.Error("namespace", "is not a DNS label");
    metadata.NotCarriedOut("labels", Note("nothing selects by labels here"));
    metadata.NotCarriedOut("annotations", Note("nothing reads annotations here"));
    for (const std::string_view field :
         {"creationTimestamp", "deletionTimestamp", "finalizers", "generation", "managedFields", "ownerReferences",
          "resourceVersion", "selfLink", "uid", "generateName", "deletionGracePeriodSeconds"}) {
      metadata.NotCarriedOut(field, "is not read: a cluster's API server keeps it");
    }
    metadata.Finish();
  }

  void ReadSpec(MapReader spec) {
    if (root_.Has("spec") && !spec.Has("model")) spec.Error("model", "is missing; it needs at least a uri");
    ReadModel(spec.Map("model"), spec.Has("model"));
    const bool scaling = spec.Has("scaling");
    if (scaling && spec.Has("replicas")) spec.Error("replicas", "cannot stand beside scaling; leave one out");
    service_.replicas = spec.Int("replicas", 1, {.min = 0, .max = kReplicasMax});
    spec.NotCarriedOut("scaling", Note("one replica is started; set replicas instead"));
    if (spec.Has("template")) ReadPodTemplate(spec.Map("template"), problems_, service_);
    ReadRouter(spec.Map("router"));
    spec.NotCarriedOut("prefill", Note("each worker does both prefill and decode"));
    spec.NotCarriedOut("worker", Note("a replica is one process"));
    spec.NotCarriedOut("parallelism", Note("a replica is one process"));
    spec.NotCarriedOut("rolloutStrategy", Note("changed workers are replaced one by one"));
    spec.NotCarriedOut("tracing", Note("give the gateway its own tracing flags"));
    spec.NotCarriedOut("baseRefs", Note("there are no LLMInferenceServiceConfigs to merge; put their fields here"));
    spec.NotCarriedOut("storageInitializer", Note("the model is read from where it lies"));
    spec.NotCarriedOut("labels", Note("nothing selects by labels here"));
    spec.NotCarriedOut("annotations", Note("nothing reads annotations here"));
    if (spec.Has("kvCacheOffloading") && alpha1_) {
      spec.Error("kvCacheOffloading", "is not in v1alpha1; use apiVersion " + std::string(kVersions[0]));
    } else {
      spec.NotCarriedOut("kvCacheOffloading", Note("the KV cache stays in the worker's memory"));
    }
    spec.Finish();
  }

  void ReadModel(MapReader model, bool present) {
    if (present) service_.model_uri = model.RequiredString("uri");
    const size_t colon = service_.model_uri.find("://");
    const std::string_view scheme = std::string_view(service_.model_uri).substr(0, colon);
    if (service_.model_uri.empty()) {
      // said already
    } else if (colon == std::string::npos) {
      model.Error("uri", "'" + service_.model_uri.substr(0, 80) + "' has no scheme; for a file write file://PATH");
    } else if (std::find(std::begin(kSchemes), std::end(kSchemes), scheme) == std::end(kSchemes)) {
      model.Error("uri",
                  "scheme '" + std::string(scheme.substr(0, 40)) + "' is not known" + DidYouMean(scheme, kSchemes));
    } else if (service_.model_uri.size() > 4096 || colon + 3 == service_.model_uri.size() ||
               service_.model_uri.find('\0') != std::string::npos) {
      model.Error("uri", "must name something after " + std::string(scheme) + ":// in at most 4096 bytes");
    }
    service_.model_name = model.String("name", service_.name);
    if (model.Has("name") &&
        (service_.model_name.empty() || service_.model_name.size() > 256 || !IsPrintable(service_.model_name))) {
      model.Error("name", "must have 1 to 256 characters, without spaces and control characters");
    }
    model.NotCarriedOut("lora", Note("give adapters to the workers with --lora-modules in template args"));
    if (alpha1_) {
      model.NotCarriedOut("criticality", Note("give requests a priority instead"));
    } else {
      model.NotCarriedOut("confidential", Note("files are read as they are"));
    }
    model.Finish();
  }

  void ReadRouter(MapReader router) {
    // `route: {}` and `gateway: {}` ask for the defaults, which is what the local gateway is.
    for (const std::string_view field : {"route", "gateway"}) {
      const Node* node = router.Child(field);
      if (node == nullptr || (node->IsMap() && node->entries.empty())) continue;
      router.Warn(field, Note("the one local gateway routes by model name"));
    }
    router.NotCarriedOut("ingress", Note("the one local gateway listens on its port"));
    MapReader scheduler = router.Map("scheduler");
    for (const std::string_view field : {"pool", "template", "replicas", "labels", "annotations", "tokenizer"}) {
      scheduler.NotCarriedOut(field, Note("the gateway schedules in its own process"));
    }
    MapReader config = scheduler.Map("config");
    const Node* inline_config = config.Child("inline");
    if (inline_config != nullptr && config.Has("ref")) {
      config.Error("ref", "cannot stand beside inline; leave one out");
    }
    if (scheduler.Has("config") && inline_config == nullptr && !config.Has("ref")) {
      scheduler.Error("config", "needs inline (an EndpointPickerConfig)");
    }
    config.NotCarriedOut("ref", Note("there are no ConfigMaps; put the EndpointPickerConfig under inline"));
    if (inline_config != nullptr) {
      if (inline_config->IsMap()) {
        service_.scheduler_config_yaml = NodeText(*inline_config);
        if (service_.scheduler_config_yaml->size() > kSchedulerConfigBytesMax) {
          config.Error("inline", "is longer than " + std::to_string(kSchedulerConfigBytesMax) + " bytes");
        }
      } else {
        config.Error("inline", "expected an EndpointPickerConfig (a map), got " + Describe(*inline_config));
      }
    }
    config.Finish();
    scheduler.Finish();
    router.Finish();
  }

  Problems& problems_;
  MapReader root_;
  ServiceSpec service_;
  bool alpha1_ = false;
};

// Two services may not answer to one name.
void CheckUnique(const ServiceSpec& service, const std::string& path, int line, Problems& problems,
                 std::map<std::string, int>& names, std::map<std::string, std::string>& models) {
  if (service.name.empty()) return;
  const std::string full = service.name_space + "/" + service.name;
  if (const auto [it, fresh] = names.emplace(full, line); !fresh) {
    problems.Error(line, path.empty() ? "metadata.name" : path + ".metadata.name",
                   "service '" + full + "' is in the file twice, first on line " + std::to_string(it->second));
    return;
  }
  if (const auto [it, fresh] = models.emplace(service.model_name, full); !fresh) {
    problems.Error(
        line, path.empty() ? "spec.model.name" : path + ".spec.model.name",
        "model '" + service.model_name + "' is served by '" + it->second + "' already; give it another name");
  }
}

}  // namespace

Result<std::vector<ServiceSpec>> ReadManifest(std::string_view text, std::string_view what) {
  auto documents = codec::yaml::ParseAll(text);
  if (!documents) {
    return Fail(documents.error().code, std::string(what) + ": " + documents.error().message, documents.error().param);
  }
  // A document that is only comments is what `---` at the end of a file makes.
  std::erase_if(*documents, [](const Node& node) { return node.IsNull(); });
  if (documents->empty()) {
    return Fail(Code::kInvalidArgument,
                std::string(what) + " has no LLMInferenceService; `sluice up --print-manifest` shows one");
  }
  if (documents->size() > kServicesMax) {
    return Fail(Code::kInvalidArgument,
                std::string(what) + " has more than " + std::to_string(kServicesMax) + " services");
  }
  Problems errors;
  std::vector<ServiceSpec> services;
  std::map<std::string, int> names;
  std::map<std::string, std::string> models;
  for (size_t i = 0; i < documents->size(); ++i) {
    Problems problems;
    // With one document paths are the manifest's own; with several they begin with its place in the file.
    ServiceReader reader((*documents)[i], documents->size() == 1 ? "" : "[" + std::to_string(i) + "]", problems);
    ServiceSpec service = reader.Read();
    if (problems.ok()) CheckUnique(service, reader.Path(), reader.Line(), problems, names, models);
    for (const auto& problem : problems.errors()) errors.Error(problem.line, problem.path, problem.message);
    for (const auto& warning : problems.warnings()) service.notices.push_back(warning.Text());
    services.push_back(std::move(service));
  }
  if (auto status = errors.ToStatus(what); !status) return tl::unexpected(std::move(status.error()));
  return services;
}

std::string_view DefaultManifest() {
  return R"(# The packaged model, twice, behind one gateway that prefers the replica that holds the prompt's beginning.
# The same resource that KServe takes on a cluster.
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata:
  name: smollm2
spec:
  model:
    uri: file://SmolLM2-135M-Instruct.Q4_1.gguf
    name: HuggingFaceTB/SmolLM2-135M-Instruct
  replicas: 2
  router:
    route: {}
    gateway: {}
    scheduler:
      config:
        inline:
          apiVersion: llm-d.ai/v1alpha1
          kind: EndpointPickerConfig
          plugins:
          - type: single-profile-handler
          - type: approx-prefix-cache-producer
          - type: prefix-cache-scorer
          - type: queue-scorer
          - type: kv-cache-utilization-scorer
          - type: max-score-picker
          schedulingProfiles:
          - name: default
            plugins:
            - pluginRef: prefix-cache-scorer
              weight: 3
            - pluginRef: queue-scorer
              weight: 2
            - pluginRef: kv-cache-utilization-scorer
              weight: 2
            - pluginRef: max-score-picker
)";
}

}  // namespace sluice::control
