// sluice_docs_gen PAGE: prints one generated page of docs/reference/; without an argument, the names of all pages.
#include <cstdio>
#include <string>
#include <string_view>

#include "docs_gen/pages.h"

namespace {

struct Page {
  std::string_view name;
  std::string (*make)();
};
constexpr Page kPages[] = {{"errors", &sluice::docs_gen::ErrorsPage},
                           {"metrics", &sluice::docs_gen::MetricsPage},
                           {"plugins", &sluice::docs_gen::PluginsPage}};

}  // namespace

int main(int argc, char** argv) {
  if (argc == 1) {
    for (const Page& page : kPages) std::printf("%s\n", page.name.data());
    return 0;
  }
  for (const Page& page : kPages) {
    if (page.name == argv[1]) {
      std::printf("%s", page.make().c_str());
      return 0;
    }
  }
  std::fprintf(stderr, "sluice_docs_gen: no page '%s'; without an argument it lists them\n", argv[1]);
  return 2;
}
