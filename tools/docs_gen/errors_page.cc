#include "base/error.h"
#include "docs_gen/pages.h"

namespace sluice::docs_gen {

std::string ErrorsPage() {
  std::string page =
      "# Errors\n\n"
      "One table decides what an error looks like at every edge: the HTTP status and the `type` in the body of an "
      "HTTP\n"
      "answer, the gRPC status, and the exit code of a command. Exit code 2 means that the caller has to change\n"
      "something; 1 means that trying again may help.\n\n"
      "An HTTP error has this body, the one that vLLM gives; `param` names the offending field or is `null`:\n\n"
      "```json\n"
      "{\"error\": {\"message\": \"what happened, where, and what to do\", \"type\": \"NotFoundError\", \"param\": "
      "\"model\", \"code\": 404}}\n"
      "```\n\n"
      "| code | HTTP | type | gRPC | exit | what to do |\n"
      "|---|---|---|---|---|---|\n";
  for (const CodeInfo& row : AllCodes()) {
    page += "| `" + std::string(row.name) + "` | " + std::to_string(row.http_status) + " | `" +
            std::string(row.openai_type) + "` | " + std::to_string(row.grpc_status) + " | " +
            std::to_string(row.exit_code) + " | " + std::string(row.help) + " |\n";
  }
  return page;
}

}  // namespace sluice::docs_gen
