// `sluice bench`: load on an OpenAI-style server, with the latencies that users feel.
#include <cstdio>
#include <memory>

#include "app/command.h"
#include "loadgen/bench.h"
#include "loadgen/report.h"

namespace sluice::app {
namespace {

struct Flags {
  loadgen::BenchOptions options;
  std::string api = "completions";
  std::string workload = "shared-prefix";
  std::string arrival = "concurrency";
  std::string output = "table";
  std::optional<double> duration_seconds;
  double timeout_seconds = 300;
  bool stop_at_eos = false;
};

Result<int> Run(Flags& flags) {
  loadgen::BenchOptions& options = flags.options;
  const auto api = loadgen::ParseApi(flags.api);
  if (!api) return tl::unexpected(api.error());
  const auto workload = loadgen::ParseWorkloadKind(flags.workload);
  if (!workload) return tl::unexpected(workload.error());
  const auto arrival = loadgen::ParseArrivalKind(flags.arrival);
  if (!arrival) return tl::unexpected(arrival.error());
  options.api = *api;
  options.workload.kind = *workload;
  options.arrival.kind = *arrival;
  options.ignore_eos = !flags.stop_at_eos;
  options.request_timeout = FromSeconds(flags.timeout_seconds);
  if (flags.duration_seconds) options.duration = FromSeconds(*flags.duration_seconds);
  if (const char* key = std::getenv("OPENAI_API_KEY")) options.api_key = key;
  Result<loadgen::Report> report = Fail(Code::kInternal, "");
  {
    loadgen::ProgressPrinter printer;
    report = loadgen::RunBench(options, [&printer](const loadgen::Progress& progress) { printer.Show(progress); });
  }
  if (!report) return tl::unexpected(report.error());
  std::printf("%s", (flags.output == "json" ? loadgen::ReportJson(*report) : loadgen::ReportTable(*report)).c_str());
  return report->completed < report->requests ? 1 : 0;
}

void AddLoadOptions(CLI::App& command, Flags& flags) {
  loadgen::WorkloadOptions& workload = flags.options.workload;
  command.add_option("--workload", flags.workload, "shared-prefix or random")->capture_default_str();
  command.add_option("--groups", workload.groups,
                     "shared-prefix: groups of prompts with the same beginning (default 32)");
  command.add_option("--prompts-per-group", workload.prompts_per_group,
                     "shared-prefix: prompts in a group (default 32)");
  command.add_option("--prefix-tokens", workload.prefix_tokens,
                     "shared-prefix: length of the beginning (default 2048)");
  command.add_option("--question-tokens", workload.question_tokens, "length of what follows it")->capture_default_str();
  command.add_option("--output-tokens", workload.output_tokens, "length of an answer")->capture_default_str();
  command.add_option("--seed", workload.seed, "equal seeds send equal prompts; change it to meet a cold cache")
      ->capture_default_str();
  command.add_option("--arrival", flags.arrival, "concurrency (closed loop), poisson or constant")
      ->capture_default_str();
  command.add_option("--concurrency", flags.options.arrival.concurrency,
                     "closed loop: requests at any time (default 8)");
  command.add_option("--rate", flags.options.arrival.rate, "poisson, constant: requests a second");
  command.add_option("--requests", flags.options.requests, "measured requests (default: each prompt once)");
  command.add_option("--duration", flags.duration_seconds, "seconds to measure");
  command.add_option("--warmup", flags.options.warmup_requests, "requests sent before, counted nowhere")
      ->capture_default_str();
  command.add_option("--in-flight-max", flags.options.in_flight_max, "open loop: requests under way at most")
      ->capture_default_str();
}

}  // namespace

CLI::App* AddBenchCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      root.add_subcommand("bench", "puts load on a server and reports TTFT, ITL, tokens/s and cache hits");
  command->add_option("--url", flags->options.url, "the server")->capture_default_str();
  command->add_option("--model", flags->options.model, "model to ask for (default: the first of /v1/models)");
  command->add_option("--api", flags->api, "completions or chat")->capture_default_str();
  AddLoadOptions(*command, *flags);
  command->add_option("--request-timeout", flags->timeout_seconds, "seconds after which a request is given up")
      ->capture_default_str();
  command->add_flag("--stop-at-eos", flags->stop_at_eos,
                    "let answers end early (default: every answer has its full length)");
  command->add_option("-o,--output", flags->output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(
      "A key for the server is read from OPENAI_API_KEY. Exit code 1 when a request failed.\n"
      "Examples:\n"
      "  sluice bench --groups 4 --prompts-per-group 8 --prefix-tokens 500 --question-tokens 30 --output-tokens 32\n"
      "  sluice bench --workload random --arrival poisson --rate 2 --duration 60 -o json");
  action = [flags] { return Run(*flags); };
  return command;
}

}  // namespace sluice::app
