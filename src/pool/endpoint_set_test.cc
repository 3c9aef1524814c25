#include "pool/endpoint_set.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::pool {
namespace {

using model::Endpoint;
using model::EndpointId;

Endpoint Make(const std::string& name, const std::string& address, std::map<std::string, std::string> labels = {}) {
  return {.id = "default/" + name, .name = name, .address = address, .port = 8000, .labels = std::move(labels)};
}
EndpointSet::Options Limits(size_t max) { return {.endpoints_max = max, .health = {.failures_to_eject = 1}}; }

TEST(EndpointSet, KeepsIdentityAndStateOverReloads) {
  EndpointSet set(Limits(10));
  const auto first = set.Replace({Make("a", "10.0.0.1"), Make("b", "10.0.0.2")});
  ASSERT_TRUE(first);
  const EndpointId a = first->added[0], b = first->added[1];
  set.Update(a, [](model::EndpointState& s) { s.waiting = 5; });
  const auto second = set.Replace({Make("c", "10.0.0.3"), Make("a", "10.0.0.1", {{"x", "y"}})});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->removed, std::vector<EndpointId>{b});
  EXPECT_EQ(second->updated, std::vector<EndpointId>{a});
  ASSERT_EQ(second->added.size(), 1u);
  EXPECT_EQ(second->added[0].slot, b.slot);              // reused
  EXPECT_NE(second->added[0].generation, b.generation);  // but not the same endpoint
  EXPECT_EQ(set.Find(b), nullptr);
  EXPECT_FALSE(set.Update(b, [](model::EndpointState&) {}));
  const auto view = set.View();
  ASSERT_EQ(view->size(), 2u);
  EXPECT_EQ(view->endpoint(0).name, "c");
  EXPECT_EQ(view->waiting[0], 0);
  EXPECT_EQ(view->waiting[1], 5);
  EXPECT_EQ(view->members->RowOf(a), 1u);
  EXPECT_EQ(view->members->RowOf(b), model::PoolMembers::kNoRow);
}

TEST(EndpointSet, AMovedAddressIsANewEndpoint) {
  EndpointSet set(Limits(10));
  const EndpointId old = set.Replace({Make("a", "10.0.0.1")})->added[0];
  const auto change = set.Replace({Make("a", "10.0.0.9")});
  EXPECT_EQ(change->removed, std::vector<EndpointId>{old});
  EXPECT_EQ(change->added.size(), 1u);
}

TEST(EndpointSet, ViewsAreImmutableAndSharedUntilSomethingChanges) {
  EndpointSet set(Limits(10));
  const EndpointId a = set.Replace({Make("a", "10.0.0.1")})->added[0];
  const auto before = set.View();
  EXPECT_EQ(set.View(), before);
  set.Replace({Make("a", "10.0.0.1")});  // nothing new
  EXPECT_EQ(set.View(), before);
  set.Update(a, [](model::EndpointState& s) { s.running = 3; });
  const auto after = set.View();
  EXPECT_EQ(before->running[0], 0);
  EXPECT_EQ(after->running[0], 3);
  EXPECT_GT(after->version, before->version);
  EXPECT_EQ(after->members_version, before->members_version);
}

TEST(EndpointSet, AttributesBecomeColumnsWithHoles) {
  EndpointSet set(Limits(10));
  const auto ids = set.Replace({Make("a", "10.0.0.1"), Make("b", "10.0.0.2")})->added;
  set.Update(ids[1], [](model::EndpointState& s) { s.attributes.push_back({"gpu/dcgm", 0.5F}); });
  const auto view = set.View();
  ASSERT_NE(view->Attribute("gpu/dcgm"), nullptr);
  EXPECT_TRUE(std::isnan((*view->Attribute("gpu/dcgm"))[0]));
  EXPECT_EQ((*view->Attribute("gpu/dcgm"))[1], 0.5F);
  EXPECT_EQ(view->Attribute("gpu"), nullptr);
}

TEST(EndpointSet, HealthReachesTheView) {
  Rng rng(1);
  EndpointSet set(Limits(10));
  const EndpointId a = set.Replace({Make("a", "10.0.0.1")})->added[0];
  EXPECT_EQ(set.View()->in_rotation[0], 1);
  EXPECT_TRUE(set.ReportConnectFailure(a, TimePoint{}, rng));
  EXPECT_EQ(set.View()->in_rotation[0], 0);
  EXPECT_TRUE(set.DueProbes(TimePoint{}).empty());
  EXPECT_EQ(set.DueProbes(TimePoint(std::chrono::seconds(1))), std::vector<EndpointId>{a});
  EXPECT_TRUE(set.ReportSuccess(a));
  EXPECT_EQ(set.View()->in_rotation[0], 1);
}

TEST(EndpointSet, LimitsAndDuplicatesChangeNothing) {
  EndpointSet set(Limits(2));
  ASSERT_TRUE(set.Replace({Make("a", "10.0.0.1"), Make("b", "10.0.0.2")}));
  const auto before = set.View();
  EXPECT_EQ(set.Replace({Make("a", "1.1.1.1"), Make("b", "1.1.1.2"), Make("c", "1.1.1.3")}).error().code,
            Code::kTooLarge);
  EXPECT_EQ(set.Replace({Make("a", "1.1.1.1"), Make("a", "1.1.1.2")}).error().code, Code::kInvalidArgument);
  EXPECT_EQ(set.View(), before);
}

TEST(EndpointSet, TheRecentViewWaitsForNumbersButNotForHealthOrMembers) {
  EndpointSet set(Limits(10));
  const EndpointId a = set.Replace({Make("a", "10.0.0.1")})->added[0];
  const auto first = set.RecentView();
  set.Update(a, [](model::EndpointState& s) { s.waiting = 5; });
  EXPECT_EQ(set.RecentView(), first);
  EXPECT_EQ(set.View()->waiting[0], 5);
  Rng rng(1);
  set.ReportConnectFailure(a, TimePoint(Duration(1)), rng);
  EXPECT_EQ(set.RecentView()->in_rotation[0], 0);
  ASSERT_TRUE(set.Replace({Make("a", "10.0.0.1"), Make("b", "10.0.0.2")}));
  EXPECT_EQ(set.RecentView()->size(), 2u);
}

}  // namespace
}  // namespace sluice::pool
