// The generated pages of docs/reference/, one function a page. Each returns Markdown made from a table in the code, so
// that the page cannot say anything else than the program does. Thread rule: one thread.
#pragma once

#include <string>

namespace sluice::docs_gen {

std::string ErrorsPage();   // base/error.h's table of codes
std::string MetricsPage();  // the families that each process registers
std::string PluginsPage();  // schedule's registry of plugin types

}  // namespace sluice::docs_gen
