#include <gtest/gtest.h>

#include "model/decision.h"
#include "model/endpoint.h"
#include "model/endpoint_kind.h"
#include "model/pool_view.h"
#include "model/request.h"

namespace sluice::model {
namespace {

TEST(Endpoint, HostPortBracketsV6) {
  EXPECT_EQ((Endpoint{.id = "a", .address = "10.0.0.1", .port = 8000}.host_port()), "10.0.0.1:8000");
  EXPECT_EQ((Endpoint{.id = "a", .address = "::1", .port = 1}.host_port()), "[::1]:1");
}

TEST(PoolMembers, AReusedSlotIsNotTheOldEndpoint) {
  PoolMembers members;
  members.ids = {EndpointId{1, 5}};
  members.endpoints.resize(1);
  members.row_of_slot = {PoolMembers::kNoRow, 0};
  EXPECT_EQ(members.RowOf({1, 5}), 0u);
  EXPECT_EQ(members.RowOf({1, 4}), PoolMembers::kNoRow);
  EXPECT_EQ(members.RowOf({0, 0}), PoolMembers::kNoRow);
  EXPECT_EQ(members.RowOf({9, 0}), PoolMembers::kNoRow);
}

TEST(Request, TheLastHeaderWins) {
  Request request;
  request.headers = {{"x-a", "1"}, {"x-b", "2"}, {"x-a", "3"}};
  EXPECT_EQ(request.Header("x-a"), "3");
  EXPECT_EQ(request.Header("x-c"), "");
}

TEST(Receipt, ByteSizeCountsItsColumns) {
  Receipt receipt;
  const size_t empty = receipt.ByteSize();
  receipt.profiles.resize(1);
  receipt.profiles[0].candidates.resize(10);
  receipt.profiles[0].scores.resize(50);
  EXPECT_GE(receipt.ByteSize(), empty + 10 * sizeof(ReceiptCandidate) + 50 * sizeof(float));
}

TEST(EndpointKind, ComesFromLabels) {
  Endpoint endpoint{.labels = {{"llm-d.ai/engine-type", "sglang"}, {"nvidia.com/gpu.product", "NVIDIA-L40S"}}};
  EXPECT_EQ(KindOf(endpoint), "unknown|NVIDIA-L40S|sglang");
  endpoint.labels["llm-d.ai/accelerator"] = "L40S";
  endpoint.labels["llm-d.ai/model"] = "qwen";
  EXPECT_EQ(KindOf(endpoint), "qwen|L40S|sglang");
  EXPECT_EQ(KindOf({}), "unknown|unknown|unknown");
}

}  // namespace
}  // namespace sluice::model
