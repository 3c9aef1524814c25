// NodeMap: parameters of type kNode as the map they came from, so that a MapReader can read them strictly and name
// their places. Thread rule: pure. Cost: load time; copies the nodes.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "schedule/params.h"

namespace sluice::schedule {

inline codec::yaml::Node NodeMap(const Params& params, std::initializer_list<std::string_view> names) {
  codec::yaml::Node map;
  map.kind = codec::yaml::Node::Kind::kMap;
  map.line = params.line();
  for (const std::string_view name : names) {
    const codec::yaml::Node& node = params.Node(name);
    if (!node.IsNull()) map.entries.push_back({std::string(name), node.line, node});
  }
  return map;
}

}  // namespace sluice::schedule
