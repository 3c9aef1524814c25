// For tests and benchmarks of this module: pools written as lists, and a policy with its state ready to decide.
// Thread rule: one owner.
#pragma once

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/rng.h"
#include "schedule/config.h"
#include "schedule/decide.h"
#include "schedule/testing_producers.h"

namespace sluice::schedule::testing {

struct TestEndpoint {
  std::string name;
  float waiting = 0, running = 0, kv_usage = 0;
  std::map<std::string, std::string> labels = {};
  bool in_rotation = true;
  uint32_t block_size = 16, num_blocks = 0;
  std::string address = {};  // empty: 10.0.0.<row + 1>
  uint32_t generation = 1;
  uint16_t port = 8000;
  std::map<std::string, float> attributes = {};
  std::shared_ptr<const model::LoraState> lora = nullptr;
};

inline model::PoolView MakePool(const std::vector<TestEndpoint>& list, uint64_t members_version = 1) {
  model::PoolView view;
  auto members = std::make_shared<model::PoolMembers>();
  view.members_version = members_version;
  for (uint32_t row = 0; row < list.size(); ++row) {
    const TestEndpoint& e = list[row];
    members->endpoints.push_back(std::make_shared<const model::Endpoint>(
        model::Endpoint{.id = "default/" + e.name,
                        .name = e.name,
                        .address = e.address.empty() ? "10.0.0." + std::to_string(row + 1) : e.address,
                        .port = e.port,
                        .labels = e.labels}));
    members->ids.push_back({row, e.generation});
    members->row_of_slot.push_back(row);
    view.waiting.push_back(e.waiting);
    view.running.push_back(e.running);
    view.kv_usage.push_back(e.kv_usage);
    view.block_size.push_back(e.block_size);
    view.num_blocks.push_back(e.num_blocks);
    view.scraped_at.push_back(model::EndpointState::kNever);
    view.in_rotation.push_back(e.in_rotation ? 1 : 0);
    view.lora.push_back(e.lora);
    for (const auto& [key, value] : e.attributes) {
      auto column = std::find_if(view.attributes.begin(), view.attributes.end(),
                                 [&](const model::AttributeColumn& c) { return c.key == key; });
      if (column == view.attributes.end()) {
        const float missing = std::numeric_limits<float>::quiet_NaN();
        column = view.attributes.insert(column, {key, std::vector<float>(list.size(), missing)});
      }
      column->values[row] = value;
    }
  }
  view.members = std::move(members);
  return view;
}

// "plugins:" and "schedulingProfiles:" of one profile: scorers with weights, filters and pickers by type.
inline std::string ConfigOf(std::string_view body) {
  return "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n" + std::string(body);
}

inline LoadedConfig MustLoad(std::string_view text) {
  auto config = LoadConfig(text, TestRegistry(text), {.allow_experimental_plugins = true});
  if (!config) std::fprintf(stderr, "%s\n", config.error().message.c_str());
  SLUICE_CHECK(config.has_value(), "the test's configuration loads");
  return std::move(*config);
}

struct Harness {
  explicit Harness(std::string_view config_text, const StateOptions& limits = {})
      : config(MustLoad(config_text)), state(config.policy, limits) {}

  const model::Decision& Decide(const model::Request& request, const model::PoolView& pool) {
    schedule::Decide(request, pool, state, clock, rng, decision);
    return decision;
  }
  Ticket Dispatch(const model::Request& request, const model::PoolView& pool) {
    return OnDispatch(request, pool, state, decision, clock);
  }
  // Raw score of the endpoint in the latest decision's primary profile.
  float Score(std::string_view endpoint, std::string_view scorer) const {
    const auto& profile = decision.receipt.profiles[decision.receipt.primary];
    for (size_t i = 0; i < profile.candidates.size(); ++i) {
      if (profile.candidates[i].endpoint->name != endpoint) continue;
      for (size_t s = 0; s < profile.columns->scorers.size(); ++s) {
        if (profile.columns->scorers[s].name == scorer) return profile.ScoresOf(i)[s];
      }
    }
    SLUICE_CHECK(false, "no such score in the receipt");
    return 0;
  }

  LoadedConfig config;
  ManualClock clock;
  Rng rng{1};
  PolicyState state;
  model::Decision decision;
};

inline model::Request TextRequest(std::string id, std::string_view text) {
  model::Request request;
  request.id = std::move(id);
  request.model = request.target_model = "m";
  request.prompts.push_back({.text = {text}, .tokens = {}, .media = {}});
  return request;
}

}  // namespace sluice::schedule::testing
