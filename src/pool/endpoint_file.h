// The endpoint list that file-discovery reads: upstream's format, YAML or JSON, at most 1 MiB.
//   endpoints:
//   - {name: a, namespace: default, address: 10.0.0.1, port: "8000", labels: {llm-d.ai/role: decode}}
// and beyond it `scheme` (http, h2c, https) for an endpoint that is not spoken to as the pool's others.
// Each load replaces the whole set. A wrong entry is skipped and named; a file that cannot be read at all is an error,
// and the caller keeps the set it has (or does not start).
// Thread rule: pure. Cost: O(file).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "codec/yaml/reader.h"
#include "model/endpoint.h"

namespace sluice::pool {

struct EndpointFile {
  static constexpr size_t kBytesMax = size_t{1} << 20;
  std::vector<model::Endpoint> endpoints;  // ids are "namespace/name"
  std::vector<std::string> skipped;        // one text for each wrong entry, with path and line
};

Result<EndpointFile> ParseEndpointFile(std::string_view text);

// The same entries as a list inside another document (static-discovery); what is wrong with one is the error. `path` is
// where the list stands there.
Result<std::vector<model::Endpoint>> ReadEndpoints(const codec::yaml::Node& list, const std::string& path);

// The first load: wrong entries are errors too.
Result<std::vector<model::Endpoint>> ParseInitialEndpointFile(std::string_view text);

}  // namespace sluice::pool
