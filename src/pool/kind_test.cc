#include "pool/kind.h"

#include <gtest/gtest.h>

namespace sluice::pool {
namespace {

TEST(Kind, EngineAcceleratorAndModel) {
  EXPECT_EQ(KindOf({.labels = {{"llm-d.ai/engine-type", "sglang"}, {"nvidia.com/gpu.product", "NVIDIA-L40S"}}}, "qwen"),
            "sglang|NVIDIA-L40S|qwen");
  EXPECT_EQ(KindOf({}, ""), "unknown|unknown|unknown");
}

TEST(Kind, TheMoreSpecificLabelWins) {
  const model::Endpoint endpoint = {
      .labels = {{"cloud.google.com/gke-accelerator", "nvidia-l4"}, {"llm-d.ai/accelerator", "L4-half"}}};
  EXPECT_EQ(AcceleratorOf(endpoint), "L4-half");
  EXPECT_EQ(EngineOf({.labels = {{"inference.networking.k8s.io/engine-type", "vllm"}}}), "vllm");
}

}  // namespace
}  // namespace sluice::pool
