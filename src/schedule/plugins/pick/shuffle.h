// What the pickers share: the parameter maxNumOfEndpoints and a uniform order of 0..n-1.
// Thread rule: pure. Cost: O(n).
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "schedule/params.h"

namespace sluice::schedule {

inline constexpr ParamSpec kPickerParams[] = {
    {.name = "maxNumOfEndpoints",
     .type = ParamType::kInt,
     .fallback = "1",
     .min = -1e9,
     .max = 1e6,
     .help = "endpoints to pick; 0 and less mean 1"},
};

inline size_t PickCount(const Params& params) {
  const int64_t count = params.Int("maxNumOfEndpoints");
  return count > 0 ? static_cast<size_t>(count) : 1;
}

// Fisher-Yates.
inline void ShuffledPositions(size_t n, Rng& rng, std::vector<uint32_t>& out) {
  out.resize(n);
  std::iota(out.begin(), out.end(), 0u);
  for (size_t i = n; i > 1; --i) std::swap(out[i - 1], out[rng.Below(i)]);
}

}  // namespace sluice::schedule
