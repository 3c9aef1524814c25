// ErrorWindow: the errors of the last predictions, for the model's report about itself. Thread rule: one owner.
// Memory: 1 KiB. Cost: Add is one store; Report walks the window.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace sluice::latency {

struct ErrorReport {
  uint64_t samples = 0;  // observations learned from, ever (restarts included)
  uint64_t refused = 0;  // observations that were garbage
  uint32_t window = 0;   // predictions the two below speak of: the last ones of this process, at most kWindowMax
  double mape = 0;       // mean of |predicted - seen| / seen
  double bias = 0;       // mean of (predicted - seen) / seen: above 0, the model expects too much
};

class ErrorWindow {
 public:
  static constexpr size_t kWindowMax = 256;

  void Add(double predicted, double seen) {
    errors_[next_] = static_cast<float>((predicted - seen) / seen);
    next_ = (next_ + 1) % kWindowMax;
    if (count_ < kWindowMax) ++count_;
  }

  void Report(ErrorReport& out) const {
    double absolute = 0;
    double sum = 0;
    for (size_t i = 0; i < count_; ++i) {
      absolute += std::abs(static_cast<double>(errors_[i]));
      sum += static_cast<double>(errors_[i]);
    }
    out.window = static_cast<uint32_t>(count_);
    out.mape = count_ == 0 ? 0 : absolute / static_cast<double>(count_);
    out.bias = count_ == 0 ? 0 : sum / static_cast<double>(count_);
  }

 private:
  std::array<float, kWindowMax> errors_{};
  size_t next_ = 0;
  size_t count_ = 0;
};

}  // namespace sluice::latency
