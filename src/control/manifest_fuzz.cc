// Whatever the bytes: reading ends with services within the limits or with an error; an accepted scheduler
// configuration reads back as the same tree from the text that was made of it.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "codec/yaml/yaml.h"
#include "control/manifest.h"
#include "control/node_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  const auto services = control::ReadManifest({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!services) {
    SLUICE_CHECK(!services.error().message.empty(), "an error without words");
    return 0;
  }
  SLUICE_CHECK(!services->empty() && services->size() <= control::kServicesMax, "number of services");
  for (const control::ServiceSpec& service : *services) {
    SLUICE_CHECK(!service.name.empty() && !service.model_uri.empty() && !service.model_name.empty(),
                 "a part is missing");
    SLUICE_CHECK(service.replicas >= 0 && service.replicas <= control::kReplicasMax, "replicas");
    if (!service.scheduler_config_yaml) continue;
    const auto again = codec::yaml::Parse(*service.scheduler_config_yaml);
    SLUICE_CHECK(again.has_value() && again->IsMap(), "the scheduler configuration does not read back");
    SLUICE_CHECK(control::NodeText(*again) == *service.scheduler_config_yaml, "the text is not stable");
  }
  return 0;
}
