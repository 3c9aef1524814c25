// MemoryBudget: one hard byte limit that several parts draw from. What was not granted is not allocated, so the sum
// never passes the limit. A budget may be part of a larger one, which grants every byte too: so that several indexes
// keep within one limit of the process. Thread rule: any thread. Ownership: the larger one outlives it and gets back at
// its end what is still taken. Cost: an atomic operation a call and level.
#pragma once

#include <atomic>
#include <cstddef>

namespace sluice::kvindex {

class MemoryBudget {
 public:
  explicit MemoryBudget(size_t bytes_max, MemoryBudget* whole = nullptr) : bytes_max_(bytes_max), whole_(whole) {}
  // Of `whole`, where the caller has taken `taken` for this one already.
  MemoryBudget(size_t bytes_max, MemoryBudget* whole, size_t taken)
      : bytes_max_(bytes_max), whole_(whole), used_(taken) {}
  ~MemoryBudget() {
    if (whole_ != nullptr) whole_->Give(Used());
  }
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Grants `bytes` when the sum stays within `limit` (at most the budget's maximum), else grants nothing.
  bool Take(size_t bytes, size_t limit) {
    size_t used = used_.load(std::memory_order_relaxed);
    while (bytes <= limit && used <= limit - bytes) {
      if (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed)) continue;
      if (whole_ == nullptr || whole_->Take(bytes)) return true;
      used_.fetch_sub(bytes, std::memory_order_relaxed);
      return false;
    }
    return false;
  }
  bool Take(size_t bytes) { return Take(bytes, bytes_max_); }
  void Give(size_t bytes) {
    used_.fetch_sub(bytes, std::memory_order_relaxed);
    if (whole_ != nullptr) whole_->Give(bytes);
  }
  size_t Used() const { return used_.load(std::memory_order_relaxed); }
  size_t Max() const { return bytes_max_; }

 private:
  const size_t bytes_max_;
  MemoryBudget* const whole_;
  std::atomic<size_t> used_{0};
};

}  // namespace sluice::kvindex
