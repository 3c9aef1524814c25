// The program that stands in for `sluice` in the tests of control/: `worker` and `gateway` are small HTTP servers that
// obey extra arguments, `up` is the real RunUp with this program as executable.
//   --misbehave=exit:CODE:TEXT   prints TEXT and ends        --misbehave=deaf    ignores SIGTERM
//   --misbehave=unready          /health and /ready are 503  --misbehave=silent  listens to nothing
// Asked by POST /drain, it says at GET /left how many requests it has left: 2, 1, 0.
//   orphan LOG                   starts `sleep` as a Process, prints its pid, and is killed
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "control/process.h"
#include "control/up.h"
#include "net/http_server.h"
#include "runtime/loop.h"
#include "runtime/signals.h"

namespace sluice::control {
namespace {

struct Arguments {
  std::vector<std::string> all;
  std::string Value(std::string_view flag) const {
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i] == flag && i + 1 < all.size()) return all[i + 1];
      if (all[i].starts_with(flag) && all[i].size() > flag.size() && all[i][flag.size()] == '=') {
        return all[i].substr(flag.size() + 1);
      }
    }
    return {};
  }
};

bool g_ready = true;
int g_left = 3;

runtime::Task<> Answer(net::ServerExchange& exchange) {
  if (exchange.head().path() == "/drain" && exchange.head().method == "POST") std::fprintf(stderr, "draining\n");
  if (exchange.head().path() == "/left") {
    std::fprintf(stderr, "left %d\n", --g_left);
    co_await exchange.Respond(200, {}, "requests_left: " + std::to_string(g_left) + "\n");
    co_return;
  }
  const bool endpoints = exchange.head().path() == "/debug/endpoints";
  const std::string body = endpoints ? R"({"pools":[]})" : "{}";
  co_await exchange.Respond(g_ready || endpoints ? 200 : 503, {}, body);
}

runtime::Task<> UntilSignal(runtime::Loop* loop, runtime::Signals* signals, bool deaf) {
  for (;;) {
    co_await signals->Next();
    std::fprintf(stderr, "got a signal\n");
    if (deaf) continue;
    loop->Stop();
    co_return;
  }
}

int Serve(const Arguments& arguments) {
  const std::string misbehave = arguments.Value("--misbehave");
  if (misbehave.starts_with("exit:")) {
    const std::string_view code_and_text = std::string_view(misbehave).substr(5);
    const size_t colon = code_and_text.find(':');
    std::fprintf(stderr, "%s\n", std::string(code_and_text.substr(colon + 1)).c_str());
    return ParseNumber<int>(code_and_text.substr(0, colon)).value_or(0);
  }
  g_ready = misbehave != "unready";
  runtime::Signals::Block({SIGTERM, SIGINT});
  runtime::Loop loop;
  runtime::Signals signals(loop, {SIGTERM, SIGINT});
  net::HttpServer server(loop, {}, Answer);
  const auto port = ParseNumber<uint16_t>(arguments.Value("--port"));
  if (misbehave != "silent" && !server.Listen({"127.0.0.1", port.value_or(0)})) return 1;
  loop.Spawn(UntilSignal(&loop, &signals, misbehave == "deaf"));
  loop.Run();
  return 0;
}

int RunUpCommand(const Arguments& arguments) {
  UpOptions options;
  options.executable = "/proc/self/exe";
  options.port = ParseNumber<uint16_t>(arguments.Value("--port")).value_or(0);
  options.manifest_file = arguments.Value("-f");
  options.detach = arguments.Value("--detach") == "yes";
  const auto code = RunUp(options);
  if (code) return *code;
  std::fprintf(stderr, "sluice: %s\n", code.error().message.c_str());
  return Info(code.error().code).exit_code;
}

int LeaveAnOrphan(const std::string& log) {
  runtime::Loop loop;
  auto process = Process::Start(loop, {.argv = {"/bin/sleep", "1000"}, .env = {}, .log_file = log});
  if (!process) return 1;
  std::fprintf(stderr, "%d\n", process->pid());
  std::raise(SIGKILL);
  return 1;
}

}  // namespace
}  // namespace sluice::control

int main(int argc, char** argv) {
  const sluice::control::Arguments arguments{{argv + 1, argv + argc}};
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "worker" || command == "gateway") return sluice::control::Serve(arguments);
  if (command == "up") return sluice::control::RunUpCommand(arguments);
  if (command == "orphan" && argc == 3) return sluice::control::LeaveAnOrphan(argv[2]);
  return 64;
}
