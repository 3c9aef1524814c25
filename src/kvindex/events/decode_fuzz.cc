// Whatever the bytes: decoding ends, for both engines, and what the sink sees keeps its promises.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "kvindex/events/decode.h"

namespace {

using namespace sluice::kvindex;

class Sink : public EventSink {
 public:
  explicit Sink(size_t bytes) : bytes_(bytes) {}
  void OnEvent(const DecodedEvent& event) override {
    SLUICE_CHECK(event.hashes.size() + event.tokens.size() + event.extras.size() <= bytes_, "more items than bytes");
    size_t extras = 0;
    for (const uint32_t n : event.extras_of_block) extras += n;
    SLUICE_CHECK(extras == event.extras.size(), "extras belong to blocks");
    ++events;
  }
  uint32_t events = 0;

 private:
  size_t bytes_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  for (const EngineType engine : {EngineType::kVllm, EngineType::kSglang}) {
    Sink sink(size);
    BatchDecoder decoder(engine);
    const DecodeResult result = decoder.Decode(payload, sink);
    SLUICE_CHECK(result.events == sink.events, "events are counted as they are handed over");
    SLUICE_CHECK(result.events + result.unknown + result.malformed <= size, "more events than bytes");
  }
  return 0;
}
