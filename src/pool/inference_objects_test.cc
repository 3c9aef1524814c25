#include "pool/inference_objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace sluice::pool {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::string_view kFile = R"(
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: batch, namespace: default, labels: {a: b}}
spec: {priority: -10, poolRef: {name: pool}}
status: {conditions: []}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: plain}
spec: {poolRef: {group: inference.networking.k8s.io, kind: InferencePool, name: pool}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: canary}
spec:
  poolRef: {name: pool}
  rules:
  - matches: [{model: {type: Exact, value: food}}, {model: {value: drink}}]
    targets:
    - {modelRewrite: food-v1, weight: 90}
    - {modelRewrite: food-v2, weight: 10}
---
)";

Result<InferenceObjects> Parse(std::string_view text, std::vector<std::string>* notices = nullptr) {
  return InferenceObjects::Parse(text, "objects.yaml", "pool", notices);
}

std::string ErrorOf(std::string_view text) {
  const auto objects = Parse(text);
  return objects ? "" : objects.error().message;
}

// How often each target was drawn in 10,000 requests; "-" where nothing was rewritten.
std::map<std::string, int> Draw(const InferenceObjects& objects, std::string_view model) {
  Rng rng(7);
  std::map<std::string, int> counts;
  for (int i = 0; i < 10'000; ++i) {
    const auto rewritten = objects.Rewrite(model, rng);
    ++counts[rewritten ? std::string(rewritten->target) : "-"];
  }
  return counts;
}

InferenceModelRewrite Object(std::string name, std::string created, std::vector<InferenceModelRewrite::Rule> rules) {
  return {.name = std::move(name), .created = std::move(created), .rules = std::move(rules)};
}

TEST(InferenceObjects, AFileOfSeveralDocuments) {
  std::vector<std::string> notices;
  const auto objects = Parse(kFile, &notices);
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_THAT(notices, IsEmpty());
  EXPECT_EQ(objects->PriorityOf("batch"), -10);
  EXPECT_EQ(objects->PriorityOf("plain"), 0);
  EXPECT_EQ(objects->PriorityOf("unknown"), 0);
  EXPECT_THAT(objects->Priorities(), ElementsAre(-10, 0));
  for (const std::string_view model : {"food", "drink"}) {
    auto counts = Draw(*objects, model);
    EXPECT_NEAR(counts["food-v1"], 9000, 150);
    EXPECT_NEAR(counts["food-v2"], 1000, 150);
  }
  Rng rng(1);
  EXPECT_EQ(objects->Rewrite("food", rng)->object, "canary");
  EXPECT_FALSE(objects->Rewrite("other", rng));
  EXPECT_FALSE(objects->Rewrite("", rng));
}

TEST(InferenceObjects, AsJsonAndAsAList) {
  const auto objects = Parse(R"({"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":""},"items":[
    {"apiVersion":"llm-d.ai/v1alpha2","kind":"InferenceObjective","metadata":{"name":"a","uid":"1"},
     "spec":{"priority":5,"poolRef":{"name":"pool"}}}]})");
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_EQ(objects->PriorityOf("a"), 5);
  EXPECT_TRUE(Parse("")->empty());
  EXPECT_TRUE(Parse("---\n---\n")->empty());
  EXPECT_FALSE(Parse(kFile)->empty());
}

TEST(InferenceObjects, WithoutWeightsEachTargetIsAsLikely) {
  const InferenceObjects objects({}, {Object("o", "", {{{"m"}, {{"a", {}}, {"b", {}}, {"c", {}}, {"d", {}}}}})});
  for (const auto& [target, count] : Draw(objects, "m")) EXPECT_NEAR(count, 2500, 200) << target;
}

TEST(InferenceObjects, AmongWeightsThoseWithoutAreNeverDrawn) {
  const InferenceObjects objects({}, {Object("o", "", {{{"m"}, {{"a", {}}, {"b", 3}, {"c", {}}, {"d", 1}}}})});
  auto counts = Draw(objects, "m");
  EXPECT_EQ(counts.count("a") + counts.count("c"), 0u);
  EXPECT_NEAR(counts["b"], 7500, 200);
  EXPECT_NEAR(counts["d"], 2500, 200);
}

TEST(InferenceObjects, ARuleWithoutTargetsLeavesNoModel) {
  const InferenceObjects objects({}, {Object("o", "", {{{"m"}, {}}})});
  Rng rng(1);
  const auto rewritten = objects.Rewrite("m", rng);
  ASSERT_TRUE(rewritten);
  EXPECT_EQ(rewritten->target, "");
  EXPECT_EQ(rewritten->object, "o");
}

TEST(InferenceObjects, ExactBeforeAllThenTheOlderThenTheFirst) {
  const auto one = [](std::string target) {
    return std::vector<InferenceModelRewrite::Target>{{std::move(target), {}}};
  };
  const InferenceObjects objects(
      {}, {Object("unaged", "", {{{"m"}, one("unaged")}, {{"late"}, one("late")}}),
           Object("young", "2026-03-01T00:00:00Z", {{{"m"}, one("young")}, {{}, one("all-young")}}),
           Object("old", "2026-01-01T00:00:00Z", {{{}, one("all-old")}, {{"n"}, one("n-1")}, {{"n"}, one("n-2")}}),
           Object("old-too", "2026-01-01T00:00:00Z", {{{"n"}, one("n-3")}, {{}, one("all-too")}})});
  const auto target = [&](std::string_view model) {
    Rng rng(1);
    return std::string(objects.Rewrite(model, rng)->target);
  };
  EXPECT_EQ(target("m"), "young");  // exact, though the rule for all is older
  EXPECT_EQ(target("n"), "n-1");
  EXPECT_EQ(target("late"), "late");
  EXPECT_EQ(target("other"), "all-old");
}

