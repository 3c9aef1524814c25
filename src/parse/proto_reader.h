// ProtoReader: one message of protobuf's wire format, field by field, for the few fields that routing needs. And gRPC's
// framing of such messages: one byte of flags, four of length (big-endian), the message.
// Why not protobuf's library: six fields of two services do not need generated code.
// Thread rule: plain values; views into the bytes given. Cost: one pass, no allocation. Bounded by the bytes given;
// nothing is recursed into. Format: protobuf.dev/programming-guides/encoding; groups, gone since proto3, are refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::parse {

struct ProtoField {
  uint32_t number = 0;
  enum class Kind : uint8_t { kNumber, kBytes } kind = Kind::kNumber;
  uint64_t value = 0;      // of a varint or a fixed-width number
  std::string_view bytes;  // of a string, bytes, message or packed list
  std::string_view raw;    // the whole field, with its tag
};

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view message) : rest_(message) {}
  // The next field; nothing at the end, or when the message is broken: ok() tells which.
  std::optional<ProtoField> Next();
  bool ok() const { return ok_; }

 private:
  std::optional<ProtoField> Broken();
  std::optional<uint64_t> Varint();

  std::string_view rest_;
  bool ok_ = true;
};

// Appends the numbers of a repeated uint32, packed or not. False when one does not fit or is broken.
bool AppendUint32s(const ProtoField& field, std::vector<uint32_t>& out);

// The message of a body that is one uncompressed gRPC frame.
Result<std::string_view> OneGrpcFrame(std::string_view body);

// `message` as an uncompressed frame.
std::string GrpcFrame(std::string_view message);

// Messages of a stream of frames that arrives in pieces. A message beyond the limit is passed over, as is one that is
// compressed.
class GrpcFrames {
 public:
  explicit GrpcFrames(size_t message_bytes_max) : message_bytes_max_(message_bytes_max) {}
  // `on_message` runs for each message that the bytes complete; views in it live during the call only.
  void Feed(std::string_view bytes, const std::function<void(std::string_view)>& on_message);

 private:
  size_t message_bytes_max_;
  std::string head_;     // of the frame, until it is whole
  std::string message_;  // as far as it has come
  uint64_t left_ = 0;    // of the message that is being read
  bool passed_over_ = false;
};

}  // namespace sluice::parse
