#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "schedule/receipt_ring.h"
#include "schedule/receipt_text.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using nlohmann::json;
using testing::ConfigOf;
using testing::Harness;
using ::testing::HasSubstr;
using testing::MakePool;
using testing::TestEndpoint;
using testing::TextRequest;

TEST(ReceiptJson, HasTheDocumentedShape) {
  Harness harness(
      ConfigOf("plugins:\n- {type: label-selector-filter, parameters: {matchLabels: {in: x}}}\n- type: queue-scorer\n- "
               "type: prefix-cache-scorer\n"
               "schedulingProfiles:\n- name: d\n  plugins: [{pluginRef: label-selector-filter}, {pluginRef: "
               "queue-scorer, weight: 2}, {pluginRef: prefix-cache-scorer, weight: 3}]\n"));
  TestEndpoint down{"down", 0, 0, 0, {{"in", "x"}}};
  down.in_rotation = false;
  auto pool = MakePool(
      {{"a", 3, 0, 0, {{"in", "x"}}}, {"b", 0, 0, 0, {{"in", "x"}}}, {"out"}, down, {"c", 10, 0, 0, {{"in", "x"}}}});
  harness.clock.Advance(std::chrono::seconds(1));
  pool.scraped_at[1] = harness.clock.Now() - std::chrono::milliseconds(12);
  const std::string text(300, 'x');
  model::Request request = TextRequest("req-1", text);
  request.target_model = "m-v2";
  harness.Decide(request, pool);
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  harness.Decide(request, pool);
  const json receipt = json::parse(ReceiptJson(harness.decision.receipt));
  EXPECT_EQ(receipt["request_id"], "req-1");
  EXPECT_EQ(receipt["model"], "m");
  EXPECT_EQ(receipt["target_model"], "m-v2");
  EXPECT_EQ(receipt["prompt_tokens"], 75);
  EXPECT_EQ(receipt["outcome"], "picked");
  EXPECT_TRUE(receipt["error"].is_null());
  EXPECT_EQ(receipt["profile"], "d");
  EXPECT_EQ(receipt["pick"], "10.0.0.2:8000");
  EXPECT_EQ(receipt["runner_up"], "10.0.0.1:8000");
  EXPECT_EQ(receipt["weights"], (json{{"queue-scorer", 2.0}, {"prefix-cache-scorer", 3.0}}));
  ASSERT_EQ(receipt["candidates"].size(), 5u);
  const json& best = receipt["candidates"][0];
  EXPECT_EQ(best["endpoint"], "10.0.0.2:8000");
  EXPECT_EQ(best["name"], "default/b");
  EXPECT_EQ(best["matched_tokens"], 75);  // two blocks of 64, but no more than the prompt has
  EXPECT_EQ(best["scores"], (json{{"queue-scorer", 1.0}, {"prefix-cache-scorer", 1.0}}));
  EXPECT_EQ(best["weighted"], (json{{"queue-scorer", 2.0}, {"prefix-cache-scorer", 3.0}}));
  EXPECT_EQ(best["total"], 5.0);
  EXPECT_EQ(best["filters"], (json{{"label-selector-filter", "pass"}}));
  EXPECT_EQ(best["data_age_ms"], 12.0);
  const json& second = receipt["candidates"][1];
  EXPECT_EQ(second["scores"]["queue-scorer"], 0.7);  // as a person would write it, not as a float's digits
  EXPECT_TRUE(second["data_age_ms"].is_null());
  EXPECT_EQ(receipt["candidates"][3]["verdict"], "dropped by label-selector-filter");
  EXPECT_EQ(receipt["candidates"][3]["filters"], (json{{"label-selector-filter", "drop"}}));
  EXPECT_EQ(receipt["candidates"][4]["verdict"], "out of rotation");
  EXPECT_EQ(receipt["candidates_omitted"], 0);
  EXPECT_FALSE(receipt.contains("observed"));
}

TEST(ReceiptJson, SaysWhyNothingWasPicked) {
  Harness harness(DefaultConfigText());
  const json receipt = json::parse(ReceiptJson(harness.Decide(TextRequest("r\"1", "x"), MakePool({})).receipt));
  EXPECT_EQ(receipt["request_id"], "r\"1");
  EXPECT_EQ(receipt["outcome"], "rejected-no-endpoints");
  EXPECT_EQ(receipt["error"]["code"], "unavailable");
  EXPECT_TRUE(receipt["pick"].is_null());
  EXPECT_TRUE(receipt["candidates"].empty());
}

