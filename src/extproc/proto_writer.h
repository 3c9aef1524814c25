// ProtoWriter: appends fields of protobuf's wire format to a string. The reader's counterpart is proto_fields.h.
// Why not protobuf's library: a dozen fields of ext_proc's answers and gRPC's health do not need generated code, and
// generated classes cost three times as much a message. Thread rule: one owner. Ownership: borrows the string.
// Cost: an append a field; Close() moves a nested message that is longer than 127 bytes by one to four bytes, so large
// payloads are put under Head() with their size instead. Format: protobuf.dev/programming-guides/encoding.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace sluice::extproc {

class ProtoWriter {
 public:
  explicit ProtoWriter(std::string& out) : out_(out) {}

  void Varint(uint32_t field, uint64_t value) {
    char bytes[kVarintMax * 2];
    const char* end = PutNumber(PutNumber(bytes, Tag(field, kVarint)), value);
    out_.append(bytes, static_cast<size_t>(end - bytes));
  }
  void Double(uint32_t field, double value);
  void Bytes(uint32_t field, std::string_view bytes) { PutBytes(Extend(BytesSize(field, bytes)), field, bytes); }

  // A nested message: what is written between Open and Close.
  [[nodiscard]] size_t Open(uint32_t field) {
    Head(field, 0);
    return out_.size();
  }
  void Close(size_t opened);
  // The tag and size of a nested message whose size is known.
  void Head(uint32_t field, size_t size) {
    char bytes[kVarintMax * 2];
    const char* end = PutHead(bytes, field, size);
    out_.append(bytes, static_cast<size_t>(end - bytes));
  }

  // For messages that are written in one go: sizes first, then everything behind `Extend(size)`. Each Put returns where
  // the next one goes.
  static size_t NumberSize(uint64_t value) { return (static_cast<size_t>(std::bit_width(value | 1)) + 6) / 7; }
  static size_t HeadSize(uint32_t field, size_t size) { return NumberSize(uint64_t{field} << 3) + NumberSize(size); }
  static size_t BytesSize(uint32_t field, std::string_view bytes) {
    return HeadSize(field, bytes.size()) + bytes.size();
  }
  char* Extend(size_t size) {
    const size_t at = out_.size();
    out_.resize(at + size);
    return out_.data() + at;
  }
  static char* PutHead(char* at, uint32_t field, size_t size) {
    return PutNumber(PutNumber(at, Tag(field, kBytes)), size);
  }
  static char* PutBytes(char* at, uint32_t field, std::string_view bytes) {
    at = PutHead(at, field, bytes.size());
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    return at + bytes.size();
  }
  static char* PutVarint(char* at, uint32_t field, uint64_t value) {
    return PutNumber(PutNumber(at, Tag(field, kVarint)), value);
  }

 private:
  enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2 };
  static constexpr size_t kVarintMax = 10;

  static uint64_t Tag(uint32_t field, WireType type) { return uint64_t{field} << 3 | type; }
  static char* PutNumber(char* at, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
    *at++ = static_cast<char>(value);
    return at;
  }

  std::string& out_;
};

}  // namespace sluice::extproc
