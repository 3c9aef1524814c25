#include "schedule/plugins/pick/power_of_two_picker.h"

#include <algorithm>

#include "schedule/plugins/pick/shuffle.h"

namespace sluice::schedule {

constinit const PluginInfo PowerOfTwoPicker::kInfo = {
    .type = "power-of-two-picker",
    .help = "Draws two candidates at random and picks the one with the higher total; equal ones have equal chances.",
    .params = kPickerParams,
    .make = MakeWithParams<PowerOfTwoPicker>};

PowerOfTwoPicker::PowerOfTwoPicker(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), count_(PickCount(params)) {}

void PowerOfTwoPicker::Pick(const DecisionInput& in, const Candidates&, std::span<const float> totals,
                            std::vector<uint32_t>& picked, std::vector<double>&) const {
  const size_t n = totals.size();
  picked.resize(n);
  std::iota(picked.begin(), picked.end(), 0u);
  const size_t count = std::min(count_, n);
  for (size_t i = 0; i < count; ++i) {  // each time two of those that are left
    std::swap(picked[i], picked[i + in.rng.Below(n - i)]);
    if (i + 1 == n) break;
    std::swap(picked[i + 1], picked[i + 1 + in.rng.Below(n - i - 1)]);
    if (totals[picked[i + 1]] > totals[picked[i]]) std::swap(picked[i], picked[i + 1]);
  }
  picked.resize(count);
}

}  // namespace sluice::schedule
