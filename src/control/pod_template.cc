#include "control/pod_template.h"

#include <algorithm>
#include <set>

namespace sluice::control {
namespace {

using codec::yaml::MapReader;
using codec::yaml::Node;
using codec::yaml::Problems;

// Kubernetes 1.36's PodSpec and Container, without the fields that are read below.
constexpr std::string_view kPodFields[] = {"activeDeadlineSeconds",
                                           "affinity",
                                           "automountServiceAccountToken",
                                           "dnsConfig",
                                           "dnsPolicy",
                                           "enableServiceLinks",
                                           "ephemeralContainers",
                                           "hostAliases",
                                           "hostIPC",
                                           "hostNetwork",
                                           "hostPID",
                                           "hostUsers",
                                           "hostname",
                                           "imagePullSecrets",
                                           "initContainers",
                                           "nodeName",
                                           "nodeSelector",
                                           "os",
                                           "overhead",
                                           "preemptionPolicy",
                                           "priority",
                                           "priorityClassName",
                                           "readinessGates",
                                           "resourceClaims",
                                           "resources",
                                           "restartPolicy",
                                           "runtimeClassName",
                                           "schedulerName",
                                           "schedulingGates",
                                           "securityContext",
                                           "serviceAccount",
                                           "serviceAccountName",
                                           "setHostnameAsFQDN",
                                           "shareProcessNamespace",
                                           "subdomain",
                                           "terminationGracePeriodSeconds",
                                           "tolerations",
                                           "topologySpreadConstraints",
                                           "volumes"};
constexpr std::string_view kContainerFields[] = {"envFrom",
                                                 "imagePullPolicy",
                                                 "lifecycle",
                                                 "livenessProbe",
                                                 "ports",
                                                 "readinessProbe",
                                                 "resizePolicy",
                                                 "resources",
                                                 "restartPolicy",
                                                 "securityContext",
                                                 "startupProbe",
                                                 "stdin",
                                                 "stdinOnce",
                                                 "terminationMessagePath",
                                                 "terminationMessagePolicy",
                                                 "tty",
                                                 "volumeDevices",
                                                 "volumeMounts",
                                                 "workingDir"};
// What `sluice up` itself tells each worker.
constexpr std::string_view kOwnFlags[] = {"--model", "--served-model-name", "--host", "--port"};
// Upstream's container start script puts this variable's words before the arguments.
constexpr std::string_view kAdditionalArgs = "VLLM_ADDITIONAL_ARGS";
constexpr std::string_view kSpace = " \t\r\n";

std::string Quoted(std::string_view text) { return "'" + std::string(text.substr(0, 80)) + "'"; }

class MainContainer {
 public:
  MainContainer(MapReader container, Problems& problems, ServiceSpec& service)
      : container_(std::move(container)), problems_(problems), service_(service) {}

  void Read() {
    for (const std::string_view field : kContainerFields) container_.NotCarriedOut(field, kNotHere);
    container_.NotCarriedOut("image", "is not used: the worker is this program");
    container_.NotCarriedOut("command", "is not used: the worker is this program; its args are passed on");
    container_.Each("env", [this](const Node& item, const std::string& path) { ReadEnv(item, path); });
    container_.Each("args", [this](const Node& item, const std::string& path) {
      if (item.IsScalar()) {
        AddArg(item, path, item.scalar);
      } else {
        problems_.Error(item, path, "expected a string, got " + Describe(item));
      }
    });
    container_.Finish();
  }

 private:
  void ReadEnv(const Node& item, const std::string& path) {
    MapReader env(item, path, problems_);
    const std::string name = env.RequiredString("name");
    const Node* value_node = env.Child("value");
    const std::string value = env.String("value");
    const bool from = env.Has("valueFrom");
    env.NotCarriedOut("valueFrom", "is not set: " + std::string(kNotHere) + ", which has no Secrets or ConfigMaps");
    env.Finish();
    if (name.empty() || from) return;
    const Node& where = value_node != nullptr ? *value_node : item;
    if (!NameIsGood(name)) return env.Error("name", Quoted(name) + " is not a variable name: use A-Z a-z 0-9 _ . -");
    if (!names_.insert(name).second) return env.Error("name", Quoted(name) + " is given twice");
    if (!Take(where, path + ".value", value)) return;
    if (name == kAdditionalArgs) return SplitAdditionalArgs(where, path + ".value", value);
    if (service_.env.size() == kEnvMax) {
      return env.Error("name", "more than " + std::to_string(kEnvMax) + " variables");
    }
    service_.env.push_back({name, value});
  }

