#include "schedule/plugins/screen/disaggregatedset_rollout_screener.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/text.h"
#include "schedule/plugins/node_map.h"

namespace sluice::schedule {
namespace {

constexpr std::array<std::string_view, 3> kModes = {"sum", "max-role", "disabled"};
constexpr std::array<std::string_view, 2> kSelectorModes = {"strict", "prefer"};

constexpr ParamSpec kParams[] = {
    {.name = "scope",
     .type = ParamType::kNode,
     .help = "{labelSelector}: the set's endpoints, as \"key=value\"",
     .required = true},
    {.name = "headerSelectors",
     .type = ParamType::kNode,
     .help = "list of {name, headerName, labelKey, mode: strict|prefer}: strict keeps endpoints whose label equals the "
             "header; all set the header on the answer"},
    {.name = "revisionGating",
     .type = ParamType::kNode,
     .help = "{mode: sum|max-role|disabled, requireRoles: {values}, revisionLabelKey, roleLabelKey}",
     .required = true},
};

struct LabelMemo final : RequestMemo {
  HeaderList headers;
};

const std::string* LabelOf(const model::Endpoint& endpoint, const std::string& key) {
  const auto at = endpoint.labels.find(key);
  return at == endpoint.labels.end() || at->second.empty() ? nullptr : &at->second;
}

}  // namespace

struct DisaggregatedSetRolloutScreener::Table final : PluginState {
  static constexpr uint32_t kNone = ~uint32_t{0};
  std::shared_ptr<const model::PoolMembers> members;
  std::vector<uint32_t> revision;  // by row: a number for each revision; kNone: outside of the scope or without one
  std::vector<uint32_t> role;      // by row: index of the required role; kNone: another
  size_t revisions = 0;
};

constinit const PluginInfo DisaggregatedSetRolloutScreener::kInfo = {
    .type = "disaggregatedset-rollout-screener",
    .stability = Stability::kAlpha,
    .help =
        "Keeps the endpoints of one revision of a DisaggregatedSet: of those that have every required role, one by "
        "chance, weighted by their endpoints; or the one that a strict header names.",
    .params = kParams,
    .make = MakeChecked<DisaggregatedSetRolloutScreener>};

DisaggregatedSetRolloutScreener::DisaggregatedSetRolloutScreener(const PluginInfo& info, std::string name,
                                                                 const Params& params, codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)) {
  const codec::yaml::Node map = NodeMap(params, {"scope", "headerSelectors", "revisionGating"});
  codec::yaml::MapReader reader(map, params.path(), problems);
  if (reader.Has("scope")) {
    codec::yaml::MapReader scope = reader.Map("scope");
    auto selector = LabelSelector::Parse(scope.RequiredString("labelSelector"));
    if (!selector) scope.Error("labelSelector", selector.error().message);
    if (selector) scope_ = std::move(*selector);
    scope.Finish();
  }
  ReadSelectors(reader, problems);
  if (reader.Has("revisionGating")) ReadGating(reader.Map("revisionGating"));
}

void DisaggregatedSetRolloutScreener::ReadSelectors(codec::yaml::MapReader& reader, codec::yaml::Problems& problems) {
  reader.Each("headerSelectors", [&](const codec::yaml::Node& node, const std::string& path) {
    codec::yaml::MapReader item(node, path, problems);
    item.RequiredString("name");
    Selector selector;
    selector.header = AsciiLower(item.RequiredString("headerName"));
    selector.label = item.RequiredString("labelKey");
    selector.strict = item.Choice("mode", "", kSelectorModes) == kSelectorModes[0];
    if (!item.Has("mode")) item.Error("mode", "is required and missing");
    item.Finish();
    selectors_.push_back(std::move(selector));
  });
}

void DisaggregatedSetRolloutScreener::ReadGating(codec::yaml::MapReader gating) {
  const std::string mode = gating.Choice("mode", "", kModes);
  if (!gating.Has("mode")) gating.Error("mode", "is required and missing");
  const auto at = std::find(kModes.begin(), kModes.end(), mode);
  mode_ = at == kModes.end() ? Mode::kSum : static_cast<Mode>(at - kModes.begin());
  revision_label_ = gating.String("revisionLabelKey", "disaggregatedset.x-k8s.io/revision");
  role_label_ = gating.String("roleLabelKey", "disaggregatedset.x-k8s.io/role");
  codec::yaml::MapReader required = gating.Map("requireRoles");
  roles_ = required.Strings("values");
  required.Finish();
  if (mode_ != Mode::kDisabled && roles_.empty()) {
    gating.Error("requireRoles", "needs at least one role in values with mode " + mode);
  }
  gating.Finish();
}

std::shared_ptr<PluginState> DisaggregatedSetRolloutScreener::MakeState(const StateOptions&) const {
  return std::make_shared<Table>();
}

