#include "schedule/plugins/filter/label_selector_filter.h"

#include "schedule/plugins/node_map.h"
#include "schedule/plugins/score/member_column.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "matchLabels", .type = ParamType::kNode, .help = "labels that must be there with these values"},
    {.name = "matchExpressions",
     .type = ParamType::kNode,
     .help = "list of {key, operator: In|NotIn|Exists|DoesNotExist, values}"},
};

}  // namespace

constinit const PluginInfo LabelSelectorFilter::kInfo = {
    .type = "label-selector-filter",
    .help = "Keeps endpoints whose labels match a Kubernetes label selector; an empty selector keeps all.",
    .params = kParams,
    .make = MakeChecked<LabelSelectorFilter>};

constinit const PluginInfo LabelSelectorFilter::kDeprecatedInfo = {.type = "by-label-selector",
                                                                   .help = "The old name of label-selector-filter.",
                                                                   .params = kParams,
                                                                   .make = MakeChecked<LabelSelectorFilter>,
                                                                   .deprecated = "label-selector-filter"};

LabelSelectorFilter::LabelSelectorFilter(const PluginInfo& info, std::string name, const Params& params,
                                         codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)) {
  const codec::yaml::Node map = NodeMap(params, {"matchLabels", "matchExpressions"});
  codec::yaml::MapReader reader(map, params.path(), problems);
  selector_ = LabelSelector::Read(reader, problems);
}

std::shared_ptr<PluginState> LabelSelectorFilter::MakeState(const StateOptions&) const {
  return std::make_shared<MemberColumn<uint8_t>>();
}

void LabelSelectorFilter::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  const auto& verdicts = in.StateOf<MemberColumn<uint8_t>>(*this).For(
      in.pool, [&](const model::Endpoint& endpoint) { return static_cast<uint8_t>(Matches(endpoint.labels)); });
  for (size_t i = 0; i < keep.size(); ++i) keep[i] = verdicts[candidates.row(i)];
}

}  // namespace sluice::schedule
