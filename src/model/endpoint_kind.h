// KindOf: which endpoints behave alike. A latency model learns one set of figures a kind, not one an endpoint: the same
// engine on the same accelerator serving the same model. All of it comes from labels, the first that is set:
//   model        llm-d.ai/model
//   accelerator  llm-d.ai/accelerator, inference.optimization/acceleratorName (llm-d's autoscaler),
//                nvidia.com/gpu.product, amd.com/gpu.product-name, gpu.intel.com/product (the vendors' feature
//                discovery), cloud.google.com/gke-accelerator
//   engine       llm-d.ai/engine-type, or its legacy name
// Endpoints without labels are of one kind; then the model's factor for each endpoint has to tell them apart.
// Thread rule: pure. Cost: nine look-ups in a small map and one string; call it when an endpoint comes, not for each
// request.
#pragma once

#include <string>
#include <string_view>

#include "model/endpoint.h"

namespace sluice::model {

// "<model>|<accelerator>|<engine>"; "unknown" stands for a missing label.
std::string KindOf(const Endpoint& endpoint);
// Views into the endpoint's labels; empty when no label says it.
std::string_view EngineOf(const Endpoint& endpoint);
std::string_view AcceleratorOf(const Endpoint& endpoint);

}  // namespace sluice::model