// False when nothing may be chosen by chance any more: a strict header named the revision.
bool DisaggregatedSetRolloutScreener::ApplyStrictHeaders(const DecisionInput& in, const Candidates& candidates,
                                                         std::span<uint8_t> keep) const {
  bool free = true;
  for (const Selector& selector : selectors_) {
    const std::string_view wanted = TrimSpace(in.request.Header(selector.header));
    if (!selector.strict || wanted.empty()) continue;
    free &= selector.label != revision_label_;
    for (size_t i = 0; i < keep.size(); ++i) {
      const std::string* label = LabelOf(in.pool.endpoint(candidates.row(i)), selector.label);
      if (label == nullptr || *label != wanted) keep[i] = 0;
    }
  }
  return free;
}

// Of each revision, by its number; 0 where a required role has no candidate.
std::vector<double> DisaggregatedSetRolloutScreener::Weights(const Table& table, const Candidates& candidates,
                                                             std::span<const uint8_t> keep) const {
  std::vector<std::vector<double>> counts(table.revisions, std::vector<double>(roles_.size()));
  for (size_t i = 0; i < keep.size(); ++i) {
    const uint32_t row = candidates.row(i);
    if (keep[i] == 0 || table.revision[row] == Table::kNone || table.role[row] == Table::kNone) continue;
    ++counts[table.revision[row]][table.role[row]];
  }
  std::vector<double> weights(table.revisions), of_role(roles_.size());
  for (size_t r = 0; r < counts.size(); ++r) {
    if (std::find(counts[r].begin(), counts[r].end(), 0) != counts[r].end()) continue;
    for (size_t role = 0; role < roles_.size(); ++role) {
      weights[r] += counts[r][role];
      of_role[role] += counts[r][role];
    }
  }
  if (mode_ == Mode::kMaxRole) {  // one role for all revisions: the first of the most numerous
    const auto dominant = static_cast<size_t>(std::max_element(of_role.begin(), of_role.end()) - of_role.begin());
    for (size_t r = 0; r < weights.size(); ++r) weights[r] = weights[r] > 0 ? counts[r][dominant] : 0;
  }
  return weights;
}

void DisaggregatedSetRolloutScreener::Screen(const DecisionInput& in, const Candidates& candidates,
                                             std::span<uint8_t> keep) const {
  const bool by_chance = ApplyStrictHeaders(in, candidates, keep);
  if (mode_ == Mode::kDisabled) return;
  auto& table = in.StateOf<Table>(*this);
  if (table.members != in.pool.members) {
    table.members = in.pool.members;
    std::map<std::string, uint32_t, std::less<>> numbers;
    table.revision.assign(in.pool.size(), Table::kNone);
    table.role.assign(in.pool.size(), Table::kNone);
    for (size_t row = 0; row < in.pool.size(); ++row) {
      const model::Endpoint& endpoint = in.pool.endpoint(row);
      const std::string* revision = LabelOf(endpoint, revision_label_);
      const std::string* role = LabelOf(endpoint, role_label_);
      if (revision == nullptr || !scope_.Matches(endpoint.labels)) continue;
      table.revision[row] = numbers.try_emplace(*revision, static_cast<uint32_t>(numbers.size())).first->second;
      const auto at = role == nullptr ? roles_.end() : std::find(roles_.begin(), roles_.end(), *role);
      if (at != roles_.end()) table.role[row] = static_cast<uint32_t>(at - roles_.begin());
    }
    table.revisions = numbers.size();
  }
  std::vector<double> weights = Weights(table, candidates, keep);
  uint32_t chosen = Table::kNone;
  double total = 0;
  for (const double weight : weights) total += weight;
  if (by_chance && total > 0) {
    double left = in.rng.Uniform() * total;
    for (uint32_t r = 0; r < weights.size(); ++r) {
      if (weights[r] == 0) continue;
      chosen = r;
      if ((left -= weights[r]) < 0) break;
    }
  }
  for (size_t i = 0; i < keep.size(); ++i) {
    const uint32_t revision = table.revision[candidates.row(i)];
    if (revision == Table::kNone || weights[revision] == 0 || (by_chance && revision != chosen)) keep[i] = 0;
  }
}

void DisaggregatedSetRolloutScreener::OnDispatch(const DecisionInput&, const model::Decision& decision,
                                                 Ticket& ticket) const {
  auto memo = std::make_unique<LabelMemo>();
  for (const Selector& selector : selectors_) {
    const std::string* label = LabelOf(*decision.pick().endpoint, selector.label);
    if (label != nullptr) memo->headers.emplace_back(selector.header, *label);
  }
  if (!memo->headers.empty()) ticket.memos.emplace_back(index(), std::move(memo));
}

void DisaggregatedSetRolloutScreener::OnResponseHead(const Ticket& ticket, const ResponseHead&, PluginState*,
                                                     HeaderList& add) const {
  const auto* memo = static_cast<const LabelMemo*>(ticket.MemoOf(*this));
  if (memo != nullptr) add.insert(add.end(), memo->headers.begin(), memo->headers.end());
}

}  // namespace sluice::schedule
