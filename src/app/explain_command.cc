// `sluice explain`: why a request went where it went, where one would go, and what shadow policies would do.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "app/command.h"
#include "app/http_once.h"
#include "base/read_file.h"
#include "net/query.h"

namespace sluice::app {
namespace {

constexpr size_t kBodyMax = size_t{64} << 20;

struct Flags {
  std::string request_id;
  std::string url = "http://127.0.0.1:8080";
  std::string output = "table";
  bool dry_run = false;
  bool shadow = false;
  std::string file;
  std::string path = "/v1/chat/completions";
};

Result<std::string> Body(const std::string& file) {
  if (file != "-") return ReadFile(file, kBodyMax);
  std::string text;
  char block[64 * 1024];
  while (std::cin.read(block, sizeof block) || std::cin.gcount() > 0) {
    text.append(block, static_cast<size_t>(std::cin.gcount()));
    if (text.size() > kBodyMax) return Fail(Code::kTooLarge, "the request on standard input is over 64 MiB");
  }
  return text;
}

Result<std::string> Answer(const Flags& flags) {
  const std::string format = flags.output == "json" ? "format=json" : "format=table";
  if (flags.shadow) return BodyOf(GetOnce(flags.url, "/debug/policy?" + format));
  if (!flags.dry_run) return BodyOf(GetOnce(flags.url, "/debug/decisions/" + flags.request_id + "?" + format));
  const auto body = Body(flags.file);
  if (!body) return tl::unexpected(body.error());
  return BodyOf(PostOnce(flags.url, "/debug/decide?path=" + net::QueryEscape(flags.path) + "&" + format, *body));
}

Result<int> Run(const Flags& flags) {
  const int asked = (flags.request_id.empty() ? 0 : 1) + (flags.dry_run ? 1 : 0) + (flags.shadow ? 1 : 0);
  if (asked != 1) {
    return Fail(Code::kInvalidArgument, "say one thing to explain: a REQUEST_ID, --dry-run -f FILE, or --shadow");
  }
  if (flags.dry_run == flags.file.empty()) {
    return Fail(Code::kInvalidArgument, "--dry-run needs the request (-f FILE, - for standard input), and only it");
  }
  const auto answer = Answer(flags);
  if (!answer) return tl::unexpected(answer.error());
  std::printf("%s%s", answer->c_str(), answer->ends_with('\n') ? "" : "\n");
  return 0;
}

}  // namespace

CLI::App* AddExplainCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = root.add_subcommand("explain", "why a request went where it went, or where one would go");
  command->add_option("REQUEST_ID", flags->request_id, "the x-request-id header of the answer");
  command->add_flag("--dry-run", flags->dry_run, "where a request would go now; nothing is sent or remembered");
  command->add_option("-f,--file", flags->file, "with --dry-run: the request's body, - for standard input");
  command->add_option("--path", flags->path, "with --dry-run: the path it would be sent to")->capture_default_str();
  command->add_flag("--shadow", flags->shadow, "how the shadow policies compare with the live one");
  command->add_option("--url", flags->url, "the gateway")->capture_default_str();
  command->add_option("-o,--output", flags->output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  curl -si http://127.0.0.1:8080/v1/chat/completions -d @request.json | grep -i x-request-id\n"
      "  sluice explain 3f0c1c9e-6f0e-4a55-9d3f-0a1f5f0b9d11\n"
      "  sluice explain --dry-run -f request.json\n"
      "  sluice explain --shadow");
  action = [flags] { return Run(*flags); };
  return command;
}

}  // namespace sluice::app
