// The events must not depend on where the bytes were split.
#include "codec/sse/sse.h"

#include <cstdint>
#include <cstdlib>
#include <vector>

namespace {

struct Outcome {
  std::vector<std::string> events;
  bool ok = true;
  bool operator==(const Outcome&) const = default;
};

Outcome Run(std::string_view bytes, size_t piece) {
  Outcome outcome;
  sluice::codec::SseParser parser(256);
  const auto sink = [&](const sluice::codec::SseEvent& event) {
    outcome.events.push_back(std::string(event.type) + "\n" + std::string(event.data) + "\n" + std::string(event.id));
  };
  for (size_t at = 0; at < bytes.size() && outcome.ok; at += piece) {
    outcome.ok = parser.Feed(bytes.substr(at, piece), sink).has_value();
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Outcome whole = Run(bytes, size + 1);
  if (!(Run(bytes, 1) == whole) || !(Run(bytes, 7) == whole)) std::abort();
  // What the writer writes, the parser reads back (line ends become '\n').
  if (bytes.find('\r') == std::string_view::npos && size < 100) {
    std::string written;
    sluice::codec::AppendSseData(written, bytes);
    std::string read;
    sluice::codec::SseParser parser(1024);
    if (!parser.Feed(written, [&](const sluice::codec::SseEvent& event) { read = event.data; })) std::abort();
    if (read != bytes) std::abort();
  }
  return 0;
}
