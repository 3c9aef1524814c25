#include "docs_gen/pages.h"
#include "observe/metrics.h"
#include "serving/router_metrics.h"
#include "worker/worker_metrics.h"

namespace sluice::docs_gen {
namespace {

// The families of a registry, from its own text: "# HELP name text" is followed by "# TYPE name type".
std::string Table(const observe::Registry& registry) {
  std::string page = "| metric | type | meaning |\n|---|---|---|\n";
  const std::string text = registry.Render();
  std::string_view rest = text;
  std::string name;
  std::string help;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    const std::string_view words = line.size() > 7 ? line.substr(7) : std::string_view();
    const size_t space = words.find(' ');
    if (space == std::string_view::npos) continue;
    if (line.starts_with("# HELP ")) {
      name = words.substr(0, space);
      help = words.substr(space + 1);
    } else if (line.starts_with("# TYPE ")) {
      page += "| `" + name + "` | " + std::string(words.substr(space + 1)) + " | " + help + " |\n";
    }
  }
  return page;
}

}  // namespace

std::string MetricsPage() {
  observe::Registry gateway_registry;
  const serving::RouterMetrics gateway_metrics(gateway_registry);
  observe::Registry worker_registry;
  worker::WorkerMetrics worker_metrics(worker_registry);
  worker_metrics.Bind({.name = "model", .max_model_len = 8192}, "model");
  return "# Metrics\n\n"
         "What `GET /metrics` gives, in Prometheus' text format. Names are upstream's where upstream has them:\n"
         "`vllm:*` is vLLM, `llm_d_epp_*` llm-d's endpoint picker; `sluice_*` is ours. A family holds a bounded number "
         "of series; "
         "what\n"
         "comes after that is counted under the label value `other`.\n\n"
         "## Gateway\n\n" +
         Table(gateway_registry) + "\n## Worker\n\n" + Table(worker_registry);
}

}  // namespace sluice::docs_gen
