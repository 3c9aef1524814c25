// Distribution: count, mean and maximum exactly, percentiles from the values themselves: all of them up to kKept, a
// uniform random sample of kKept beyond that (Vitter's algorithm R), so that a long run has a bounded memory.
// Percentiles are interpolated linearly between order statistics, as numpy does by default. Thread rule: one owner.
// Cost: a push a value, 16 MiB at most; Summarize() sorts a copy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/rng.h"

namespace sluice::loadgen {

struct Percentiles {
  uint64_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

class Distribution {
 public:
  static constexpr size_t kKept = size_t{4} << 20;

  explicit Distribution(size_t kept = kKept) : kept_(kept), rng_(1) {}

  void Add(double value) {
    ++count_;
    sum_ += value;
    max_ = count_ == 1 ? value : std::max(max_, value);
    if (values_.size() < kept_) {
      values_.push_back(static_cast<float>(value));
    } else if (const uint64_t at = rng_.Below(count_); at < kept_) {
      values_[at] = static_cast<float>(value);
    }
  }

  Percentiles Summarize() const {
    Percentiles p{.count = count_};
    if (count_ == 0) return p;
    std::vector<float> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    const auto at = [&sorted](double q) {
      const double rank = q * static_cast<double>(sorted.size() - 1);
      const auto low = static_cast<size_t>(rank);
      const size_t high = std::min(low + 1, sorted.size() - 1);
      return sorted[low] + (rank - static_cast<double>(low)) * (sorted[high] - sorted[low]);
    };
    p.mean = sum_ / static_cast<double>(count_);
    p.p50 = at(0.50);
    p.p90 = at(0.90);
    p.p95 = at(0.95);
    p.p99 = at(0.99);
    p.max = max_;
    return p;
  }

 private:
  size_t kept_;
  Rng rng_;
  uint64_t count_ = 0;
  double sum_ = 0;
  double max_ = 0;
  std::vector<float> values_;
};

}  // namespace sluice::loadgen
