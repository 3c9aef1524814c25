#include "schedule/receipt_ring.h"

#include <utility>

namespace sluice::schedule {

void ReceiptRing::DropOldest() {
  const model::Receipt& oldest = receipts_.front();
  bytes_ -= oldest.ByteSize();
  const auto at = sequence_of_.find(oldest.request_id);
  if (at != sequence_of_.end() && at->second == dropped_) sequence_of_.erase(at);
  receipts_.pop_front();
  ++dropped_;
}

void ReceiptRing::Push(model::Receipt receipt) {
  const size_t bytes = receipt.ByteSize();
  if (bytes > options_.bytes_max || options_.count_max == 0) return;
  while (!receipts_.empty() && (receipts_.size() >= options_.count_max || bytes_ + bytes > options_.bytes_max)) {
    DropOldest();
  }
  sequence_of_[receipt.request_id] = dropped_ + receipts_.size();
  receipts_.push_back(std::move(receipt));
  bytes_ += receipts_.back().ByteSize();
}

model::Receipt* ReceiptRing::FindMutable(std::string_view request_id) {
  const auto at = sequence_of_.find(std::string(request_id));
  return at == sequence_of_.end() ? nullptr : &receipts_[at->second - dropped_];
}

const model::Receipt* ReceiptRing::Find(std::string_view request_id) const {
  return const_cast<ReceiptRing*>(this)->FindMutable(request_id);
}

bool ReceiptRing::Observe(std::string_view request_id, model::Observed observed) {
  model::Receipt* receipt = FindMutable(request_id);
  if (receipt == nullptr) return false;
  bytes_ -= receipt->ByteSize();
  receipt->observed = std::move(observed);
  bytes_ += receipt->ByteSize();
  while (bytes_ > options_.bytes_max) DropOldest();
  return true;
}

}  // namespace sluice::schedule
