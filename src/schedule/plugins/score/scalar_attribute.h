// What the scorers of one scalar attribute share: finding its column and its range over the candidates that have it.
// Thread rule: pure. Cost: one pass over the candidates.
#pragma once

#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "model/pool_view.h"

namespace sluice::schedule {

// The column of the attribute `name`, whichever extractor found it; nullptr when no endpoint has it.
inline const std::vector<float>* AttributeOfAnyone(const model::PoolView& pool, std::string_view name) {
  for (const model::AttributeColumn& column : pool.attributes) {
    const std::string_view key = column.key;
    if (key == name || (key.size() > name.size() && key.starts_with(name) && key[name.size()] == '/')) {
      return &column.values;
    }
  }
  return nullptr;
}

struct ValueRange {
  float min = std::numeric_limits<float>::infinity();
  float max = -std::numeric_limits<float>::infinity();
};

// Of the values that are not NaN.
inline ValueRange RangeOf(std::span<const float> values) {
  ValueRange range;
  for (const float value : values) {
    range.min = value < range.min ? value : range.min;
    range.max = value > range.max ? value : range.max;
  }
  return range;
}

}  // namespace sluice::schedule
