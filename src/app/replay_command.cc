// `sluice replay`: makes the decisions of a log again.
#include <cstdio>
#include <fstream>
#include <memory>

#include "app/command.h"
#include "base/read_file.h"
#include "codec/json/write.h"
#include "schedule/replay.h"

namespace sluice::app {
namespace {

struct Flags {
  std::string log;
  std::string config_file;
  bool experimental = false;
  std::string output = "text";
};

Result<schedule::Replay::Outcome> ReplayFile(const Flags& flags, const schedule::Registry& registry) {
  std::string other;
  if (!flags.config_file.empty()) {
    auto text = ReadFile(flags.config_file, schedule::kConfigBytesMax);
    if (!text) return tl::unexpected(text.error());
    const auto config = schedule::LoadConfig(*text, registry, {.allow_experimental_plugins = flags.experimental});
    if (!config) return Fail(config.error().code, flags.config_file + ": " + config.error().message);
    other = std::move(*text);
  }
  std::ifstream file(flags.log, std::ios::binary);
  if (!file) return Fail(Code::kNotFound, "cannot read " + flags.log + "; does it exist, and may this user read it?");
  schedule::Replay replay(registry, std::move(other), flags.experimental);
  size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const Status read = replay.Line(line);
    if (read) continue;
    // A process that was killed leaves half a line at the end.
    if (file.eof() || file.peek() == std::ifstream::traits_type::eof()) {
      std::fprintf(stderr, "sluice: the last line of the log is not whole; it is left out\n");
      break;
    }
    return Fail(read.error().code, flags.log + " line " + std::to_string(number) + ": " + read.error().message);
  }
  return replay.Finish();
}

void WriteDifferences(codec::JsonWriter& json, std::string_view key,
                      const std::vector<schedule::Replay::Difference>& differences) {
  json.Key(key).BeginArray();
  for (const auto& difference : differences) {
    json.BeginObject().Field("request_id", difference.request_id).Field("recorded", difference.recorded);
    json.Field("other", difference.other).EndObject();
  }
  json.EndArray();
}

std::string Json(const schedule::Replay::Outcome& outcome) {
  std::string text;
  codec::JsonWriter json(text);
  json.BeginObject().Field("decisions", outcome.decisions).Field("equal", outcome.equal);
  json.Field("inexact", outcome.inexact).Field("log_was_full", outcome.full);
  WriteDifferences(json, "unequal", outcome.unequal);
  WriteDifferences(json, "elsewhere", outcome.elsewhere);
  json.Key("policy").Raw(schedule::ShadowReportJson(outcome.shadows)).EndObject();
  return text + "\n";
}

void PrintDifferences(const char* title, const std::vector<schedule::Replay::Difference>& differences) {
  if (differences.empty()) return;
  std::printf("\n%s\n", title);
  for (const auto& difference : differences) {
    std::printf("  %-38s %-22s %s\n", difference.request_id.c_str(), difference.recorded.c_str(),
                difference.other.c_str());
  }
}

void Print(const Flags& flags, const schedule::Replay::Outcome& outcome) {
  std::printf("%llu decisions, %llu repeated bit for bit", static_cast<unsigned long long>(outcome.decisions),
              static_cast<unsigned long long>(outcome.equal));
  if (outcome.inexact > 0) {
    std::printf(", %llu recorded without all their input", static_cast<unsigned long long>(outcome.inexact));
  }
  std::printf("\n");
  if (outcome.full) std::printf("the log ended at its size limit, before the gateway did\n");
  PrintDifferences("not repeated (the first): REQUEST, RECORDED, REPLAYED", outcome.unequal);
  if (flags.config_file.empty()) return;
  PrintDifferences("would go elsewhere (the first): REQUEST, RECORDED, WITH THE OTHER CONFIGURATION",
                   outcome.elsewhere);
  std::printf("\n%s", schedule::ShadowReportTable(outcome.shadows).c_str());
}

Result<int> Run(const Flags& flags) {
  const schedule::Registry registry = schedule::BuiltinRegistry();
  const auto outcome = ReplayFile(flags, registry);
  if (!outcome) return tl::unexpected(outcome.error());
  if (flags.output == "json") {
    std::printf("%s", Json(*outcome).c_str());
  } else {
    Print(flags, *outcome);
  }
  return outcome->unequal.empty() ? 0 : 1;
}

}  // namespace

CLI::App* AddReplayCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      root.add_subcommand("replay", "makes the decisions of a recorded log again, or with another policy");
  command->add_option("FILE", flags->log, "written by `sluice gateway --decision-log FILE`")->required();
  command->add_option("--config-file", flags->config_file, "EndpointPickerConfig to compare with");
  command->add_flag("--allow-experimental-plugins", flags->experimental, "accept Alpha plugins in it");
  command->add_option("-o,--output", flags->output, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->footer(
      "Exit code: 0 when every decision repeated bit for bit, 1 when one did not.\n"
      "With --config-file that policy decides beside the recorded one, in the world as it was recorded.\n"
      "Examples:\n"
      "  sluice gateway --endpoint 127.0.0.1:8000 --decision-log decisions.jsonl\n"
      "  sluice replay decisions.jsonl\n"
      "  sluice replay decisions.jsonl --config-file other.yaml");
  action = [flags] { return Run(*flags); };
  return command;
}

}  // namespace sluice::app
