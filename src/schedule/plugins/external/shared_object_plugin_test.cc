// Plugins outside the tree: the C example of test/plugin/, built by the C compiler, changes the pick; odd ones are
// refused or their answers checked.
#include "schedule/plugins/external/shared_object_plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/text.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using ::testing::HasSubstr;
using testing::MakePool;
using testing::TextRequest;

const std::string kFolder = SLUICE_TEST_PLUGINS;

Result<LoadedConfig> Load(const std::string& parameters, const std::string& more = "", bool experimental = true) {
  return LoadConfig(
      ConfigOf("plugins:\n- {name: mine, type: shared-object, parameters: {" + parameters + "}}\n" + more),
      BuiltinRegistry(), {.allow_experimental_plugins = experimental, .folder = kFolder});
}

std::string ErrorOf(const std::string& parameters) {
  const auto config = Load(parameters);
  return config ? "" : config.error().message;
}

struct Bench {
  explicit Bench(const std::string& parameters, const std::string& more = "") {
    auto loaded = Load(parameters, more);
    if (!loaded) std::fprintf(stderr, "%s\n", loaded.error().message.c_str());
    SLUICE_CHECK(loaded.has_value(), "the test's configuration loads");
    config = std::move(*loaded);
    state.emplace(config.policy);
  }
  const model::Decision& Decide(const model::Request& request, const model::PoolView& pool) {
    schedule::Decide(request, pool, *state, clock, rng, decision);
    return decision;
  }
  // The raw scores that the odd plugin gives for this header, by row.
  std::vector<float> Scores(std::string_view what, const model::PoolView& pool, model::Request request) {
    request.headers = {{"Score", what}};
    const auto& profile = Decide(request, pool).receipt.profiles.at(0);
    std::vector<float> scores(pool.size());
    for (size_t i = 0; i < profile.candidates.size(); ++i) {
      const std::string& name = profile.candidates[i].endpoint->name;
      for (size_t row = 0; row < pool.size(); ++row) {
        if (pool.endpoint(row).name == name) scores[row] = profile.ScoresOf(i)[0];
      }
    }
    return scores;
  }
  LoadedConfig config;
  ManualClock clock;
  Rng rng{1};
  std::optional<PolicyState> state;
  model::Decision decision;
};

TEST(SharedObject, TheExampleChangesThePick) {
  const auto pool = MakePool({{.name = "a", .labels = {{"tier", "gold"}}}, {.name = "b", .labels = {{"tier", "tin"}}}});
  model::Request request = TextRequest("r", "x");
  Bench bench("path: prefer_label.so, config: {label: tier, header: x-tier}");
  for (const auto& [wanted, name] : {std::pair("gold", "a"), {"tin", "b"}, {"gold", "a"}}) {
    request.headers = {{"X-Tier", wanted}};
    EXPECT_EQ(bench.Decide(request, pool).pick().endpoint->name, name);
  }
}

TEST(SharedObject, ItIsAFilterTooAndCanBeListedWithAWeight) {
  Bench bench("path: prefer_label.so, config: {label: tier, header: x-tier, waiting_max: 4.5}",
              "schedulingProfiles:\n- name: p\n  plugins:\n  - {pluginRef: mine, weight: 3}\n");
  const auto pool = MakePool({{.name = "a", .waiting = 5, .labels = {{"tier", "gold"}}}, {.name = "b", .waiting = 4}});
  model::Request request = TextRequest("r", "x");
  request.headers = {{"x-tier", "gold"}};
  const auto& decision = bench.Decide(request, pool);
  EXPECT_EQ(decision.pick().endpoint->name, "b");
  const auto& profile = decision.receipt.profiles[0];
  EXPECT_EQ(profile.candidates[1].verdict, 0) << "the first filter dropped a";
  EXPECT_EQ(bench.Decide(request, MakePool({{.name = "a", .waiting = 9}}, 2)).pick().endpoint->name, "a");
  EXPECT_EQ(bench.config.policy->profiles[0].columns->scorers[0].weight, 3);
}

TEST(SharedObject, WhatItReturnsIsChecked) {
  Bench bench("path: odd.so");
  const auto pool = MakePool({{.name = "a"}, {.name = "b"}});
  const auto nan = bench.Scores("nan", pool, TextRequest("r", "x"));
  EXPECT_TRUE(std::isnan(nan[0]) && std::isnan(nan[1]));
  EXPECT_EQ(bench.decision.receipt.profiles[0].candidates[0].total, 0);
  EXPECT_EQ(bench.Scores("big", pool, TextRequest("r", "x")), (std::vector<float>{1, 0}));
  EXPECT_EQ(SharedObjectPlugin::IgnoredPicks(*bench.state->StateOf("mine")), 2u);  // it picked -1 twice
  EXPECT_EQ(bench.decision.pick().endpoint->name, "a");
  model::Request request = TextRequest("r", "x");
  for (const auto& [index, name] : {std::pair("1", "b"), {"0", "a"}, {"2", "a"}}) {
    request.headers = {{"pick", index}};
    EXPECT_EQ(bench.Decide(request, pool).pick().endpoint->name, name) << index;
  }
  EXPECT_EQ(SharedObjectPlugin::IgnoredPicks(*bench.state->StateOf("mine")), 3u);
}

