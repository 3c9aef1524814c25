#include "schedule/plugins/pick/weighted_random_picker.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "schedule/plugins/pick/shuffle.h"

namespace sluice::schedule {

constinit const PluginInfo WeightedRandomPicker::kInfo = {
    .type = "weighted-random-picker",
    .help = "Picks at random in proportion to the totals; when none is above 0, uniformly.",
    .params = kPickerParams,
    .make = MakeWithParams<WeightedRandomPicker>};

WeightedRandomPicker::WeightedRandomPicker(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), count_(PickCount(params)) {}

void WeightedRandomPicker::Pick(const DecisionInput& in, const Candidates&, std::span<const float> totals,
                                std::vector<uint32_t>& picked, std::vector<double>& scratch) const {
  // key = U^(1/total), kept as its logarithm so that small totals do not all underflow to the same key. A total of 0 or
  // less comes after every other.
  scratch.resize(totals.size());
  for (size_t i = 0; i < totals.size(); ++i) {
    scratch[i] = totals[i] > 0 ? std::log(std::max(in.rng.Uniform(), 1e-10)) / static_cast<double>(totals[i])
                               : -std::numeric_limits<double>::infinity();
  }
  ShuffledPositions(totals.size(), in.rng, picked);
  const size_t count = std::min(count_, totals.size());
  std::partial_sort(picked.begin(), picked.begin() + static_cast<std::ptrdiff_t>(count), picked.end(),
                    [&](uint32_t a, uint32_t b) { return scratch[a] > scratch[b]; });
  picked.resize(count);
}

}  // namespace sluice::schedule
