// A simulated fleet and a model that learns from it, for this module's tests. Thread rule: one owner.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "latency/engine_simulator.h"
#include "latency/model.h"

namespace sluice::latency::testing {

struct Scenario {
  EngineSpec engine;
  TrafficSpec traffic;
  std::string kind = "model|H100|vllm";
};

// Runs a fleet and a model that learns from it; predictions are made at dispatch, as in a router.
class Learner {
 public:
  Learner(const Scenario& scenario, uint64_t seed)
      : fleet(scenario.engine, scenario.traffic, seed), kind(model.Intern(scenario.kind)) {
    fleet.prefill_ms_per_token = [this] { return model.PrefillMsPerToken(kind); };
    fleet.on_dispatch = [this](uint64_t request, model::EndpointId endpoint, const Features& features) {
      predicted_[request] = model.Predict(kind, endpoint, features);
    };
    fleet.on_first_token = [this](const TtftSeen& seen) {
      const auto ttft = static_cast<float>(seen.ttft_ms);
      ttft_errors.push_back(std::abs(predicted_[seen.request].ttft_ms - ttft) / ttft);
      EXPECT_TRUE(model.ObserveTtft(kind, seen.endpoint, seen.features, ttft, predicted_[seen.request].ttft_ms));
    };
    fleet.on_end = [this](const ItlSeen& seen) {
      const auto itl = static_cast<float>(seen.itl_ms);
      itl_errors.push_back(std::abs(predicted_[seen.request].itl_ms - itl) / itl);
      EXPECT_TRUE(model.ObserveItl(kind, seen.endpoint, seen.during, itl));
      predicted_.erase(seen.request);
    };
  }

  Model model{{.kinds_max = 8, .endpoints_max = 64}};
  Fleet fleet;
  KindId kind;
  std::vector<float> ttft_errors;  // of predictions at dispatch
  std::vector<float> itl_errors;   // the same; the load while the answer runs is not known then

 private:
  std::map<uint64_t, Prediction> predicted_;
};

inline double Mean(std::span<const float> values) {
  double sum = 0;
  for (const float v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

}  // namespace sluice::latency::testing
