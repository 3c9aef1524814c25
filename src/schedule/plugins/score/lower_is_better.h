// The formula that queue-scorer and running-requests-size-scorer share: (max - v) / (max - min) over the candidates, 1
// for all when they are equal. Thread rule: pure. Cost: two passes.
#pragma once

#include <algorithm>
#include <span>

namespace sluice::schedule {

inline void ScoreLowerIsBetter(std::span<const float> values, std::span<float> out) {
  if (values.empty()) return;
  float low = values[0], high = values[0];
  for (const float value : values) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (high == low) {
    std::fill(out.begin(), out.end(), 1.0f);
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) out[i] = (high - values[i]) / (high - low);
}

}  // namespace sluice::schedule
