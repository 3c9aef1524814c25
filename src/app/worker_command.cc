// `sluice worker`: a model server on the embedded engine. Flags are named as vLLM's where it has them.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

#include "app/command.h"
#include "observe/log.h"
#include "worker/engine/echo/echo_engine.h"
#include "worker/engine/llama/llama_options.h"
#include "worker/run_worker.h"

namespace sluice::app {
namespace {

constexpr size_t kTemplateBytesMax = size_t{1} << 20;

struct Flags {
  std::string engine = "llama";
  std::string model;
  std::vector<std::string> names;
  std::string host = "127.0.0.1";
  uint16_t port = 8000;
  std::vector<std::string> api_keys;
  std::string chat_template;
  std::vector<std::string> lora_modules;
  std::string kv_events_config;
  std::string hash_algorithm = "sha256_cbor";
  bool no_prefix_caching = false;
  bool prefix_caching = true;
  double echo_delay_ms = 0;
  double drain_seconds = 30;
  worker::LlamaOptions llama;
  worker::WorkerOptions http;
  std::vector<CLI::Option*> not_for_echo;  // options that the engine without a model cannot honour
  CLI::Option* max_num_seqs = nullptr;
  CLI::Option* waiting_max = nullptr;
  CLI::Option* echo_delay = nullptr;
};

// A Jinja template: a file's contents when `text` names a file, else `text` itself, as vLLM takes it.
Result<std::string> ReadTemplate(const std::string& text) {
  if (text.find("{{") != std::string::npos || text.find("{%") != std::string::npos) return text;
  std::ifstream file(text, std::ios::binary);
  if (!file)
    return Fail(Code::kNotFound, "--chat-template " + text + ": no such file, and it is not a Jinja template either");
  std::ostringstream out;
  out << file.rdbuf();
  if (out.str().size() > kTemplateBytesMax) return Fail(Code::kTooLarge, "--chat-template " + text + " is over 1 MiB");
  return out.str();
}

Result<std::vector<worker::LoraModule>> ReadLoras(const std::vector<std::string>& modules) {
  std::vector<worker::LoraModule> loras;
  for (const std::string& module : modules) {
    const size_t equals = module.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == module.size()) {
      return Fail(Code::kInvalidArgument, "--lora-modules takes NAME=PATH, got '" + module + "'");
    }
    loras.push_back({module.substr(0, equals), module.substr(equals + 1)});
  }
  return loras;
}

Status Complete(Flags& flags) {
  if (flags.engine == "llama" && flags.model.empty()) {
    return Fail(Code::kInvalidArgument, "--model FILE.gguf is needed (or --engine echo, which needs none)");
  }
  if (!flags.chat_template.empty()) {
    auto text = ReadTemplate(flags.chat_template);
    if (!text) return tl::unexpected(text.error());
    flags.llama.chat_template = std::move(*text);
  }
  if (flags.engine != "echo" && flags.echo_delay->count() > 0) {
    return Fail(Code::kInvalidArgument, "--echo-delay-ms has a meaning with --engine echo only; leave it out");
  }
  for (const CLI::Option* option : flags.not_for_echo) {
    if (flags.engine == "echo" && option->count() > 0) {
      return Fail(Code::kInvalidArgument, option->get_name() + " has no meaning with --engine echo; leave it out");
    }
  }
  auto loras = ReadLoras(flags.lora_modules);
  if (!loras) return tl::unexpected(loras.error());
  flags.llama.loras = std::move(*loras);
  if (!flags.kv_events_config.empty()) {
    const auto events = kvindex::ParsePublisherOptions(flags.kv_events_config);
    if (!events) return tl::unexpected(events.error());
    flags.llama.kv_events = flags.http.kv_events = *events;
  }
  const auto algorithm = kvindex::ParseHashAlgorithm(flags.hash_algorithm);
  if (!algorithm) return tl::unexpected(algorithm.error());
  flags.llama.hash_algorithm = *algorithm;
  if (const char* seed = std::getenv("PYTHONHASHSEED")) flags.llama.hash_seed = seed;
  if (const char* key = std::getenv("VLLM_API_KEY"); key != nullptr && *key != 0) flags.api_keys.emplace_back(key);
  flags.llama.model_path = flags.model;
  flags.llama.enable_prefix_caching = flags.prefix_caching && !flags.no_prefix_caching;
  if (!flags.names.empty()) flags.llama.served_name = flags.names.front();
  flags.http.listen = {flags.host, flags.port};
  flags.http.served_names = flags.names;
  flags.http.api_keys = flags.api_keys;
  flags.http.drain_timeout = FromSeconds(flags.drain_seconds);
  flags.http.version = SLUICE_VERSION;
  return {};
}

Result<std::unique_ptr<worker::Engine>> OpenEngine(const Flags& flags, worker::EngineObserver* observer) {
  if (flags.engine == "echo") {
    worker::EchoOptions echo;
    if (!flags.names.empty()) echo.served_name = flags.names.front();
    if (flags.llama.max_model_len > 0) echo.max_model_len = flags.llama.max_model_len;
    // The echo engine's own defaults are wider than a model's: it stands for engines of any size.
    if (flags.max_num_seqs->count() > 0) echo.max_num_seqs = flags.llama.max_num_seqs;
    if (flags.waiting_max->count() > 0) echo.waiting_max = flags.llama.waiting_max;
    if (flags.llama.num_blocks > 0) echo.num_blocks = flags.llama.num_blocks;
    echo.block_size = flags.llama.block_size;
    echo.loras = flags.llama.loras;
    echo.token_delay = FromSeconds(flags.echo_delay_ms / 1e3);
    echo.observer = observer;
    return std::unique_ptr<worker::Engine>(std::make_unique<worker::EchoEngine>(echo));
  }
  worker::LlamaOptions options = flags.llama;
  options.observer = observer;
  int shown = -1;
  options.on_load_progress = [&shown](double part) {
    const int quarter = static_cast<int>(part * 4);
    if (quarter == shown) return;
    shown = quarter;
    observe::Log(observe::Level::kInfo, "worker", "loading the model", {{"percent", quarter * 25}});
  };
  options.on_warning = [](std::string_view line) { observe::Log(observe::Level::kWarn, "engine", line); };
  return worker::OpenLlamaEngine(std::move(options));
}

Result<int> Run(Flags& flags) {
  if (const Status log = ApplyLogOptions(); !log) return tl::unexpected(log.error());
  if (const Status complete = Complete(flags); !complete) return tl::unexpected(complete.error());
  return worker::RunWorker(
      flags.http, [&flags](worker::EngineObserver* observer) { return OpenEngine(flags, observer); },
      [](const net::Address& address) {
        observe::Log(observe::Level::kInfo, "worker", "ready", {{"url", "http://" + address.ToString()}});
      });
}

void AddEngineOptions(CLI::App& command, Flags& flags) {
  worker::LlamaOptions& llama = flags.llama;
  command
      .add_option("--engine", flags.engine, "llama (a GGUF model) or echo (no model: repeats the prompt, for tests)")
      ->check(CLI::IsMember({"llama", "echo"}))
      ->capture_default_str();
  const auto not_for_echo = [&flags](CLI::Option* option) { flags.not_for_echo.push_back(option); };
  not_for_echo(command.add_option("--model", flags.model, "GGUF file"));
  command.add_option("--served-model-name", flags.names,
                     "names under which the model is asked for (default: the file's)");
  command.add_option("--max-model-len", llama.max_model_len, "longest prompt + answer in tokens; 0: the model's own")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  flags.max_num_seqs = command.add_option("--max-num-seqs", llama.max_num_seqs, "requests computed at a time")
                           ->check(CLI::Range(1, 128))
                           ->capture_default_str();
  not_for_echo(
      command.add_option("--max-num-batched-tokens", llama.max_num_batched_tokens, "tokens computed in one step")
          ->check(CLI::Range(1, 65536))
          ->capture_default_str());
  command.add_option("--block-size", llama.block_size, "tokens a KV block")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      .add_option("--num-gpu-blocks-override", llama.num_blocks,
                  "KV blocks; 0: room for 16,384 tokens or --max-model-len")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  not_for_echo(command.add_option("--threads", llama.threads, "computing threads; 0: half of the machine's")
                   ->check(CLI::NonNegativeNumber)
                   ->capture_default_str());
  flags.waiting_max = command
                          .add_option("--max-waiting-requests", llama.waiting_max,
                                      "requests that may wait; beyond it the answer is 429")
                          ->check(CLI::NonNegativeNumber)
                          ->capture_default_str();
  not_for_echo(command.add_flag("--enable-prefix-caching", flags.prefix_caching,
                                "reuse the KV of equal prompt beginnings (the default)"));
  not_for_echo(command.add_flag("--no-enable-prefix-caching", flags.no_prefix_caching, "compute every prompt anew"));
  not_for_echo(command.add_option("--prefix-caching-hash-algo", flags.hash_algorithm, "sha256_cbor or xxhash_cbor")
                   ->capture_default_str());
  not_for_echo(command.add_option(
      "--kv-events-config", flags.kv_events_config,
      R"(vLLM's JSON: {"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://*:5557",…})"));
  not_for_echo(command.add_option("--chat-template", flags.chat_template,
                                  "Jinja template: a file or the text itself (default: the model's)"));
  command.add_option("--lora-modules", flags.lora_modules, "adapters as NAME=PATH, asked for by name");
  flags.echo_delay = command.add_option("--echo-delay-ms", flags.echo_delay_ms, "--engine echo: time between tokens")
                         ->check(CLI::NonNegativeNumber)
                         ->capture_default_str();
}

}  // namespace

CLI::App* AddWorkerCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = root.add_subcommand("worker", "a model server on the embedded engine, with vLLM's HTTP surface");
  AddEngineOptions(*command, *flags);
  command->add_option("--host", flags->host, "address to listen on")->capture_default_str();
  command->add_option("--port", flags->port, "port to listen on; 0 takes a free one")->capture_default_str();
  command->add_option(
      "--api-key", flags->api_keys,
      "key that /v1 requests must bear; better in the environment, as VLLM_API_KEY, than in the arguments");
  command->add_option("--max-body-bytes", flags->http.body_bytes_max, "largest request body")->capture_default_str();
  command->add_option("--drain-timeout", flags->drain_seconds, "seconds that running requests get on SIGTERM")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  AddLogOptions(*command);
  command->footer(
      "Examples:\n"
      "  sluice worker --model SmolLM2-135M-Instruct.Q4_1.gguf --served-model-name smollm2 --port 8000\n"
      "  sluice worker --engine echo --served-model-name fake --port 8001\n"
      "Then: curl http://127.0.0.1:8000/v1/models");
  action = [flags] { return Run(*flags); };
  return command;
}

}  // namespace sluice::app
