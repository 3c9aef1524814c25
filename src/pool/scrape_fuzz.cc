// Fuzz target: any bytes as a metrics page leave a sane state, and as an endpoint file or a file of inference objects give
// what it says or an error.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "pool/dialect.h"
#include "pool/endpoint_file.h"
#include "pool/inference_objects.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const pool::DialectTable table = *pool::BuildDialects(nullptr, nullptr);
  for (const std::string_view name : table.Names()) {
    model::EndpointState state;
    pool::Extract(text, *table.Find(name), TimePoint{}, state);
    SLUICE_CHECK(state.waiting >= 0 && state.running >= 0, "load is not negative");
    SLUICE_CHECK(state.kv_usage >= 0 && state.kv_usage <= 1, "usage is a fraction");
  }
  if (const auto file = pool::ParseEndpointFile(text)) {
    for (const model::Endpoint& endpoint : file->endpoints) SLUICE_CHECK(endpoint.port > 0, "a port is a port");
  }
  if (const auto objects = pool::InferenceObjects::Parse(text, "file", "pool", nullptr)) {
    Rng rng(1);
    const auto rewritten = objects->Rewrite("m", rng);
    SLUICE_CHECK(!rewritten || !rewritten->object.empty(), "who rewrites has a name");
  }
  return 0;
}
