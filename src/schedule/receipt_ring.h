// ReceiptRing: the latest receipts in memory, found by request id. The oldest leaves when count or bytes run out.
// Thread rule: one owner. Ownership: pointers are good until the next Push. Cost: O(1) a push and a look-up.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

#include "model/decision.h"

namespace sluice::schedule {

class ReceiptRing {
 public:
  struct Options {
    size_t count_max;
    size_t bytes_max;
  };
  explicit ReceiptRing(Options options) : options_(options) {}

  // Keeps the receipt; one that is larger than bytes_max by itself is not kept. Of equal request ids the later is
  // found.
  void Push(model::Receipt receipt);
  const model::Receipt* Find(std::string_view request_id) const;
  // Adds what was seen after the decision. False when the receipt has left already.
  bool Observe(std::string_view request_id, model::Observed observed);

  size_t size() const { return receipts_.size(); }
  size_t bytes() const { return bytes_; }
  const std::deque<model::Receipt>& receipts() const { return receipts_; }  // oldest first

 private:
  void DropOldest();
  model::Receipt* FindMutable(std::string_view request_id);

  Options options_;
  std::deque<model::Receipt> receipts_;
  std::unordered_map<std::string, uint64_t> sequence_of_;  // request id -> how many had left before it, plus position
  uint64_t dropped_ = 0;
  size_t bytes_ = 0;
};

}  // namespace sluice::schedule
