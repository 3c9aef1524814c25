#include "extproc/proto_writer.h"

namespace sluice::extproc {

void ProtoWriter::Double(uint32_t field, double value) {
  char bytes[kVarintMax + 8];
  char* at = PutNumber(bytes, Tag(field, kFixed64));
  const auto bits = std::bit_cast<uint64_t>(value);
  for (int shift = 0; shift < 64; shift += 8) *at++ = static_cast<char>(bits >> shift);
  out_.append(bytes, static_cast<size_t>(at - bytes));
}

void ProtoWriter::Close(size_t opened) {
  char bytes[kVarintMax];
  const auto n = static_cast<size_t>(PutNumber(bytes, out_.size() - opened) - bytes);
  out_[opened - 1] = bytes[0];
  if (n > 1) out_.insert(opened, bytes + 1, n - 1);
}

}  // namespace sluice::extproc
