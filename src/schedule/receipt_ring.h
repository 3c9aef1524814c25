// ReceiptRing: the latest receipts in memory, found by request id. The oldest leaves when count or bytes run out.
// Thread rule: one owner. Ownership: pointers are good until the next Push. Cost: Push copies into memory of a receipt
// that has left (no allocation after warm-up); Observe is O(1); Find walks back from the newest, for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/decision.h"

namespace sluice::schedule {

class ReceiptRing {
 public:
  struct Options {
    size_t count_max;
    size_t bytes_max;
  };
  static constexpr uint64_t kNotKept = 0;

  explicit ReceiptRing(Options options) : options_(options) {}

  // Keeps the receipt and names it; kNotKept when it is larger than bytes_max by itself.
  uint64_t Push(const model::Receipt& receipt);
  // Adds what was seen after the decision. False when the receipt has left already.
  bool Observe(uint64_t sequence, model::Observed observed);
  // Of equal request ids the latest.
  const model::Receipt* Find(std::string_view request_id) const;

  size_t size() const { return static_cast<size_t>(next_ - oldest_); }
  size_t bytes() const { return bytes_; }

 private:
  struct Slot {
    model::Receipt receipt;
    size_t bytes = 0;
  };
  Slot& At(uint64_t sequence) { return slots_[sequence % options_.count_max]; }
  const Slot& At(uint64_t sequence) const { return slots_[sequence % options_.count_max]; }
  void ForgetOldest();

  Options options_;
  std::vector<Slot> slots_;  // grows to count_max
  uint64_t oldest_ = 1;      // sequence numbers of what is kept: [oldest_, next_)
  uint64_t next_ = 1;
  size_t bytes_ = 0;
};

}  // namespace sluice::schedule
