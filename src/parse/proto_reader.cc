#include "parse/proto_reader.h"

#include <algorithm>

namespace sluice::parse {
namespace {

constexpr size_t kFrameHead = 5;

uint32_t FrameLength(std::string_view head) {
  uint32_t length = 0;
  for (const char c : head.substr(1, 4)) length = length << 8 | static_cast<unsigned char>(c);
  return length;
}

}  // namespace

std::optional<uint64_t> ProtoReader::Varint() {
  uint64_t value = 0;
  for (size_t i = 0; i < 10 && i < rest_.size(); ++i) {
    const auto byte = static_cast<unsigned char>(rest_[i]);
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if ((byte & 0x80) == 0) {
      if (i == 9 && byte > 1) return std::nullopt;
      rest_.remove_prefix(i + 1);
      return value;
    }
  }
  return std::nullopt;
}

std::optional<ProtoField> ProtoReader::Broken() {
  ok_ = false;
  rest_ = {};
  return std::nullopt;
}

std::optional<ProtoField> ProtoReader::Next() {
  if (rest_.empty()) return std::nullopt;
  const std::string_view begin = rest_;
  const auto tag = Varint();
  if (!tag || *tag >> 3 == 0 || *tag >> 3 > 0x1fffffff) return Broken();
  ProtoField field{.number = static_cast<uint32_t>(*tag >> 3), .bytes = {}, .raw = {}};
  size_t fixed = 0;
  switch (*tag & 7) {
    case 0: {
      const auto value = Varint();
      if (!value) return Broken();
      field.value = *value;
      break;
    }
    case 1:
      fixed = 8;
      break;
    case 2: {
      const auto size = Varint();
      if (!size || *size > rest_.size()) return Broken();
      field.kind = ProtoField::Kind::kBytes;
      field.bytes = rest_.substr(0, *size);
      rest_.remove_prefix(*size);
      break;
    }
    case 5:
      fixed = 4;
      break;
    default:
      return Broken();
  }
  if (fixed > rest_.size()) return Broken();
  for (size_t i = fixed; i > 0; --i) field.value = field.value << 8 | static_cast<unsigned char>(rest_[i - 1]);
  rest_.remove_prefix(fixed);
  field.raw = begin.substr(0, begin.size() - rest_.size());
  return field;
}

bool AppendUint32s(const ProtoField& field, std::vector<uint32_t>& out) {
  const auto append = [&out](uint64_t value) {
    if (value > 0xffffffff) return false;
    out.push_back(static_cast<uint32_t>(value));
    return true;
  };
  if (field.kind == ProtoField::Kind::kNumber) return append(field.value);
  std::string_view rest = field.bytes;
  while (!rest.empty()) {
    uint64_t value = 0;
    size_t i = 0;
    for (;; ++i) {
      if (i == rest.size() || i == 5) return false;
      const auto byte = static_cast<unsigned char>(rest[i]);
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) == 0) break;
    }
    rest.remove_prefix(i + 1);
    if (!append(value)) return false;
  }
  return true;
}

Result<std::string_view> OneGrpcFrame(std::string_view body) {
  if (body.size() < kFrameHead) {
    return Fail(Code::kInvalidArgument, "the body is no gRPC frame: it has " + std::to_string(body.size()) +
                                            " bytes, the frame's head alone takes 5");
  }
  if (body.front() != 0) {
    return Fail(Code::kInvalidArgument, "the gRPC message is compressed; send it with grpc-encoding: identity");
  }
  const uint32_t length = FrameLength(body);
  if (length != body.size() - kFrameHead) {
    return Fail(Code::kInvalidArgument, "the gRPC frame says " + std::to_string(length) + " bytes and has " +
                                            std::to_string(body.size() - kFrameHead));
  }
  return body.substr(kFrameHead);
}

std::string GrpcFrame(std::string_view message) {
  std::string frame(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(message.size() >> shift & 0xff);
  frame += message;
  return frame;
}

void GrpcFrames::Feed(std::string_view bytes, const std::function<void(std::string_view)>& on_message) {
  while (!bytes.empty()) {
    if (head_.size() < kFrameHead) {
      const size_t take = std::min(kFrameHead - head_.size(), bytes.size());
      head_ += bytes.substr(0, take);
      bytes.remove_prefix(take);
      if (head_.size() < kFrameHead) return;
      left_ = FrameLength(head_);
      passed_over_ = head_.front() != 0 || left_ > message_bytes_max_;
    }
    const size_t take = std::min<size_t>(left_, bytes.size());
    left_ -= take;
    if (!passed_over_ && left_ == 0 && message_.empty()) {
      on_message(bytes.substr(0, take));  // the usual case: no copy
    } else if (!passed_over_) {
      message_ += bytes.substr(0, take);
      if (left_ == 0) on_message(message_);
    }
    bytes.remove_prefix(take);
    if (left_ == 0) {
      head_.clear();
      message_.clear();
    }
  }
}

}  // namespace sluice::parse
