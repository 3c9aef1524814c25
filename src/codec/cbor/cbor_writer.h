// CborWriter appends canonical CBOR (RFC 8949 section 4.2.1: shortest heads, definite lengths) to a string, as Python's
// cbor2 with canonical=True does for these types. Thread rule: one owner. Ownership: the caller owns the string. Cost:
// a few stores an item; allocates only when the string grows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::codec {

class CborWriter {
 public:
  explicit CborWriter(std::string& out) : out_(out) {}

  void Unsigned(uint64_t value) { Head(0, value); }
  // Major type 0 or 1. -1 - value cannot overflow: it is the complement.
  void Int(int64_t value) {
    if (value >= 0) {
      Head(0, static_cast<uint64_t>(value));
    } else {
      Head(1, ~static_cast<uint64_t>(value));
    }
  }
  void Bytes(std::string_view bytes) {
    Head(2, bytes.size());
    out_.append(bytes);
  }
  // `utf8` must be valid UTF-8: it is written as it is.
  void Text(std::string_view utf8) {
    Head(3, utf8.size());
    out_.append(utf8);
  }
  // The next `count` items are the array's.
  void Array(uint64_t count) { Head(4, count); }
  // The next 2 x `count` items are keys and values; canonical key order is the caller's duty.
  void Map(uint64_t count) { Head(5, count); }
  void Null() { out_.push_back('\xf6'); }

 private:
  void Head(uint8_t major, uint64_t value) {
    const auto first = static_cast<uint8_t>(major << 5);
    if (value < 24) {
      out_.push_back(static_cast<char>(first | value));
    } else if (value <= 0xff) {
      out_.push_back(static_cast<char>(first | 24));
      BigEndian(value, 1);
    } else if (value <= 0xffff) {
      out_.push_back(static_cast<char>(first | 25));
      BigEndian(value, 2);
    } else if (value <= 0xffffffff) {
      out_.push_back(static_cast<char>(first | 26));
      BigEndian(value, 4);
    } else {
      out_.push_back(static_cast<char>(first | 27));
      BigEndian(value, 8);
    }
  }
  void BigEndian(uint64_t value, int bytes) {
    char buffer[8];
    for (int i = 0; i < bytes; ++i) buffer[i] = static_cast<char>(value >> (8 * (bytes - 1 - i)));
    out_.append(buffer, static_cast<size_t>(bytes));
  }

  std::string& out_;
};

}  // namespace sluice::codec
