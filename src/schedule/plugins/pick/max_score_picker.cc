#include "schedule/plugins/pick/max_score_picker.h"

#include <algorithm>

#include "schedule/plugins/pick/shuffle.h"

namespace sluice::schedule {

constinit const PluginInfo MaxScorePicker::kInfo = {
    .type = "max-score-picker",
    .help = "Picks the highest total; ties are broken uniformly at random.",
    .params = kPickerParams,
    .make = MakeWithParams<MaxScorePicker>};

MaxScorePicker::MaxScorePicker(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), count_(PickCount(params)) {}

void MaxScorePicker::Pick(const DecisionInput& in, const Candidates&, std::span<const float> totals,
                          std::vector<uint32_t>& picked, std::vector<double>&) const {
  if (count_ == 1) {  // the usual case needs no order
    const float best = *std::max_element(totals.begin(), totals.end());
    const auto ties = static_cast<uint64_t>(std::count(totals.begin(), totals.end(), best));
    uint64_t skip = ties > 1 ? in.rng.Below(ties) : 0;
    for (uint32_t i = 0; i < totals.size(); ++i) {
      if (totals[i] == best && skip-- == 0) {
        picked.push_back(i);
        return;
      }
    }
  }
  // Sorting a uniformly shuffled order leaves equals in uniform order.
  ShuffledPositions(totals.size(), in.rng, picked);
  const size_t count = std::min(count_, totals.size());
  std::partial_sort(picked.begin(), picked.begin() + static_cast<std::ptrdiff_t>(count), picked.end(),
                    [&](uint32_t a, uint32_t b) { return totals[a] > totals[b]; });
  picked.resize(count);
}

}  // namespace sluice::schedule
