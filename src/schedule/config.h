// LoadConfig: an EndpointPickerConfig's text into a policy that Decide can run, with upstream's defaults and
// automatically created plugins, or all of its mistakes with path, line and nearest name.
// Where upstream picks at random we take the file's order: a profile without a picker gets the first configured one.
// Thread rule: pure. Cost: load time. Ownership: the returned pointers live as long as `policy`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "schedule/config_document.h"
#include "schedule/plugins/data/data_layer_plugins.h"
#include "schedule/policy.h"
#include "schedule/registry.h"

namespace sluice::schedule {

inline constexpr size_t kConfigBytesMax = size_t{1} << 20;  // of a file

struct LoadOptions {
  bool allow_experimental_plugins = false;
};

struct MetricsBinding {
  const MetricsDataSource* source;
  const CoreMetricsExtractor* extractor;  // null: scraped, but nothing is read from it
};

struct LoadedConfig {
  std::string text;  // as it was given
  LoadOptions options;
  std::shared_ptr<const Policy> policy;
  EndpointPickerConfig document;
  std::vector<MetricsBinding> metrics;       // what to scrape and how to read it
  const FileDiscovery* discovery = nullptr;  // null: endpoints come from elsewhere
  std::vector<std::string> parsers;          // types, in the order they are tried
  std::vector<std::string> warnings;         // each with path and line: log them all
  std::vector<std::string> created;          // instances that the file does not have, with the reason
};

Result<LoadedConfig> LoadConfig(std::string_view text, const Registry& registry, const LoadOptions& options = {});

}  // namespace sluice::schedule
