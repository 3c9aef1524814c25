#include "schedule/plugins/filter/topology_affinity_filter.h"

#include <algorithm>
#include <array>

namespace sluice::schedule {
namespace {

constexpr std::array<std::string_view, 4> kLevels = {"region", "zone", "rack", "host"};  // Nearness from kRegion on

constexpr ParamSpec kParams[] = {
    {.name = "minAffinity",
     .type = ParamType::kString,
     .fallback = "host",
     .help = "what a kept endpoint shares with the other: host, rack, zone or region"},
    {.name = "topologyProducerName",
     .type = ParamType::kString,
     .help = "instance that names the labels; default topology-extractor"},
};

}  // namespace

constinit const PluginInfo TopologyAffinityFilter::kInfo = {
    .type = "topology-affinity-filter",
    .stability = Stability::kAlpha,
    .help =
        "Keeps endpoints that share a host, rack, zone or region with the endpoint of the stage before; all when "
        "there is no such endpoint or none is near.",
    .params = kParams,
    .make = MakeChecked<TopologyAffinityFilter>};

TopologyAffinityFilter::TopologyAffinityFilter(const PluginInfo& info, std::string name, const Params& params,
                                               codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)), producer_(params.String("topologyProducerName")), path_(params.path()) {
  const std::string& level = params.String("minAffinity");
  const auto at = std::find(kLevels.begin(), kLevels.end(), level);
  if (at == kLevels.end()) {
    problems.Error(params.line(), path_ + ".minAffinity", "expected host, rack, zone or region, got \"" + level + "\"");
  }
  min_ = static_cast<Nearness>(at - kLevels.begin() + 1);
}

void TopologyAffinityFilter::BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) {
  source_ = FindTopologySource(producer_, find, path_, problems);
}

std::shared_ptr<PluginState> TopologyAffinityFilter::MakeState(const StateOptions&) const {
  return std::make_shared<PlaceTable>();
}

void TopologyAffinityFilter::Keep(const DecisionInput& in, const Candidates& candidates,
                                  std::span<uint8_t> keep) const {
  if (in.peer == nullptr) return;
  auto& places = in.StateOf<PlaceTable>(*this);
  places.Refresh(in.pool, source_);
  size_t kept = 0;
  for (size_t i = 0; i < keep.size(); ++i) {
    keep[i] = places.Between(candidates.row(i), in.peer->row) >= min_;
    kept += keep[i];
  }
  if (kept == 0) std::fill(keep.begin(), keep.end(), 1);
}

}  // namespace sluice::schedule
