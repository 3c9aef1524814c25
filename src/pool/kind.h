// KindOf: which endpoints behave alike. A latency model learns one set of figures a kind, not one an endpoint: the same
// engine on the same accelerator serving the same model.
// The accelerator is the first of these labels that is set: llm-d.ai/accelerator,
// inference.optimization/acceleratorName (llm-d's autoscaler), nvidia.com/gpu.product, amd.com/gpu.product-name,
// gpu.intel.com/product (the vendors' feature discovery), cloud.google.com/gke-accelerator. The engine is that of
// llm-d.ai/engine-type, or its legacy name. Thread rule: pure. Cost: eight look-ups in a small map and one string; call
// it when an endpoint comes, not for each request.
#pragma once

#include <string>
#include <string_view>

#include "model/endpoint.h"

namespace sluice::pool {

// "<engine>|<accelerator>|<model>"; "unknown" stands for a missing label.
std::string KindOf(const model::Endpoint& endpoint, std::string_view model);
// Views into the endpoint's labels; empty when no label says it.
std::string_view EngineOf(const model::Endpoint& endpoint);
std::string_view AcceleratorOf(const model::Endpoint& endpoint);

}  // namespace sluice::pool
