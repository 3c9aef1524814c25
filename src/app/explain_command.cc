// `sluice explain ID`: why a request went where it went, from the gateway's kept receipts.
#include <cstdio>

#include "app/command.h"
#include "app/http_get.h"
#include "codec/json/reader.h"

namespace sluice::app {
namespace {

struct Flags {
  std::string request_id;
  std::string url = "http://127.0.0.1:8080";
  std::string output = "table";
};

// The message of an OpenAI error body, or the body itself.
std::string MessageOf(const std::string& body) {
  codec::JsonReader reader;
  const auto root = reader.Parse(body);
  if (root) {
    if (const auto error = root->Find("error")) {
      if (const auto message = error->Find("message")) return std::string(message->String().value_or(""));
    }
  }
  return body;
}

Result<int> Run(const Flags& flags) {
  const std::string format = flags.output == "json" ? "" : "?format=table";
  const auto response = GetOnce(flags.url, "/debug/decisions/" + flags.request_id + format);
  if (!response) return tl::unexpected(response.error());
  if (response->status != 200) return Fail(CodeFromHttp(response->status), MessageOf(response->body));
  std::printf("%s%s", response->body.c_str(), response->body.ends_with('\n') ? "" : "\n");
  return 0;
}

}  // namespace

CLI::App* AddExplainCommand(CLI::App& root, Action& action) {
  static Flags flags;
  CLI::App* command = root.add_subcommand("explain", "why a request went where it went");
  command->add_option("REQUEST_ID", flags.request_id, "the x-request-id header of the answer")->required();
  command->add_option("--url", flags.url, "the gateway")->capture_default_str();
  command->add_option("-o,--output", flags.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(
      "Example:\n"
      "  curl -si http://127.0.0.1:8080/v1/chat/completions -d @request.json | grep -i x-request-id\n"
      "  sluice explain 3f0c1c9e-6f0e-4a55-9d3f-0a1f5f0b9d11");
  action = [] { return Run(flags); };
  return command;
}

}  // namespace sluice::app
