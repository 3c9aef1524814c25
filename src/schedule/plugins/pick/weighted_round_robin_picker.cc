#include "schedule/plugins/pick/weighted_round_robin_picker.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/text.h"
#include "schedule/plugins/pick/shuffle.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    kPickerParams[0],
    {.name = "weightLabel",
     .type = ParamType::kString,
     .help = "label whose number is an endpoint's fixed weight, in tokens a second where others are measured; 0: only "
             "when every candidate has 0"},
    {.name = "halfLife",
     .type = ParamType::kDuration,
     .fallback = "60s",
     .help = "busy time after which a measurement counts half; 0s: never less"},
    {.name = "minShare",
     .type = ParamType::kNumber,
     .fallback = "0.1",
     .min = 0,
     .max = 1,
     .help = "the least weight of a measured endpoint, as a share of the mean"},
};

struct Meter {
  static constexpr uint32_t kNobody = ~uint32_t{0};
  uint32_t generation = kNobody;
  uint32_t in_flight = 0;
  TimePoint since{};  // while busy: how far `busy_s` is counted
  double busy_s = 0;  // both decay together, so that their quotient is a smoothed rate
  double tokens = 0;
  double current = 0;        // of the round robin
  double label_weight = -1;  // below 0: no label

  double Rate() const { return busy_s > 0 && tokens > 0 ? tokens / busy_s : -1; }
};

struct MeterState final : PluginState {
  std::vector<Meter> by_slot;
  bool known = false;
  uint64_t members_version = 0;

  Meter* Find(model::EndpointId id) {
    if (id.slot >= by_slot.size() || by_slot[id.slot].generation != id.generation) return nullptr;
    return &by_slot[id.slot];
  }
  Meter& Make(model::EndpointId id) {
    if (id.slot >= by_slot.size()) by_slot.resize(id.slot + 1);
    if (by_slot[id.slot].generation != id.generation) by_slot[id.slot] = {.generation = id.generation};
    return by_slot[id.slot];
  }
};

struct Dispatched final : RequestMemo {
  model::EndpointId endpoint;
  uint32_t prompt_tokens = 0;
};

void CountBusy(Meter& meter, TimePoint now, double half_life_s) {
  if (meter.in_flight > 0 && now > meter.since) {
    const double passed = Seconds(now - meter.since);
    if (half_life_s > 0) {
      const double keep = std::exp2(-passed / half_life_s);
      meter.busy_s *= keep;
      meter.tokens *= keep;
    }
    meter.busy_s += passed;
  }
  meter.since = std::max(meter.since, now);
}

}  // namespace

constinit const PluginInfo WeightedRoundRobinPicker::kInfo = {
    .type = "weighted-round-robin-picker",
    .help = "Smooth round robin by measured tokens a busy second, or by a label's fixed weight.",
    .params = kParams,
    .make = MakeWithParams<WeightedRoundRobinPicker>};