TEST(SharedObject, ItSeesRequestAndColumnsOfTheCandidatesThatAreLeft) {
  Bench bench("path: odd.so",
              "- {type: label-selector-filter, parameters: {matchLabels: {on: 'yes'}}}\n- type: prefix-cache-scorer\n"
              "schedulingProfiles:\n- name: p\n  plugins:\n  - pluginRef: label-selector-filter\n  - pluginRef: mine\n"
              "  - {pluginRef: prefix-cache-scorer, weight: 0}\n");
  bench.clock.Advance(std::chrono::seconds(10));
  auto pool = MakePool({{.name = "off"},
                        {.name = "b", .running = 0.5f, .kv_usage = 0.25f, .labels = {{"on", "yes"}}},
                        {.name = "c", .running = 0.75f, .kv_usage = 0.125f, .labels = {{"on", "yes"}}}});
  pool.scraped_at[1] = bench.clock.Now() - std::chrono::milliseconds(125);
  const std::string text(400, 'x');
  model::Request request = TextRequest("r", text);
  request.session_id = "s";
  request.priority = -3;
  request.output_tokens_max = 7;
  const auto at = [&](std::string_view what) { return bench.Scores(what, pool, request); };
  EXPECT_EQ(at("running")[1], 0.5f);
  EXPECT_EQ(at("running")[2], 0.75f);
  EXPECT_EQ(at("kv")[2], 0.125f);
  EXPECT_EQ(at("age")[1], 0.125f);
  EXPECT_EQ(at("age")[2], 1.0f) << "never scraped is infinitely old";
  EXPECT_EQ(at("host")[1], 1.0f);
  EXPECT_EQ(at("host")[2], 0.0f);
  EXPECT_EQ(at("request")[1], 1.0f);
  EXPECT_EQ(at("matched")[1], 0.0f);
  request.headers = {{"pick", "1"}};
  bench.Decide(request, pool);
  Ticket ticket = OnDispatch(request, pool, *bench.state, bench.decision, bench.clock);
  EXPECT_NEAR(at("matched")[2], 0.128f, 1e-6) << "two blocks of 64 tokens";
  OnResponseEnd(*bench.state, std::move(ticket), {});
  Bench alone("path: odd.so");
  EXPECT_EQ(alone.Scores("matched", pool, request)[1], 0.5f) << "nobody produces matches";
}

TEST(SharedObject, ItsChanceCanBeRepeated) {
  Bench one("path: odd.so"), two("path: odd.so");
  const auto pool = MakePool({{.name = "a"}, {.name = "b"}, {.name = "c"}});
  model::Request request = TextRequest("r", "x");
  request.headers = {{"pick", "random"}};
  std::set<uint32_t> seen;
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(one.Decide(request, pool).pick().row, two.Decide(request, pool).pick().row);
    seen.insert(one.decision.pick().row);
  }
  EXPECT_EQ(seen.size(), 3u);
}

TEST(SharedObject, WhatCannotBeUsedIsRefusedWithTheReason) {
  EXPECT_THAT(ErrorOf("path: missing.so"), HasSubstr(kFolder + "/missing.so: not found"));
  EXPECT_THAT(ErrorOf("path: " + kFolder), HasSubstr("not a file of at most"));
  EXPECT_THAT(ErrorOf("path: no_symbol.so"), HasSubstr("does not export sluice_plugin_get"));
  EXPECT_THAT(ErrorOf("path: odd_abi.so"), HasSubstr("speaks version 2"));
  EXPECT_THAT(ErrorOf("path: odd_size.so"), HasSubstr("(40 bytes)"));
  EXPECT_THAT(ErrorOf("path: odd_nothing.so"), HasSubstr("none of score, filter and pick"));
  EXPECT_THAT(ErrorOf("path: prefer_label.so"), HasSubstr("config needs the strings label and header"));
  EXPECT_THAT(ErrorOf("config: {}"), HasSubstr("path: is required"));
  EXPECT_THAT(ErrorOf("path: odd.so, sha: x"), HasSubstr("parameters.sha: unknown field"));
  const std::string text = kFolder + "/text.so";
  std::ofstream(text) << "not ELF";
  EXPECT_THAT(ErrorOf("path: text.so"), HasSubstr("not a shared object"));
  std::filesystem::remove(text);
}

TEST(SharedObject, TheSumIsChecked) {
  const std::string wrong = ErrorOf("path: odd.so, sha256: 00ff");
  const std::string mark = "its sha256 is ";
  ASSERT_THAT(wrong, HasSubstr(mark));
  const std::string sum = wrong.substr(wrong.find(mark) + mark.size(), 64);
  EXPECT_EQ(ErrorOf("path: odd.so, sha256: '" + sum + "'"), "");
}

TEST(SharedObject, AFileThatWasReplacedIsTheNewOneAtTheNextLoad) {
  const std::string path = kFolder + "/replaced.so";
  const auto copy = [&](const char* from) {
    std::filesystem::copy_file(kFolder + "/" + from, path, std::filesystem::copy_options::overwrite_existing);
  };
  copy("odd.so");
  auto old = Load("path: replaced.so");
  ASSERT_TRUE(old);
  copy("prefer_label.so");
  EXPECT_THAT(ErrorOf("path: replaced.so"), HasSubstr("config needs the strings"));
  old = Load("path: odd.so");  // the first one's code goes while the second's stays
  ASSERT_TRUE(old);
  std::filesystem::remove(path);
}

TEST(SharedObject, IsNotLoadedWithoutTheFlag) {
  const auto config = Load("path: odd.so", "", false);
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("--allow-experimental-plugins"));
  // A replayed log may allow experimental plugins, but code only when its reader does.
  const auto logged = LoadConfig(
      ConfigOf("plugins:\n- {name: mine, type: shared-object, parameters: {path: odd.so}}\n"), BuiltinRegistry(),
      {.allow_experimental_plugins = true, .allow_shared_objects = false, .folder = kFolder});
  ASSERT_FALSE(logged);
  EXPECT_THAT(logged.error().message, HasSubstr("plugin 'mine' loads code"));
}

}  // namespace
}  // namespace sluice::schedule
