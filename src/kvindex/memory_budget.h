// MemoryBudget: one hard byte limit that several parts draw from. What was not granted is not allocated, so the sum
// never passes the limit. Thread rule: any thread. Cost: one atomic operation a call.
#pragma once

#include <atomic>
#include <cstddef>

namespace sluice::kvindex {

class MemoryBudget {
 public:
  explicit MemoryBudget(size_t bytes_max) : bytes_max_(bytes_max) {}
  // Grants `bytes` when the sum stays within `limit` (at most the budget's maximum), else grants nothing.
  bool Take(size_t bytes, size_t limit) {
    size_t used = used_.load(std::memory_order_relaxed);
    while (bytes <= limit && used <= limit - bytes) {
      if (used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  bool Take(size_t bytes) { return Take(bytes, bytes_max_); }
  void Give(size_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  size_t Used() const { return used_.load(std::memory_order_relaxed); }
  size_t Max() const { return bytes_max_; }

 private:
  const size_t bytes_max_;
  std::atomic<size_t> used_{0};
};

}  // namespace sluice::kvindex