WeightedRoundRobinPicker::WeightedRoundRobinPicker(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      count_(PickCount(params)),
      label_(params.String("weightLabel")),
      half_life_s_(Seconds(params.DurationOf("halfLife"))),
      share_min_(params.Number("minShare")) {}

std::shared_ptr<PluginState> WeightedRoundRobinPicker::MakeState(const StateOptions&) const {
  return std::make_shared<MeterState>();
}

void WeightedRoundRobinPicker::ForgetGone(const model::PoolMembers& members, PluginState& state) const {
  auto& meters = static_cast<MeterState&>(state).by_slot;
  for (uint32_t slot = 0; slot < meters.size(); ++slot) {
    if (members.RowOf({slot, meters[slot].generation}) == model::PoolMembers::kNoRow) meters[slot] = {};
  }
  meters.resize(std::min(meters.size(), members.row_of_slot.size()));
}

void WeightedRoundRobinPicker::Pick(const DecisionInput& in, const Candidates& candidates,
                                    std::span<const float> totals, std::vector<uint32_t>& picked,
                                    std::vector<double>& scratch) const {
  MeterState& state = in.StateOf<MeterState>(*this);
  if (!state.known || state.members_version != in.pool.members_version) {
    state.known = true;
    state.members_version = in.pool.members_version;
    for (uint32_t row = 0; row < in.pool.size(); ++row) {
      Meter& meter = state.Make(in.pool.id(row));
      meter.label_weight = -1;
      const auto& labels = in.pool.endpoint(row).labels;
      const auto at = label_.empty() ? labels.end() : labels.find(label_);
      if (at == labels.end()) continue;
      const auto weight = ParseNumber<double>(at->second);
      if (weight && *weight >= 0 && std::isfinite(*weight)) meter.label_weight = *weight;
    }
  }
  const size_t n = totals.size();
  const auto meter_of = [&](size_t i) -> Meter& { return state.by_slot[in.pool.id(candidates.row(i)).slot]; };
  double sum = 0;
  size_t known = 0;
  scratch.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const Meter& meter = meter_of(i);
    scratch[i] = meter.label_weight >= 0 ? meter.label_weight : meter.Rate();
    if (scratch[i] < 0) continue;
    sum += scratch[i];
    ++known;
  }
  // In units of the mean, so that credit keeps its worth while rates change.
  const double mean = known > 0 ? sum / static_cast<double>(known) : 0;
  double paid = 0;
  for (size_t i = 0; i < n; ++i) {
    Meter& meter = meter_of(i);
    double weight = 1;
    if (scratch[i] >= 0) weight = mean > 0 ? scratch[i] / mean : known == n;  // all 0: everyone the same
    if (meter.label_weight < 0) weight = std::max(weight, share_min_);
    meter.current += weight;
    paid += weight;
    // A weight of 0 takes no turn while others have one, whatever credit is left from before.
    scratch[i] = weight > 0 ? meter.current : -std::numeric_limits<double>::infinity();
  }
  picked.resize(n);
  std::iota(picked.begin(), picked.end(), 0u);
  const size_t count = std::min(count_, n);
  std::partial_sort(picked.begin(), picked.begin() + static_cast<std::ptrdiff_t>(count), picked.end(),
                    [&](uint32_t a, uint32_t b) { return scratch[a] != scratch[b] ? scratch[a] > scratch[b] : a < b; });
  picked.resize(count);
  meter_of(picked[0]).current -= paid;
}

void WeightedRoundRobinPicker::OnDispatch(const DecisionInput& in, const model::Decision& decision,
                                          Ticket& ticket) const {
  const model::Target& target = decision.pick();
  Meter& meter = in.StateOf<MeterState>(*this).Make(target.id);
  CountBusy(meter, in.now, half_life_s_);
  ++meter.in_flight;
  auto memo = std::make_unique<Dispatched>();
  memo->endpoint = target.id;
  memo->prompt_tokens = decision.receipt.prompt_tokens;
  ticket.memos.emplace_back(index(), std::move(memo));
}

void WeightedRoundRobinPicker::OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* state,
                                     ReportedAttributes&) const {
  const auto* memo = static_cast<const Dispatched*>(ticket.MemoOf(*this));
  if (memo == nullptr) return;
  Meter* meter = static_cast<MeterState*>(state)->Find(memo->endpoint);
  if (meter == nullptr) return;  // it left
  CountBusy(*meter, end.at, half_life_s_);
  SLUICE_CHECK(meter->in_flight > 0, "a request ends once");
  --meter->in_flight;
  if (end.failed) return;
  meter->tokens += static_cast<double>(end.prompt_tokens >= 0 ? end.prompt_tokens : int64_t{memo->prompt_tokens});
  meter->tokens += static_cast<double>(std::max<int64_t>(end.output_tokens, 0));
}

double WeightedRoundRobinPicker::MeasuredRate(const PluginState& state, model::EndpointId endpoint) {
  const auto& meters = static_cast<const MeterState&>(state).by_slot;
  if (endpoint.slot >= meters.size() || meters[endpoint.slot].generation != endpoint.generation) return -1;
  return meters[endpoint.slot].Rate();
}

size_t WeightedRoundRobinPicker::Entries(const PluginState& state) {
  return static_cast<const MeterState&>(state).by_slot.size();
}

}  // namespace sluice::schedule
