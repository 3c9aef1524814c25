// Least and greatest value of a column, in vector registers: a compiler may not reorder the comparisons of floats by
// itself, so the lanes are written out.
// Thread rule: pure. Cost: about 0.06 ns a value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

namespace sluice::schedule {

struct MinMax {
  float min, max;
};

// `values` has at least one, and no NaN.
inline MinMax MinMaxOf(std::span<const float> values) {
  using Lanes [[gnu::vector_size(32)]] = float;
  constexpr size_t kLanes = sizeof(Lanes) / sizeof(float);
  const float first = values[0];
  MinMax out{first, first};
  size_t i = 0;
  if (values.size() >= 2 * kLanes) {
    Lanes a, b;
    const auto load = [&](size_t at, Lanes& lanes) { std::memcpy(&lanes, values.data() + at, sizeof lanes); };
    load(0, a);
    load(kLanes, b);
    Lanes low_a = a, high_a = a, low_b = b, high_b = b;  // two of each: one comparison need not wait for the other
    for (i = 2 * kLanes; i + 2 * kLanes <= values.size(); i += 2 * kLanes) {
      load(i, a);
      load(i + kLanes, b);
      low_a = a < low_a ? a : low_a;
      high_a = a > high_a ? a : high_a;
      low_b = b < low_b ? b : low_b;
      high_b = b > high_b ? b : high_b;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      out.min = std::min({out.min, low_a[lane], low_b[lane]});
      out.max = std::max({out.max, high_a[lane], high_b[lane]});
    }
  }
  for (; i < values.size(); ++i) {
    out.min = std::min(out.min, values[i]);
    out.max = std::max(out.max, values[i]);
  }
  return out;
}

inline float MaxOf(std::span<const float> values) { return MinMaxOf(values).max; }

}  // namespace sluice::schedule
