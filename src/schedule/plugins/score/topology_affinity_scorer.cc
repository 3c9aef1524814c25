#include "schedule/plugins/score/topology_affinity_scorer.h"

#include <algorithm>
#include <array>

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "topologyProducerName",
     .type = ParamType::kString,
     .help = "topology-extractor whose labels say where endpoints stand; default Kubernetes' well-known ones"},
};

constexpr std::array<float, 5> kScores = {0, 0.02f, 0.05f, 0.2f, 1};  // by Nearness

}  // namespace

constinit const PluginInfo TopologyAffinityScorer::kInfo = {
    .type = "topology-affinity-scorer",
    .stability = Stability::kAlpha,
    .help =
        "Nearness to the endpoint that another profile picked: same host 1, rack 0.2, zone 0.05, region 0.02, else "
        "0; 0 for all when there is none.",
    .params = kParams,
    .make = MakeWithParams<TopologyAffinityScorer>};

TopologyAffinityScorer::TopologyAffinityScorer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), source_name_(params.String("topologyProducerName")), path_(params.path()) {}

void TopologyAffinityScorer::BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) {
  source_ = FindTopologySource(source_name_, find, path_, problems);
}

std::shared_ptr<PluginState> TopologyAffinityScorer::MakeState(const StateOptions&) const {
  return std::make_shared<PlaceTable>();
}

void TopologyAffinityScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  if (in.peer == nullptr) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  PlaceTable& places = in.StateOf<PlaceTable>(*this);
  places.Refresh(in.pool, source_);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = kScores[static_cast<size_t>(places.Between(candidates.row(i), in.peer->row))];
  }
}

}  // namespace sluice::schedule
