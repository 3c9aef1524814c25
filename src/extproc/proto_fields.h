// ProtoFields: the fields of a message in protobuf's wire format, one after the other. parse::ProtoReader does the same
// for whoever reads a message once a request; here a picker reads six messages a request and a hundred fields in them,
// so it is inline, without copies of what it found, and takes a third. A test holds both to the same answers.
//   for (ProtoFields f(message); f.Next();) if (f.number() == 1 && f.is_bytes()) Use(f.bytes());
// Thread rule: plain values; views into the bytes given. Cost: one pass, no allocation. Bounded by the bytes given;
// nothing is recursed into. Format: protobuf.dev/programming-guides/encoding; groups, gone since proto3, are refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::extproc {

class ProtoFields {
 public:
  explicit ProtoFields(std::string_view message) : at_(message.data()), end_(message.data() + message.size()) {}

  // Steps to the next field. False at the end, or when the message is broken: ok() tells which.
  bool Next() {
    if (at_ == end_) return false;
    uint64_t tag = 0;
    if (!Varint(tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return Broken();
    number_ = static_cast<uint32_t>(tag >> 3);
    type_ = static_cast<uint32_t>(tag & 7);
    switch (type_) {
      case kVarint:
        return Varint(value_) || Broken();
      case kBytes:
        if (!Varint(value_) || value_ > left()) return Broken();
        at_ += value_;
        return true;
      case kFixed64:
        return Fixed(8) || Broken();
      case kFixed32:
        return Fixed(4) || Broken();
      default:
        return Broken();
    }
  }
  bool ok() const { return ok_; }

  uint32_t number() const { return number_; }
  bool is_bytes() const { return type_ == kBytes; }  // a string, bytes or a message
  std::string_view bytes() const { return {at_ - value_, value_}; }
  uint64_t value() const { return value_; }  // of a number

 private:
  enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  size_t left() const { return static_cast<size_t>(end_ - at_); }
  bool Broken() {
    ok_ = false;
    at_ = end_;
    return false;
  }
  bool Varint(uint64_t& value) {
    if (at_ != end_ && static_cast<unsigned char>(*at_) < 0x80) [[likely]] {
      value = static_cast<unsigned char>(*at_++);
      return true;
    }
    value = 0;
    for (size_t i = 0; i < 10 && at_ != end_; ++i) {
      const auto byte = static_cast<unsigned char>(*at_++);
      if (i == 9 && byte > 1) return false;  // over 64 bits
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool Fixed(size_t size) {
    if (size > left()) return false;
    value_ = 0;
    for (size_t i = size; i > 0; --i) value_ = value_ << 8 | static_cast<unsigned char>(at_[i - 1]);
    at_ += size;
    return true;
  }

  const char* at_;
  const char* end_;
  uint64_t value_ = 0;  // a number, or the size of bytes
  uint32_t number_ = 0;
  uint32_t type_ = kVarint;
  bool ok_ = true;
};

}  // namespace sluice::extproc
