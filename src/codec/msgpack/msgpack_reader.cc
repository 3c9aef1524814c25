#include "codec/msgpack/msgpack_reader.h"

#include <bit>

namespace sluice::codec {

bool MsgpackReader::Fail(const char* fault) {
  if (fault_ == nullptr) fault_ = fault;
  return false;
}

bool MsgpackReader::Take(size_t bytes, uint64_t& value) {
  if (input_.size() - offset_ < bytes) return Fail("ends inside an item");
  value = 0;
  for (size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<uint8_t>(input_[offset_ + i]);
  offset_ += bytes;
  return true;
}

bool MsgpackReader::TakeView(size_t bytes, std::string_view& view) {
  if (input_.size() - offset_ < bytes) return Fail("a string is longer than the input");
  view = input_.substr(offset_, bytes);
  offset_ += bytes;
  return true;
}

bool MsgpackReader::Open(MsgpackType type, uint64_t count, MsgpackItem& item) {
  const uint64_t items = type == MsgpackType::kMap ? count * 2 : count;
  // An item takes at least one byte.
  if (items > input_.size() - offset_) return Fail("a container claims more items than the input can hold");
  item.type = type;
  item.count = static_cast<uint32_t>(count);
  return true;
}

bool MsgpackReader::Ext(size_t bytes, MsgpackItem& item) {
  uint64_t type = 0;
  if (!Take(1, type)) return false;
  item.type = MsgpackType::kExt;
  item.ext_type = static_cast<int8_t>(type);
  return TakeView(bytes, item.bytes);
}

bool MsgpackReader::Number(uint8_t head, MsgpackItem& item) {
  if (head <= 0xcb) {  // 0xca float32, 0xcb float64
    if (!Take(head == 0xca ? 4 : 8, item.number)) return false;
    item.type = MsgpackType::kFloat;
    item.real =
        head == 0xca ? std::bit_cast<float>(static_cast<uint32_t>(item.number)) : std::bit_cast<double>(item.number);
    return true;
  }
  const size_t bytes = size_t{1} << (head & 3);  // 0xcc..0xcf unsigned, 0xd0..0xd3 signed
  if (!Take(bytes, item.number)) return false;
  item.type = MsgpackType::kUnsigned;
  if (head >= 0xd0) {
    const int unused = static_cast<int>(64 - 8 * bytes);
    const int64_t value = static_cast<int64_t>(item.number << unused) >> unused;
    item.number = static_cast<uint64_t>(value);
    if (value < 0) item.type = MsgpackType::kNegative;
  }
  return true;
}

bool MsgpackReader::Head(uint8_t head, MsgpackItem& item) {
  if (head < 0x80 || head >= 0xe0) {
    item.type = head < 0x80 ? MsgpackType::kUnsigned : MsgpackType::kNegative;
    item.number = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int8_t>(head)));
    return true;
  }
  if (head < 0x90) return Open(MsgpackType::kMap, head & 15, item);
  if (head < 0xa0) return Open(MsgpackType::kArray, head & 15, item);
  uint64_t length = 0;
  if (head < 0xc0) {
    item.type = MsgpackType::kStr;
    return TakeView(head & 31, item.bytes);
  }
  if (head >= 0xca && head <= 0xd3) return Number(head, item);
  switch (head) {
    case 0xc0:
      item.type = MsgpackType::kNil;
      return true;
    case 0xc2:
    case 0xc3:
      item.type = MsgpackType::kBool;
      item.boolean = head == 0xc3;
      return true;
    case 0xc4:
    case 0xc5:
    case 0xc6:
      item.type = MsgpackType::kBin;
      return Take(size_t{1} << (head - 0xc4), length) && TakeView(length, item.bytes);
    case 0xc7:
    case 0xc8:
    case 0xc9:
      return Take(size_t{1} << (head - 0xc7), length) && Ext(length, item);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      return Ext(size_t{1} << (head - 0xd4), item);
    case 0xd9:
    case 0xda:
    case 0xdb:
      item.type = MsgpackType::kStr;
      return Take(size_t{1} << (head - 0xd9), length) && TakeView(length, item.bytes);
    case 0xdc:
    case 0xdd:
      return Take(head == 0xdc ? 2 : 4, length) && Open(MsgpackType::kArray, length, item);
    case 0xde:
    case 0xdf:
      return Take(head == 0xde ? 2 : 4, length) && Open(MsgpackType::kMap, length, item);
    default:  // 0xc1 is never used
      --offset_;
      return Fail("not a MessagePack type");
  }
}

void MsgpackReader::CountItem() {
  if (depth_ > 0) --left_[depth_ - 1];
}

bool MsgpackReader::Next(MsgpackItem& item) {
  if (fault_ != nullptr) return false;
  while (depth_ > 0 && left_[depth_ - 1] == 0) --depth_;
  if (offset_ == input_.size()) return depth_ > 0 ? Fail("ends inside a container") : false;
  const auto head = static_cast<uint8_t>(input_[offset_++]);
  item = MsgpackItem{};
  if (!Head(head, item)) return false;
  CountItem();
  if (item.type == MsgpackType::kArray || item.type == MsgpackType::kMap) {
    if (depth_ == kDepthMax) return Fail("nested too deep");
    left_[depth_++] = item.type == MsgpackType::kMap ? uint64_t{item.count} * 2 : item.count;
  }
  // Leave what is full now, so that AtEnd() is true after the last item.
  while (depth_ > 0 && left_[depth_ - 1] == 0) --depth_;
  return true;
}

bool MsgpackReader::SkipContents(const MsgpackItem& item) {
  uint64_t left = 0;
  const auto add = [&left](const MsgpackItem& it) {
    if (it.type == MsgpackType::kArray) left += it.count;
    if (it.type == MsgpackType::kMap) left += uint64_t{it.count} * 2;
  };
  MsgpackItem inner;
  for (add(item); left > 0; --left) {
    if (!Next(inner)) return Fail("ends inside a container");
    add(inner);
  }
  return true;
}

}  // namespace sluice::codec
