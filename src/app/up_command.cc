// sluice up: the whole platform on this machine.
#include <cstdio>
#include <memory>

#include "app/command.h"
#include "control/manifest.h"
#include "control/platform.h"
#include "control/up.h"

namespace sluice::app {
namespace {

struct UpFlags {
  control::UpOptions options;
  bool print_manifest = false;
};

}  // namespace

CLI::App* AddUpCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<UpFlags>();
  control::UpOptions& options = flags->options;
  CLI::App* command = root.add_subcommand("up", "the platform on this machine: workers, a gateway, a supervisor");
  command->add_option("-f,--filename", options.manifest_file,
                      "LLMInferenceService manifest, several documents make several services; - reads standard input "
                      "(default: the built-in one)");
  command->add_option("--model", options.model, "serve this .gguf file, under its name, instead of a manifest's model");
  command->add_option("--replicas", options.replicas, "workers of each service, instead of the manifest's number")
      ->check(CLI::Range(int64_t{1}, control::kWorkersMax));
  command->add_option("--port", options.port, "the gateway's port; workers take free ones above it; 0: any free one")
      ->capture_default_str();
  command->add_option("--host", options.host, "IP address the gateway listens on; 0.0.0.0: all")->capture_default_str();
  command
      ->add_option_function<std::string>(
          "--proxy",
          [flags](const std::string& name) {
            flags->options.proxy = name == "gateway" ? control::Proxy::kGateway
                                   : name == "envoy" ? control::Proxy::kEnvoy
                                                     : control::Proxy::kEnvoyLean;
          },
          "what clients talk to: gateway (ours), envoy (Envoy, with `sluice epp` as its picker) or envoy-lean (its "
          "picker does not see answers; docs/operate/envoy.md). Envoy's program is $ENVOY or the `envoy` on PATH")
      ->check(CLI::IsMember({"gateway", "envoy", "envoy-lean"}))
      ->default_str("gateway");
  command->add_flag("--detach", options.detach, "return when the platform is ready, or could not start; it runs on");
  command->add_flag("--print-manifest", flags->print_manifest, "print the built-in manifest and stop");
  command->footer(
      "Runs in the foreground until Ctrl-C, which lets requests under way finish (a second one does not wait).\n"
      "Models are looked up in $SLUICE_MODEL_PATH, ./models, models beside the program and ~/.cache/sluice/models.\n"
      "State and logs: ${SLUICE_STATE_DIR:-${XDG_STATE_HOME:-~/.local/state}/sluice}/<port>/.\n"
      "Exit code: 0 stopped as asked (with --detach: ready), 1 could not run, 2 a mistake in flags, manifest or "
      "model.\n"
      "Examples:\n"
      "  sluice up\n"
      "  sluice up --model ./qwen.gguf --replicas 1 --detach\n"
      "  sluice up --proxy envoy\n"
      "  sluice up --print-manifest > service.yaml && sluice up -f service.yaml");
  action = [flags]() -> Result<int> {
    if (!flags->print_manifest) return control::RunUp(flags->options);
    const std::string_view manifest = control::DefaultManifest();
    std::fwrite(manifest.data(), 1, manifest.size(), stdout);
    return 0;
  };
  return command;
}

}  // namespace sluice::app
