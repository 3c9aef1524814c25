// The formula that queue-scorer and running-requests-size-scorer share: (max - v) / (max - min) over the candidates, 1
// for all when they are equal. Thread rule: pure. Cost: two passes.
#pragma once

#include <algorithm>
#include <span>

#include "schedule/columns.h"

namespace sluice::schedule {

inline void ScoreLowerIsBetter(std::span<const float> values, std::span<float> out) {
  if (values.empty()) return;
  const MinMax seen = MinMaxOf(values);
  const float low = seen.min, high = seen.max, range = high - low;
  if (high == low) {
    std::fill(out.begin(), out.end(), 1.0f);
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) out[i] = (high - values[i]) / range;
}

}  // namespace sluice::schedule
