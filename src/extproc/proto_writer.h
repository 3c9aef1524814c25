// ProtoWriter: appends fields of protobuf's wire format to a string. The reader's counterpart is parse/proto_reader.h.
// Why not protobuf's library: a dozen fields of ext_proc's answers and gRPC's health do not need generated code, and
// generated classes cost three times as much a message. Thread rule: one owner. Ownership: borrows the string.
// Cost: an append a field; Close() moves a nested message that is longer than 127 bytes by one to four bytes, so large
// payloads are put under WholeSize() instead. Format: protobuf.dev/programming-guides/encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::extproc {

class ProtoWriter {
 public:
  explicit ProtoWriter(std::string& out) : out_(out) {}

  void Varint(uint32_t field, uint64_t value);
  void Double(uint32_t field, double value);
  void Bytes(uint32_t field, std::string_view bytes);

  // A nested message: what is written between Open and Close.
  [[nodiscard]] size_t Open(uint32_t field);
  void Close(size_t opened);
  // The tag and size of a nested message whose size is known.
  void Head(uint32_t field, size_t size);
  static size_t HeadSize(uint32_t field, size_t size);

 private:
  void Number(uint64_t value);

  std::string& out_;
};

}  // namespace sluice::extproc
