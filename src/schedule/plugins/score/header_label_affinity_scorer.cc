#include "schedule/plugins/score/header_label_affinity_scorer.h"

#include <algorithm>
#include <map>

#include "schedule/plugins/score/member_column.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "headerName", .type = ParamType::kString, .help = "request header", .required = true},
    {.name = "labelKey", .type = ParamType::kString, .help = "endpoint label", .required = true},
};

// Values of the label, numbered, so that a decision compares numbers and not text.
struct LabelState final : PluginState {
  static constexpr uint32_t kNoLabel = ~uint32_t{0};
  MemberColumn<uint32_t> column;
  std::map<std::string, uint32_t, std::less<>> numbers;  // of the present members only
  std::shared_ptr<const model::PoolMembers> members;

  const std::vector<uint32_t>& For(const model::PoolView& pool, const std::string& label) {
    if (members != pool.members) {
      members = pool.members;
      numbers.clear();
    }
    return column.For(pool, [&](const model::Endpoint& endpoint) {
      const auto value = endpoint.labels.find(label);
      if (value == endpoint.labels.end()) return kNoLabel;
      return numbers.try_emplace(value->second, static_cast<uint32_t>(numbers.size())).first->second;
    });
  }
};

}  // namespace

constinit const PluginInfo HeaderLabelAffinityScorer::kInfo = {
    .type = "header-label-affinity-scorer",
    .stability = Stability::kAlpha,
    .help =
        "1 where the endpoint's label has the value of the request's header, otherwise 0; 0 for all when the header "
        "is missing or empty.",
    .params = kParams,
    .make = MakeWithParams<HeaderLabelAffinityScorer>};

HeaderLabelAffinityScorer::HeaderLabelAffinityScorer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), header_(params.String("headerName")), label_(params.String("labelKey")) {}

std::shared_ptr<PluginState> HeaderLabelAffinityScorer::MakeState(const StateOptions&) const {
  return std::make_shared<LabelState>();
}

void HeaderLabelAffinityScorer::Score(const DecisionInput& in, const Candidates& candidates,
                                      std::span<float> out) const {
  const std::string_view wanted = in.request.Header(header_);
  LabelState& state = in.StateOf<LabelState>(*this);
  const std::vector<uint32_t>& column = state.For(in.pool, label_);
  const auto number = state.numbers.find(wanted);
  if (wanted.empty() || number == state.numbers.end()) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  for (size_t i = 0; i < out.size(); ++i) out[i] = column[candidates.row(i)] == number->second ? 1 : 0;
}

}  // namespace sluice::schedule
