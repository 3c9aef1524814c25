// Fuzz target: any bytes end, and every view lies inside the text.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "codec/promtext/promtext.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto inside = [&](std::string_view part) {
    return part.data() >= text.data() && part.data() + part.size() <= text.data() + text.size();
  };
  sluice::codec::PromReader reader(text, {.samples_max = 1000});
  sluice::codec::PromSample sample;
  while (reader.Next(sample)) {
    SLUICE_CHECK(inside(sample.name), "a name is a view of the text");
    for (const auto& label : sample.labels) {
      SLUICE_CHECK(inside(label.name) && inside(label.raw), "a label is a view of the text");
      SLUICE_CHECK(label.Text().size() <= label.raw.size(), "an escape never grows");
    }
  }
  return 0;
}
