// MsgpackWriter appends MessagePack to a string in the forms that msgspec (vLLM's encoder) chooses: the smallest
// integer form, float64 for every float, str for text and bin for bytes. Thread rule: one owner. Ownership: the caller
// owns the string. Cost: a few stores an item; allocates only when the string grows.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::codec {

class MsgpackWriter {
 public:
  explicit MsgpackWriter(std::string& out) : out_(out) {}

  void Nil() { Byte(0xc0); }
  void Bool(bool value) { Byte(value ? 0xc3 : 0xc2); }
  void Unsigned(uint64_t value) {
    if (value < 0x80) return Byte(static_cast<uint8_t>(value));
    if (value <= 0xff) return Sized(0xcc, value, 1);
    if (value <= 0xffff) return Sized(0xcd, value, 2);
    if (value <= 0xffffffff) return Sized(0xce, value, 4);
    Sized(0xcf, value, 8);
  }
  void Int(int64_t value) {
    if (value >= 0) return Unsigned(static_cast<uint64_t>(value));
    const auto bits = static_cast<uint64_t>(value);
    if (value >= -32) return Byte(static_cast<uint8_t>(bits));
    if (value >= -0x80) return Sized(0xd0, bits, 1);
    if (value >= -0x8000) return Sized(0xd1, bits, 2);
    if (value >= -0x80000000LL) return Sized(0xd2, bits, 4);
    Sized(0xd3, bits, 8);
  }
  // Always nine bytes. For hashes: decoders exist that take a hash only in this form.
  void WideUnsigned(uint64_t value) { Sized(0xcf, value, 8); }
  void Double(double value) { Sized(0xcb, std::bit_cast<uint64_t>(value), 8); }
  void Str(std::string_view utf8) {
    if (utf8.size() < 32) {
      Byte(static_cast<uint8_t>(0xa0 | utf8.size()));
    } else {
      Length(utf8.size(), 0xd9, 0xda, 0xdb);
    }
    out_.append(utf8);
  }
  void Bin(std::string_view bytes) {
    Length(bytes.size(), 0xc4, 0xc5, 0xc6);
    out_.append(bytes);
  }
  // The next `count` items are the array's.
  void Array(uint32_t count) { Container(count, 0x90, 0xdc, 0xdd); }
  // The next 2 x `count` items are keys and values.
  void Map(uint32_t count) { Container(count, 0x80, 0xde, 0xdf); }

 private:
  void Byte(uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void Sized(uint8_t head, uint64_t value, int bytes) {
    char buffer[9];
    buffer[0] = static_cast<char>(head);
    for (int i = 0; i < bytes; ++i) buffer[1 + i] = static_cast<char>(value >> (8 * (bytes - 1 - i)));
    out_.append(buffer, static_cast<size_t>(bytes) + 1);
  }
  void Length(size_t size, uint8_t head8, uint8_t head16, uint8_t head32) {
    if (size <= 0xff) return Sized(head8, size, 1);
    if (size <= 0xffff) return Sized(head16, size, 2);
    Sized(head32, size, 4);
  }
  void Container(uint32_t count, uint8_t fix, uint8_t head16, uint8_t head32) {
    if (count < 16) return Byte(static_cast<uint8_t>(fix | count));
    if (count <= 0xffff) return Sized(head16, count, 2);
    Sized(head32, count, 4);
  }

  std::string& out_;
};

}  // namespace sluice::codec
