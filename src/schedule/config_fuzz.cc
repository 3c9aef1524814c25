// Fuzz target: any bytes give a policy or an error with words; a policy that loads decides without a fault.
#include <cstddef>
#include <cstdint>

#include "schedule/testing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::schedule;
  static const Registry registry = BuiltinRegistry();
  const auto config = LoadConfig({reinterpret_cast<const char*>(data), size}, registry);
  if (!config) {
    SLUICE_CHECK(!config.error().message.empty(), "an error says what is wrong");
    return 0;
  }
  PolicyText(*config);
  PolicyState state(config->policy, {.prefix_entries_max = 1000});
  const auto pool = testing::MakePool({{"a", 1, 2, 0.5f}, {"b", 0, 1, 0.9f, {{"role", "x"}}}});
  const sluice::ManualClock clock;
  sluice::Rng rng(1);
  for (int i = 0; i < 3; ++i) {
    const auto request = testing::TextRequest("r", "some prompt text that is long enough to be hashed");
    const auto decision = Decide(request, pool, state, clock, rng);
    if (!decision.ok()) continue;
    OnResponseEnd(state, OnDispatch(request, pool, state, decision, clock), {});
  }
  return 0;
}
