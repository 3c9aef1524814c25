#include "schedule/plugins/pick/softmax_picker.h"

#include <algorithm>
#include <cmath>

#include "schedule/plugins/pick/shuffle.h"

namespace sluice::schedule {
namespace {
constexpr ParamSpec kParams[] = {
    kPickerParams[0],
    {.name = "temperature",
     .type = ParamType::kNumber,
     .fallback = "0.1",
     .min = 0,
     .max = 1e6,
     .help =
         "in units of the totals: a total that is lower by this much is chosen 2.7 times less often; 0: the highest"},
};
}  // namespace

constinit const PluginInfo SoftmaxPicker::kInfo = {
    .type = "softmax-picker",
    .help = "Picks at random with probability in proportion to exp(total / temperature); 0 picks the highest total.",
    .params = kParams,
    .make = MakeWithParams<SoftmaxPicker>};

SoftmaxPicker::SoftmaxPicker(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), count_(PickCount(params)), temperature_(params.Number("temperature")) {}

void SoftmaxPicker::Pick(const DecisionInput& in, const Candidates&, std::span<const float> totals,
                         std::vector<uint32_t>& picked, std::vector<double>& scratch) const {
  // Drawing without replacement from a softmax is sorting by total / temperature + Gumbel noise (Vieira 2014); for one
  // pick the two are the same draw. Temperature 0 leaves the noise as the tie-breaker only.
  const size_t n = totals.size();
  scratch.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const double gumbel = -std::log(-std::log(std::max(in.rng.Uniform(), 1e-300)));
    scratch[i] = temperature_ > 0 ? static_cast<double>(totals[i]) / temperature_ + gumbel : gumbel;
  }
  const auto before = [&](uint32_t a, uint32_t b) {
    if (temperature_ <= 0 && totals[a] != totals[b]) return totals[a] > totals[b];
    return scratch[a] > scratch[b];
  };
  picked.resize(n);
  std::iota(picked.begin(), picked.end(), 0u);
  const size_t count = std::min(count_, n);
  std::partial_sort(picked.begin(), picked.begin() + static_cast<std::ptrdiff_t>(count), picked.end(), before);
  picked.resize(count);
}

}  // namespace sluice::schedule