TEST(InferenceObjects, TheOldGroupCountsWhereTheNewOneIsSilent) {
  const auto objective = [](std::string_view api, std::string_view name, int priority) {
    return "---\napiVersion: " + std::string(api) +
           "\nkind: InferenceObjective\nmetadata: {name: " + std::string(name) +
           "}\nspec: {poolRef: {name: pool}, priority: " + std::to_string(priority) + "}\n";
  };
  std::vector<std::string> notices;
  const auto objects =
      Parse(objective("inference.networking.x-k8s.io/v1alpha2", "a", 1) + objective("llm-d.ai/v1alpha2", "a", 2) +
                objective("inference.networking.x-k8s.io/v1alpha2", "b", 3),
            &notices);
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_EQ(objects->PriorityOf("a"), 2);
  EXPECT_EQ(objects->PriorityOf("b"), 3);
  EXPECT_THAT(notices, ElementsAre(HasSubstr("InferenceObjective 'a' of inference.networking.x-k8s.io/v1alpha2")));
}

TEST(InferenceObjects, OtherPoolsObjectsAreLeftOut) {
  std::vector<std::string> notices;
  const auto objects = InferenceObjects::Parse(kFile, "f", "other", &notices);
  ASSERT_TRUE(objects);
  EXPECT_TRUE(objects->empty());
  EXPECT_EQ(notices.size(), 3u);
  EXPECT_THAT(notices[0], AllOf(HasSubstr("'pool', not this pool 'other'"), HasSubstr("line 5")));
}

TEST(InferenceObjects, OddRulesAreNoticed) {
  std::vector<std::string> notices;
  const auto objects = Parse(R"(
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r, creationTimestamp: "2026-01-31T12:00:00Z"}
spec:
  poolRef: {name: pool}
  rules:
  - {targets: []}
  - targets: [{modelRewrite: a}, {modelRewrite: b, weight: 1}]
)",
                             &notices);
  ASSERT_TRUE(objects) << objects.error().message;
  EXPECT_THAT(notices, ElementsAre(HasSubstr("spec.rules[0].targets: there are none"),
                                   AllOf(HasSubstr("never chosen"), HasSubstr("line 9"))));
}

TEST(InferenceObjects, EveryMistakeWithItsLineAndTheNearestName) {
  const std::string error = ErrorOf(R"(apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: a, creationTimestamp: yesterday}
spec:
  poolRef: {nmae: pool}
  prioritty: 7
---
apiVersion: llm-d.ai/v1alpha1
kind: InferenceModelRewrite
metadata: {}
spec:
  poolRef: {name: pool}
  rules:
  - matches: [{model: {type: Prefix, value: ""}}, {}]
    targets: [{modelRewrite: a, weight: 0}, {weight: 1000001}]
---
kind: InferenceObjectiv
---
7
)");
  for (const std::string_view part :
       {"objects.yaml", "creationTimestamp: expected a time", "[0].spec.poolRef.name: is required and missing",
        "[0].spec.poolRef.nmae: unknown field; did you mean 'name'? (line 5)",
        "[0].spec.prioritty: unknown field; did you mean 'priority'? (line 6)",
        "[1].apiVersion: expected one of llm-d.ai/v1alpha2", "[1].metadata.name: is required and missing",
        "matches[0].model.type: expected one of Exact", "matches[0].model.value: is required and missing",
        "matches[1].model: is required and missing", "targets[0].weight: expected an integer from 1 to 1000000",
        "targets[1].modelRewrite: is required", "targets[1].weight", "did you mean 'InferenceObjective'?",
        "[3]: expected an object"}) {
    EXPECT_THAT(error, HasSubstr(std::string(part)));
  }
}

TEST(InferenceObjects, WhatMakesAFileUnreadable) {
  const std::string twice =
      "{apiVersion: llm-d.ai/v1alpha2, kind: InferenceObjective, metadata: {name: a}, spec: "
      "{poolRef: {name: pool}, priority: 1}}\n";
  EXPECT_THAT(ErrorOf("---\n" + twice + "---\n" + twice), HasSubstr("there are two InferenceObjective named 'a'"));
  EXPECT_THAT(ErrorOf("{apiVersion: llm-d.ai/v1alpha2, kind: InferenceObjective, metadata: {name: a}, spec: {priority: "
                      "3000000000}}"),
              AllOf(HasSubstr("expected an integer from -2147483648"), HasSubstr("poolRef: is required")));
  EXPECT_THAT(ErrorOf("{apiVersion: llm-d.ai/v1alpha2, kind: InferenceModelRewrite, metadata: {name: a}, spec: "
                      "{poolRef: {name: pool}}}"),
              HasSubstr("rules: is required"));
  EXPECT_THAT(ErrorOf("a: [\n"), HasSubstr("objects.yaml"));
  EXPECT_THAT(ErrorOf("{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List}]}"),
              HasSubstr("items[0].kind: expected one of"));
  EXPECT_THAT(ErrorOf(kFile), Not(HasSubstr("line")));
}

}  // namespace
}  // namespace sluice::pool