  static bool NameIsGood(std::string_view name) {
    const auto good = [](char c) {
      return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
             c == '-';
    };
    return name.size() <= 256 && !(name.front() >= '0' && name.front() <= '9') &&
           std::all_of(name.begin(), name.end(), good);
  }

  // Upstream's script leaves the splitting to a shell; here there is none, so only what needs none is taken.
  void SplitAdditionalArgs(const Node& where, const std::string& path, std::string_view value) {
    if (value.find_first_of("'\"\\$`;&|<>*?~#(){}[]") != std::string_view::npos) {
      problems_.Error(where, path, "has characters that need a shell, and there is none; put the arguments into args");
      return;
    }
    while (true) {
      const size_t begin = value.find_first_not_of(kSpace);
      if (begin == std::string_view::npos) return;
      value.remove_prefix(begin);
      const size_t end = std::min(value.find_first_of(kSpace), value.size());
      if (service_.worker_args.size() >= kArgsMax) return AddArg(where, path, "");
      AddArg(where, path, value.substr(0, end));
      value.remove_prefix(end);
    }
  }

  void AddArg(const Node& where, const std::string& path, std::string_view arg) {
    if (service_.worker_args.size() == kArgsMax) {
      if (!too_many_args_) problems_.Error(where, path, "more than " + std::to_string(kArgsMax) + " arguments");
      too_many_args_ = true;
      return;
    }
    const std::string_view flag = arg.substr(0, arg.find('='));
    if (std::find(std::begin(kOwnFlags), std::end(kOwnFlags), flag) != std::end(kOwnFlags)) {
      problems_.Error(
          where, path,
          std::string(flag) + " is set by `sluice up` itself (spec.model says what is served); leave it out");
      return;
    }
    if (Take(where, path, arg)) service_.worker_args.emplace_back(arg);
  }

  // Checks one string that goes to exec(), and counts its bytes.
  bool Take(const Node& where, const std::string& path, std::string_view text) {
    if (text.find('\0') != std::string_view::npos) {
      problems_.Error(where, path, "holds a zero byte");
      return false;
    }
    total_bytes_ += text.size();
    if (text.size() > kArgBytesMax || total_bytes_ > kTotalBytesMax) {
      problems_.Error(where, path,
                      "is too long: " + std::to_string(kArgBytesMax) + " bytes at most, and " +
                          std::to_string(kTotalBytesMax) + " for all arguments and variables");
      return false;
    }
    if (text.find("$(") != std::string_view::npos) {
      problems_.Warn(where.line, path, "$(NAME) is passed on as it stands: filling it in " + std::string(kNotHere));
    }
    return true;
  }

  MapReader container_;
  Problems& problems_;
  ServiceSpec& service_;
  std::set<std::string> names_;
  size_t total_bytes_ = 0;
  bool too_many_args_ = false;
};

}  // namespace

void ReadPodTemplate(MapReader pod, Problems& problems, ServiceSpec& service) {
  for (const std::string_view field : kPodFields) pod.NotCarriedOut(field, kNotHere);
  bool main_seen = false;
  pod.Each("containers", [&](const Node& item, const std::string& path) {
    MapReader container(item, path, problems);
    const std::string name = container.RequiredString("name");
    if (name == "main") {
      if (main_seen) return container.Error("name", "a second container 'main'");
      main_seen = true;
      return MainContainer(std::move(container), problems, service).Read();
    }
    if (!name.empty()) {
      problems.Warn(item.line, path, "container " + Quoted(name) + " " + std::string(kNotHere) + "; only 'main' is");
    }
  });
  pod.Finish();
}

}  // namespace sluice::control
