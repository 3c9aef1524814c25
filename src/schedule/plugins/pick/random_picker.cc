#include "schedule/plugins/pick/random_picker.h"

#include <algorithm>

#include "schedule/plugins/pick/shuffle.h"

namespace sluice::schedule {

constinit const PluginInfo RandomPicker::kInfo = {.type = "random-picker",
                                                  .help = "Picks uniformly at random, whatever the totals.",
                                                  .params = kPickerParams,
                                                  .make = MakeWithParams<RandomPicker>};

RandomPicker::RandomPicker(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), count_(PickCount(params)) {}

void RandomPicker::Pick(const DecisionInput& in, const Candidates&, std::span<const float> totals,
                        std::vector<uint32_t>& picked, std::vector<double>&) const {
  if (count_ == 1) {
    picked.push_back(static_cast<uint32_t>(in.rng.Below(totals.size())));
    return;
  }
  ShuffledPositions(totals.size(), in.rng, picked);
  picked.resize(std::min(count_, totals.size()));
}

}  // namespace sluice::schedule
