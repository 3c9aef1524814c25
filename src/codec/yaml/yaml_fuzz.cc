// Fuzz target: any bytes give a tree within the limits or an error, and the strict reader survives any tree.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "codec/yaml/reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::codec::yaml;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto documents = ParseAll(text, {.bytes_max = 1 << 16, .depth_max = 32, .nodes_max = 10'000});
  if (!documents) {
    SLUICE_CHECK(!documents.error().message.empty(), "an error says what is wrong");
    return 0;
  }
  for (const Node& document : *documents) {
    Problems problems;
    MapReader reader(document, "root", problems);
    reader.Int("n", 1, {.min = 0, .max = 10});
    reader.Number("f", 0.5);
    reader.DurationOf("d", sluice::Duration(0));
    reader.Quantity("q", 0);
    reader.Strings("l");
    reader.StringMap("m");
    reader.Finish();
  }
  return 0;
}
