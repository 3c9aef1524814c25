#include "model/endpoint_kind.h"

#include <initializer_list>

namespace sluice::model {
namespace {

std::string_view FirstLabel(const Endpoint& endpoint, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const auto label = endpoint.labels.find(key);
    if (label != endpoint.labels.end() && !label->second.empty()) return label->second;
  }
  return {};
}

}  // namespace

std::string_view EngineOf(const Endpoint& endpoint) {
  return FirstLabel(endpoint, {"llm-d.ai/engine-type", "inference.networking.k8s.io/engine-type"});
}

std::string_view AcceleratorOf(const Endpoint& endpoint) {
  return FirstLabel(endpoint,
                    {"llm-d.ai/accelerator", "inference.optimization/acceleratorName", "nvidia.com/gpu.product",
                     "amd.com/gpu.product-name", "gpu.intel.com/product", "cloud.google.com/gke-accelerator"});
}

std::string KindOf(const Endpoint& endpoint) {
  const auto or_unknown = [](std::string_view text) { return text.empty() ? std::string_view("unknown") : text; };
  std::string kind(or_unknown(FirstLabel(endpoint, {"llm-d.ai/model"})));
  kind.append("|").append(or_unknown(AcceleratorOf(endpoint))).append("|").append(or_unknown(EngineOf(endpoint)));
  return kind;
}

}  // namespace sluice::model
