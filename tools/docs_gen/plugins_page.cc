#include "docs_gen/pages.h"
#include "schedule/registry.h"

namespace sluice::docs_gen {

std::string PluginsPage() {
  return "# Plugins\n\n"
         "The plugin types that an EndpointPickerConfig (`sluice gateway --config-file`) may name, and their "
         "parameters.\n\n" +
         schedule::RegistryMarkdown(schedule::BuiltinRegistry());
}

}  // namespace sluice::docs_gen
