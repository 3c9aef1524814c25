#include "extproc/proto_writer.h"

#include <array>
#include <bit>

namespace sluice::extproc {
namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2 };

size_t Encode(uint64_t value, std::array<char, 10>& out) {
  size_t n = 0;
  for (; value >= 0x80; value >>= 7) out[n++] = static_cast<char>(value | 0x80);
  out[n++] = static_cast<char>(value);
  return n;
}

}  // namespace

void ProtoWriter::Number(uint64_t value) {
  std::array<char, 10> bytes;
  out_.append(bytes.data(), Encode(value, bytes));
}

void ProtoWriter::Varint(uint32_t field, uint64_t value) {
  Number(uint64_t{field} << 3 | kVarint);
  Number(value);
}

void ProtoWriter::Double(uint32_t field, double value) {
  Number(uint64_t{field} << 3 | kFixed64);
  const auto bits = std::bit_cast<uint64_t>(value);
  for (int shift = 0; shift < 64; shift += 8) out_ += static_cast<char>(bits >> shift);
}

void ProtoWriter::Bytes(uint32_t field, std::string_view bytes) {
  Head(field, bytes.size());
  out_ += bytes;
}

void ProtoWriter::Head(uint32_t field, size_t size) {
  Number(uint64_t{field} << 3 | kLengthDelimited);
  Number(size);
}

size_t ProtoWriter::HeadSize(uint32_t field, size_t size) {
  std::array<char, 10> bytes;
  return Encode(uint64_t{field} << 3, bytes) + Encode(size, bytes);
}

size_t ProtoWriter::Open(uint32_t field) {
  Head(field, 0);
  return out_.size();
}

void ProtoWriter::Close(size_t opened) {
  std::array<char, 10> bytes;
  const size_t n = Encode(out_.size() - opened, bytes);
  out_[opened - 1] = bytes[0];
  if (n > 1) out_.insert(opened, bytes.data() + 1, n - 1);
}

}  // namespace sluice::extproc
