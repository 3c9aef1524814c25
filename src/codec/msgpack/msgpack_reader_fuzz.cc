// Whatever the bytes: the reader ends, stays inside the input, never promises more items than bytes, and skipping a
// value leads to the same offset as reading it item by item.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "codec/msgpack/msgpack_reader.h"

using sluice::codec::MsgpackItem;
using sluice::codec::MsgpackReader;
using sluice::codec::MsgpackType;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  MsgpackReader reader(input);
  MsgpackItem item;
  size_t items = 0;
  while (reader.Next(item)) {
    ++items;
    SLUICE_CHECK(reader.Offset() <= size && items <= size, "more items than bytes");
    SLUICE_CHECK(item.count <= size, "a container larger than its input");
    SLUICE_CHECK(item.bytes.empty() || (item.bytes.data() >= input.data() &&
                                        item.bytes.data() + item.bytes.size() <= input.data() + size),
                 "a view outside the input");
  }
  MsgpackReader skipping(input);
  while (skipping.Next(item)) {
    if (!skipping.SkipContents(item)) break;
  }
  SLUICE_CHECK((skipping.Fault() == nullptr) == (reader.Fault() == nullptr), "skipping and reading disagree");
  SLUICE_CHECK(skipping.AtEnd() == reader.AtEnd(), "skipping and reading end apart");
  return 0;
}
