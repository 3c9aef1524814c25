#include "schedule/plugins/filter/by_label_filter.h"

#include <algorithm>

#include "schedule/plugins/node_map.h"
#include "schedule/plugins/score/member_column.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "label", .type = ParamType::kString, .help = "the label", .required = true},
    {.name = "validValues", .type = ParamType::kNode, .help = "list of values that are kept"},
    {.name = "allowsNoLabel",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "keep endpoints without the label too"},
};

}  // namespace

constinit const PluginInfo ByLabelFilter::kInfo = {.type = "by-label",
                                                   .help = "Keeps endpoints whose label has one of the listed values.",
                                                   .params = kParams,
                                                   .make = MakeChecked<ByLabelFilter>,
                                                   .deprecated = "label-selector-filter"};

ByLabelFilter::ByLabelFilter(const PluginInfo& info, std::string name, const Params& params,
                             codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)), label_(params.String("label")), allows_no_label_(params.Bool("allowsNoLabel")) {
  const codec::yaml::Node map = NodeMap(params, {"validValues"});
  codec::yaml::MapReader reader(map, params.path(), problems);
  valid_values_ = reader.Strings("validValues");
  if (valid_values_.empty() && !allows_no_label_) {
    problems.Error(params.line(), params.path(),
                   "keeps nothing: list validValues, or set allowsNoLabel to keep endpoints without the label");
  }
}

std::shared_ptr<PluginState> ByLabelFilter::MakeState(const StateOptions&) const {
  return std::make_shared<MemberColumn<uint8_t>>();
}

void ByLabelFilter::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  const auto& verdicts =
      in.StateOf<MemberColumn<uint8_t>>(*this).For(in.pool, [&](const model::Endpoint& endpoint) -> uint8_t {
        const auto at = endpoint.labels.find(label_);
        if (at == endpoint.labels.end()) return allows_no_label_;
        return std::find(valid_values_.begin(), valid_values_.end(), at->second) != valid_values_.end();
      });
  for (size_t i = 0; i < keep.size(); ++i) keep[i] = verdicts[candidates.row(i)];
}

}  // namespace sluice::schedule
