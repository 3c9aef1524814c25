#include "schedule/receipt_ring.h"

#include <utility>

namespace sluice::schedule {

void ReceiptRing::ForgetOldest() { bytes_ -= At(oldest_++).bytes; }

uint64_t ReceiptRing::Push(const model::Receipt& receipt) {
  const size_t bytes = receipt.ByteSize();
  if (bytes > options_.bytes_max || options_.count_max == 0) return kNotKept;
  if (size() == options_.count_max) ForgetOldest();
  while (size() > 0 && bytes_ + bytes > options_.bytes_max) {
    At(oldest_).receipt = model::Receipt{};  // gives its memory back: bytes, not count, are short
    ForgetOldest();
  }
  const uint64_t sequence = next_++;
  const size_t index = sequence % options_.count_max;
  if (index >= slots_.size()) slots_.resize(index + 1);
  slots_[index].receipt = receipt;
  slots_[index].bytes = bytes;
  bytes_ += bytes;
  return sequence;
}

bool ReceiptRing::Observe(uint64_t sequence, model::Observed observed) {
  if (sequence < oldest_ || sequence >= next_) return false;
  Slot& slot = At(sequence);
  slot.receipt.observed = std::move(observed);
  bytes_ -= slot.bytes;
  slot.bytes = slot.receipt.ByteSize();
  bytes_ += slot.bytes;
  while (bytes_ > options_.bytes_max && size() > 0) ForgetOldest();
  return true;
}

const model::Receipt* ReceiptRing::Find(std::string_view request_id) const {
  for (uint64_t sequence = next_; sequence-- > oldest_;) {
    if (At(sequence).receipt.request_id == request_id) return &At(sequence).receipt;
  }
  return nullptr;
}

}  // namespace sluice::schedule