TEST(ReceiptTable, IsReadable) {
  Harness harness(ConfigOf("plugins:\n- type: queue-scorer\n"));
  harness.Decide(TextRequest("r1", "hello"), MakePool({{"a", 1}, {"b", 0}}));
  model::Receipt receipt = harness.decision.receipt;
  receipt.observed = model::Observed{.served_by = "default/b", .http_status = 200, .ttft_ms = 12.5};
  EXPECT_EQ(ReceiptTable(receipt),
            "request r1  model m  priority 0\n"
            "prompt 2 tokens (estimated from bytes), decided in 0 us: picked\n"
            "profile default, picker max-score-picker\n"
            "    endpoint       matched  queue-scorer x1.000  total  age ms  verdict\n"
            "->  10.0.0.2:8000        0                1.000  1.000       -  candidate\n"
            "2.  10.0.0.1:8000        0                0.000  0.000       -  candidate\n"
            "served by default/b, status 200, first token after 12.500 ms\n");
}

TEST(PodScores, FirstNullThenTheBlocksOfTheServer) {
  Harness harness(DefaultConfigText());
  auto pool = MakePool({{"a"}, {"b"}});
  for (TimePoint& scraped : pool.scraped_at) scraped = harness.clock.Now();  // else full, to a sheddable request
  const std::string text(300, 'x');
  model::Request request = TextRequest("r1", text);
  request.priority = -1;
  harness.Decide(request, pool);
  EXPECT_EQ(PodScoresOf(harness.decision.receipt).scores_json, "null");
  EXPECT_EQ(PodScoresOf(harness.decision.receipt).criticality, "Sheddable");
  const std::string served = harness.decision.pick().endpoint->address;
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  harness.Decide(request, pool);
  const PodScores again = PodScoresOf(harness.decision.receipt);
  EXPECT_EQ(again.scores_json, "{\"" + served + "\":2}");
  EXPECT_EQ(again.resolved_target_model, "m");
  EXPECT_EQ(harness.decision.pick().endpoint->address, served);
}

TEST(PodScores, SharedAddressesAreToldApartByPort) {
  Harness harness(DefaultConfigText());
  TestEndpoint a{"a"}, b{"b"};
  a.address = b.address = "127.0.0.1";
  const auto pool = MakePool({a, b});
  const std::string text(300, 'x');
  const model::Request request = TextRequest("r1", text);
  harness.Decide(request, pool);
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  harness.Decide(request, pool);
  EXPECT_EQ(PodScoresOf(harness.decision.receipt).scores_json, "{\"127.0.0.1:8000\":2}");
}

model::Receipt Named(const std::string& id) {
  model::Receipt receipt;
  receipt.request_id = id;
  return receipt;
}

TEST(ReceiptRing, CountIsHardAndTheOldestLeaves) {
  ReceiptRing ring({.count_max = 2, .bytes_max = 1 << 20});
  for (const char* id : {"a", "b", "c"}) ring.Push(Named(id));
  EXPECT_EQ(ring.Find("a"), nullptr);
  ASSERT_NE(ring.Find("b"), nullptr);
  EXPECT_EQ(ring.Find("c")->request_id, "c");
  EXPECT_EQ(ring.size(), 2u);
}

TEST(ReceiptRing, BytesAreHardToo) {
  const size_t one = Named("x").ByteSize();
  ReceiptRing ring({.count_max = 100, .bytes_max = one * 3});
  for (int i = 0; i < 10; ++i) ring.Push(Named(std::to_string(i)));
  EXPECT_EQ(ring.size(), 3u);
  EXPECT_EQ(ring.bytes(), one * 3);
  model::Receipt large = Named("large");
  large.profiles.resize(1);
  large.profiles[0].scores.resize(one);
  ring.Push(large);  // larger than the ring: not kept, and nothing is thrown out for it
  EXPECT_EQ(ring.size(), 3u);
  EXPECT_EQ(ring.Find("large"), nullptr);
}

TEST(ReceiptRing, TheLaterOfEqualIdsIsFoundAndOutlivesTheEarlier) {
  ReceiptRing ring({.count_max = 2, .bytes_max = 1 << 20});
  ring.Push(Named("same"));
  model::Receipt later = Named("same");
  later.priority = 5;
  ring.Push(later);
  EXPECT_EQ(ring.Find("same")->priority, 5);
  ring.Push(Named("z"));  // drops the first
  ASSERT_NE(ring.Find("same"), nullptr);
  EXPECT_EQ(ring.Find("same")->priority, 5);
}

TEST(ReceiptRing, ObservationsAreAdded) {
  ReceiptRing ring({.count_max = 2, .bytes_max = 1 << 20});
  const uint64_t a = ring.Push(Named("a"));
  EXPECT_TRUE(ring.Observe(a, {.served_by = "default/x", .http_status = 200, .ttft_ms = 3, .cached_tokens = 64}));
  EXPECT_FALSE(ring.Observe(ReceiptRing::kNotKept, {}));
  EXPECT_FALSE(ring.Observe(a + 1, {})) << "not pushed yet";
  const json receipt = json::parse(ReceiptJson(*ring.Find("a")));
  EXPECT_EQ(receipt["observed"]["cached_tokens"], 64);
  EXPECT_TRUE(receipt["observed"]["e2e_ms"].is_null());
}

}  // namespace
}  // namespace sluice::schedule
