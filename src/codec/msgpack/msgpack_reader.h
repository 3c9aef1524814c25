// MsgpackReader: a pull reader for MessagePack from strangers. Each Next() yields one scalar or the head of a
// container, whose items follow. It never allocates and never recurses; nesting stops at kDepthMax, and a container
// that claims more items than bytes are left is refused at its head, so that a caller may reserve `count` items. Thread
// rule: one owner. Ownership: items are views into the input. Cost: a few nanoseconds an item.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::codec {

enum class MsgpackType : uint8_t { kNil, kBool, kUnsigned, kNegative, kFloat, kStr, kBin, kArray, kMap, kExt };

struct MsgpackItem {
  MsgpackType type = MsgpackType::kNil;
  bool boolean = false;
  uint64_t number = 0;     // kUnsigned: the value; kNegative: its two's complement bits
  double real = 0;         // kFloat
  std::string_view bytes;  // kStr (not checked for UTF-8), kBin, kExt
  uint32_t count = 0;      // kArray: items; kMap: pairs
  int8_t ext_type = 0;     // kExt
};

class MsgpackReader {
 public:
  static constexpr int kDepthMax = 32;
  explicit MsgpackReader(std::string_view input) : input_(input) {}

  // The next item; false at a fault, which stays (Fault() names it), and at the end of the input.
  bool Next(MsgpackItem& item);
  // Passes over `item`'s contents when it is a container just read. False at a fault.
  bool SkipContents(const MsgpackItem& item);
  // True when every byte was read and every container is full.
  bool AtEnd() const { return fault_ == nullptr && offset_ == input_.size() && depth_ == 0; }
  // What was wrong, or nullptr; Offset() is where.
  const char* Fault() const { return fault_; }
  size_t Offset() const { return offset_; }

 private:
  bool Fail(const char* fault);
  bool Take(size_t bytes, uint64_t& value);
  bool TakeView(size_t bytes, std::string_view& view);
  bool Head(uint8_t head, MsgpackItem& item);
  bool Number(uint8_t head, MsgpackItem& item);
  bool Ext(size_t bytes, MsgpackItem& item);
  bool Open(MsgpackType type, uint64_t count, MsgpackItem& item);
  void CountItem();

  std::string_view input_;
  size_t offset_ = 0;
  const char* fault_ = nullptr;
  int depth_ = 0;
  std::array<uint64_t, kDepthMax> left_{};  // items still to come, one entry an open container
};

}  // namespace sluice::codec
