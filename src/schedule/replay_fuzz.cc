// Fuzz target: any lines are replayed or refused with words; no line brings the replay down.
#include <cstddef>
#include <cstdint>

#include "schedule/replay.h"
#include "schedule/testing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::schedule;
  static const Registry registry = BuiltinRegistry();
  Replay replay(registry, "", false);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (const auto read = replay.Line(text.substr(at, end - at)); !read) {
      SLUICE_CHECK(!read.error().message.empty(), "an error says what is wrong");
    }
    at = end + 1;
  }
  replay.Finish();
  return 0;
}
