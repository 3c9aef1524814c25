// Producers whose data a test writes: `{type: test-prefix-match}` and its siblings in a configuration become their
// kind's default producer, and what they produce is in `Given()`, by field and endpoint. For formulas whose inputs
// would take a long history of requests to bring about. Thread rule: one test at a time; TestRegistry clears what was
// given.
#pragma once

#include <limits>
#include <map>
#include <string>
#include <string_view>

#include "schedule/registry.h"

namespace sluice::schedule::testing {

struct GivenData {
  // By field ("match", "ttft", ...), then endpoint name.
  std::map<std::string, std::map<std::string, float, std::less<>>, std::less<>> columns;
  std::map<std::string, uint32_t, std::less<>> numbers;  // "total-blocks", "block-size", "encoder-total"
  std::string session;

  uint32_t Number(std::string_view name) const {
    const auto at = numbers.find(name);
    return at == numbers.end() ? 0 : at->second;
  }
  // One value a row; `missing` for endpoints that were not given one.
  std::vector<float> Column(std::string_view field, const model::PoolView& pool, float missing = 0) const {
    std::vector<float> out(pool.size(), missing);
    const auto column = columns.find(field);
    if (column == columns.end()) return out;
    for (size_t row = 0; row < pool.size(); ++row) {
      const auto at = column->second.find(pool.endpoint(row).name);
      if (at != column->second.end()) out[row] = at->second;
    }
    return out;
  }
};

inline GivenData& Given() {
  static GivenData given;
  return given;
}

inline void Fill(const model::PoolView& pool, PrefixMatch& out) {
  const GivenData& given = Given();
  out.match_blocks = given.Column("match", pool);
  out.cpu_blocks = given.columns.contains("cpu") ? given.Column("cpu", pool) : std::vector<float>();
  out.unweighted = given.columns.contains("unweighted") ? given.Column("unweighted", pool) : std::vector<float>();
  out.total_blocks = given.Number("total-blocks");
  out.block_size = given.Number("block-size");
}
inline void Fill(const model::PoolView& pool, InflightLoad& out) {
  out.requests = Given().Column("inflight-requests", pool);
  out.tokens = Given().Column("inflight-tokens", pool);
}
inline void Fill(const model::PoolView& pool, LatencyPrediction& out) {
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  out.ttft_ms = Given().Column("ttft", pool, kNone);
  out.tpot_ms = Given().Column("tpot", pool, kNone);
  out.ttft_headroom_ms = Given().Column("ttft-headroom", pool, kNone);
  out.tpot_headroom_ms = Given().Column("tpot-headroom", pool, kNone);
  out.dispatched = Given().Column("dispatched", pool);
}
inline void Fill(const model::PoolView& pool, EncoderMatch& out) {
  out.matched = Given().Column("encoder-match", pool);
  out.total = Given().Number("encoder-total");
}
inline void Fill(const model::PoolView&, SessionId& out) { out.value = Given().session; }

template <class D>
class GivenProducer final : public Plugin, public Producer {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  DataKind Provides() const override { return D::kKind; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<D>(); }
  Status Produce(const DecisionInput& in, const Candidates&, Data& out) const override {
    Fill(in.pool, static_cast<D&>(out));
    return {};
  }

 private:
  static constexpr std::string_view Type() {
    switch (D::kKind) {
      case DataKind::kPrefixMatch:
        return "test-prefix-match";
      case DataKind::kInflightLoad:
        return "test-inflight-load";
      case DataKind::kLatencyPrediction:
        return "test-latency-prediction";
      case DataKind::kEncoderMatch:
        return "test-encoder-match";
      default:
        return "test-session-id";
    }
  }
};
template <class D>
const PluginInfo GivenProducer<D>::kInfo = {
    .type = GivenProducer<D>::Type(), .help = "Data that a test wrote.", .make = MakePlain<GivenProducer<D>>};

template <class D>
void AddGiven(Registry& registry, std::string_view config) {
  registry.Add(GivenProducer<D>::kInfo);
  if (config.find(GivenProducer<D>::kInfo.type) != std::string_view::npos) {
    registry.SetDefaultProducer(D::kKind, GivenProducer<D>::kInfo.type);
  }
}

// The program's registry and the test producers; those that `config` names produce what their kind's readers see.
inline Registry TestRegistry(std::string_view config) {
  Given() = {};
  Registry registry = BuiltinRegistry();
  AddGiven<PrefixMatch>(registry, config);
  AddGiven<InflightLoad>(registry, config);
  AddGiven<LatencyPrediction>(registry, config);
  AddGiven<EncoderMatch>(registry, config);
  AddGiven<SessionId>(registry, config);
  return registry;
}

}  // namespace sluice::schedule::testing
