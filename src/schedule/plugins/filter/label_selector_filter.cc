#include "schedule/plugins/filter/label_selector_filter.h"

#include <algorithm>
#include <array>

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "matchLabels", .type = ParamType::kNode, .help = "labels that must be there with these values"},
    {.name = "matchExpressions",
     .type = ParamType::kNode,
     .help = "list of {key, operator: In|NotIn|Exists|DoesNotExist, values}"},
};
constexpr std::array<std::string_view, 4> kOperators = {"In", "NotIn", "Exists", "DoesNotExist"};

struct VerdictState final : PluginState {
  bool known = false;
  uint64_t members_version = 0;
  std::vector<uint8_t> verdicts;  // by row
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
  codec::yaml::Node both;  // the two parameters as the map they came from, for the strict reader
  both.kind = codec::yaml::Node::Kind::kMap;
  both.entries.push_back({"matchLabels", params.Node("matchLabels").line, params.Node("matchLabels")});
  both.entries.push_back({"matchExpressions", params.Node("matchExpressions").line, params.Node("matchExpressions")});
  codec::yaml::MapReader reader(both, params.path(), problems);
  for (auto& [key, value] : reader.StringMap("matchLabels")) expressions_.push_back({key, Operator::kIn, {value}});
  reader.Each("matchExpressions", [&](const codec::yaml::Node& node, const std::string& path) {
    codec::yaml::MapReader item(node, path, problems);
    Expression expression;
    expression.key = item.RequiredString("key");
    const std::string op = item.Choice("operator", "", kOperators);
    if (!item.Has("operator")) item.Error("operator", "is required and missing");
    expression.op = static_cast<Operator>(std::find(kOperators.begin(), kOperators.end(), op) - kOperators.begin());
    expression.values = item.Strings("values");
    const bool set = expression.op == Operator::kIn || expression.op == Operator::kNotIn;
    if (set && expression.values.empty()) item.Error("values", "must not be empty with operator " + op);
    if (!set && !expression.values.empty()) item.Error("values", "must be empty with operator " + op);
    item.Finish();
    expressions_.push_back(std::move(expression));
  });
}

bool LabelSelectorFilter::Matches(const std::map<std::string, std::string>& labels) const {
  return std::all_of(expressions_.begin(), expressions_.end(), [&](const Expression& e) {
    const auto at = labels.find(e.key);
    const bool has = at != labels.end();
    const bool listed = has && std::find(e.values.begin(), e.values.end(), at->second) != e.values.end();
    switch (e.op) {
      case Operator::kIn:
        return listed;
      case Operator::kNotIn:
        return !listed;  // as in Kubernetes, a missing label is not in any set
      case Operator::kExists:
        return has;
      case Operator::kDoesNotExist:
        return !has;
    }
    return false;
  });
}

std::shared_ptr<PluginState> LabelSelectorFilter::MakeState(const StateOptions&) const {
  return std::make_shared<VerdictState>();
}

void LabelSelectorFilter::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  VerdictState& state = in.StateOf<VerdictState>(*this);
  if (!state.known || state.members_version != in.pool.members_version) {
    state.known = true;
    state.members_version = in.pool.members_version;
    state.verdicts.resize(in.pool.size());
    for (size_t row = 0; row < in.pool.size(); ++row) state.verdicts[row] = Matches(in.pool.endpoint(row).labels);
  }
  for (size_t i = 0; i < keep.size(); ++i) keep[i] = state.verdicts[candidates.row(i)];
}

}  // namespace sluice::schedule
