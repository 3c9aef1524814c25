// LatencyTracker: what a pool's latency model needs to know of the requests that are on their way, and what it learns
// from them. It keeps for each endpoint a ledger of prompts that wait for their first token and a count of answers that
// are being written, turns a PoolView into the model's columns, and gives each dispatched request a Flight that carries
// what was expected of it.
// Expected times count from dispatch. Only streamed answers teach TTFT: of others the first byte is the last one.
// Deterministic: equal events with equal times give equal predictions; asking (Columns, Expect) changes nothing.
// Thread rule: one owner (a pool's scheduler). Cost: Columns O(endpoints), the rest O(1); the model's own costs are in
// latency/model.h.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "latency/model.h"
#include "latency/prefill_ledger.h"
#include "model/pool_view.h"

namespace sluice::schedule {

class LatencyTracker {
 public:
  explicit LatencyTracker(latency::Model::Options options) : model_(options) {}

  latency::Model& model() { return model_; }
  const latency::Model& model() const { return model_; }

  // Time went on. To be called before each event, so that what is known at it does not depend on who asks in between.
  void Advance(TimePoint now);

  // One entry a row of `view`. `cached_tokens`: of this prompt, by row; empty: none. Views into the tracker and into
  // `view`, good until the next call of any function here.
  latency::Candidates Columns(const model::PoolView& view, std::span<const float> cached_tokens, TimePoint now);

  struct Expected {
    latency::KindId kind{};
    latency::Features features;
    latency::Prediction prediction;
  };
  // What to expect of one endpoint.
  Expected Expect(const model::PoolView& view, uint32_t row, const latency::RequestFeatures& request,
                  float cached_tokens, TimePoint now);

  // A request on its way. Must reach End.
  struct Flight {
    Expected expected;
    model::EndpointId endpoint;
    TimePoint dispatched_at{};
    TimePoint first_token_at{};
    float uncached_tokens = 0;
    float running_at_first = 0;
    double prefilled_at_first = 0;
    bool streaming = false;
    bool has_first_token = false;
  };
  Flight Dispatch(const Expected& expected, model::EndpointId endpoint, bool streaming, TimePoint now);
  // The first bytes of a streamed answer came; nothing for others.
  void FirstToken(Flight& flight, TimePoint now);
  // `output_tokens` below 0: not known. Nothing is learned from a failed request.
  void End(Flight& flight, TimePoint now, int64_t output_tokens, bool failed);

 private:
  struct Load {  // of one endpoint, by slot
    uint32_t generation = 0;
    latency::PrefillLedger ledger;
    uint32_t decoding = 0;
    double prefilled_tokens = 0;  // ever
    float running = 0;            // as the metrics last said
    float resident_tokens = 0;
  };
  struct Due {  // of an answer that is not streamed: when its prompt is thought to be computed
    TimePoint at;
    model::EndpointId endpoint;
    uint64_t number;  // equal times leave in the order of dispatch
    float uncached_tokens;

    bool operator>(const Due& other) const { return at != other.at ? at > other.at : number > other.number; }
  };

  Load& LoadOf(model::EndpointId id);
  const Load* FindLoad(model::EndpointId id) const;
  Load* FindLoad(model::EndpointId id) { return const_cast<Load*>(std::as_const(*this).FindLoad(id)); }
  void RefreshKinds(const model::PoolView& view);
  void ReleaseOldestDue();
  latency::EndpointFeatures FeaturesOf(const model::PoolView& view, uint32_t row, TimePoint now) const;

  latency::Model model_;
  std::vector<Load> loads_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  uint64_t due_number_ = 0;
  // The kind of each row, for the members it was made for.
  std::vector<latency::KindId> kinds_;
  uint64_t kinds_version_ = ~uint64_t{0};
  // Columns, reused.
  std::vector<float> resident_, ahead_tokens_, ahead_requests_, elapsed_, decoding_;
};

}  // namespace sluice::schedule
