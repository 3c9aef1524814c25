#include "schedule/latency_tracker.h"

#include <algorithm>

#include "model/endpoint_kind.h"

namespace sluice::schedule {

using latency::KindId;
using model::EndpointId;
using model::PoolView;

namespace {

// Requests that do not stream are many only under attack; beyond this the oldest is taken as computed.
constexpr size_t kDueMax = 100'000;

Duration FromMs(double ms) { return FromSeconds(ms / 1e3); }
double Ms(Duration d) { return Seconds(d) * 1e3; }

}  // namespace

LatencyTracker::Load& LatencyTracker::LoadOf(EndpointId id) {
  if (id.slot >= loads_.size()) loads_.resize(id.slot + 1);
  Load& load = loads_[id.slot];
  if (load.generation != id.generation) load = {.generation = id.generation};
  return load;
}

const LatencyTracker::Load* LatencyTracker::FindLoad(EndpointId id) const {
  if (id.slot >= loads_.size() || loads_[id.slot].generation != id.generation) return nullptr;
  return &loads_[id.slot];
}

void LatencyTracker::RefreshKinds(const PoolView& view) {
  if (kinds_version_ == view.members_version && kinds_.size() == view.size()) return;
  kinds_version_ = view.members_version;
  kinds_.clear();
  for (size_t row = 0; row < view.size(); ++row) kinds_.push_back(model_.Intern(model::KindOf(view.endpoint(row))));
}

latency::EndpointFeatures LatencyTracker::FeaturesOf(const PoolView& view, uint32_t row, TimePoint now) const {
  latency::EndpointFeatures features;
  features.waiting = view.waiting[row];
  features.running = view.running[row];
  features.resident_tokens = latency::ResidentTokens(view.kv_usage[row], view.num_blocks[row], view.block_size[row]);
  if (const Load* load = FindLoad(view.id(row)); load != nullptr) {
    features.decode_requests = static_cast<float>(load->decoding);
    load->ledger.Fill(now, features);
  }
  return features;
}

latency::Candidates LatencyTracker::Columns(const PoolView& view, std::span<const float> cached_tokens, TimePoint now) {
  RefreshKinds(view);
  const size_t n = view.size();
  for (auto* column : {&resident_, &ahead_tokens_, &ahead_requests_, &elapsed_, &decoding_}) column->resize(n);
  for (uint32_t row = 0; row < n; ++row) {
    const latency::EndpointFeatures features = FeaturesOf(view, row, now);
    resident_[row] = features.resident_tokens;
    ahead_tokens_[row] = features.prefill_tokens_ahead;
    ahead_requests_[row] = features.prefill_requests_ahead;
    elapsed_[row] = features.prefill_elapsed_ms;
    decoding_[row] = features.decode_requests;
  }
  return {.kind = kinds_,
          .endpoint = view.members->ids,
          .waiting = view.waiting,
          .running = view.running,
          .resident_tokens = resident_,
          .prefill_tokens_ahead = ahead_tokens_,
          .prefill_requests_ahead = ahead_requests_,
          .prefill_elapsed_ms = elapsed_,
          .decode_requests = decoding_,
          .slots = {},
          .cached_tokens = cached_tokens,
          .encoder_cached_tokens = {},
          .transfer_bytes = {}};
}

LatencyTracker::Expected LatencyTracker::Expect(const PoolView& view, uint32_t row,
                                                const latency::RequestFeatures& request, float cached_tokens,
                                                TimePoint now) {
  RefreshKinds(view);
  Expected expected{.kind = kinds_[row], .features = {request, FeaturesOf(view, row, now)}, .prediction = {}};
  expected.features.endpoint.cached_tokens = cached_tokens;
  expected.prediction = model_.Predict(expected.kind, view.id(row), expected.features);
  return expected;
}

LatencyTracker::Flight LatencyTracker::Dispatch(const Expected& expected, EndpointId endpoint, bool streaming,
                                                TimePoint now) {
  Flight flight{.expected = expected, .endpoint = endpoint, .dispatched_at = now, .streaming = streaming};
  flight.uncached_tokens =
      std::max(1.0F, expected.features.request.prompt_tokens - expected.features.endpoint.cached_tokens);
  Load& load = LoadOf(endpoint);
  load.running = expected.features.endpoint.running;
  load.resident_tokens = expected.features.endpoint.resident_tokens;
  load.ledger.Dispatch(now, flight.uncached_tokens);
  if (!streaming) {
    // Its first token cannot be seen: the ledger lets it go when it is expected.
    due_.push({now + FromMs(double{expected.prediction.ttft_ms}), endpoint, due_number_++, flight.uncached_tokens});
    if (due_.size() > kDueMax) ReleaseOldestDue();
  }
  return flight;
}

void LatencyTracker::ReleaseOldestDue() {
  const Due due = due_.top();
  due_.pop();
  Load* load = FindLoad(due.endpoint);
  if (load == nullptr) return;
  load->ledger.Abandon(due.uncached_tokens);
  load->prefilled_tokens += double{due.uncached_tokens};
}

void LatencyTracker::Advance(TimePoint now) {
  while (!due_.empty() && due_.top().at <= now) ReleaseOldestDue();
}

void LatencyTracker::FirstToken(Flight& flight, TimePoint now) {
  if (!flight.streaming || flight.has_first_token) return;
  flight.has_first_token = true;
  flight.first_token_at = now;
  const Expected& expected = flight.expected;
  model_.ObserveTtft(expected.kind, flight.endpoint, expected.features,
                     static_cast<float>(Ms(now - flight.dispatched_at)), expected.prediction.ttft_ms);
  Load* load = FindLoad(flight.endpoint);
  if (load == nullptr) return;
  load->ledger.FirstToken(now, flight.uncached_tokens, model_.PrefillMsPerToken(expected.kind));
  load->prefilled_tokens += double{flight.uncached_tokens};
  ++load->decoding;
  flight.running_at_first = std::max(static_cast<float>(load->decoding), load->running);
  flight.prefilled_at_first = load->prefilled_tokens;
}

void LatencyTracker::End(Flight& flight, TimePoint now, int64_t output_tokens, bool failed) {
  Load* load = FindLoad(flight.endpoint);
  if (load == nullptr || !flight.streaming) return;
  if (!flight.has_first_token) {
    load->ledger.Abandon(flight.uncached_tokens);
    return;
  }
  const float running = std::max(static_cast<float>(load->decoding), load->running);
  if (load->decoding > 0) --load->decoding;
  if (failed || output_tokens < 2) return;
  const auto tokens = static_cast<float>(output_tokens - 1);
  const latency::DecodeFeatures during{
      .running = (flight.running_at_first + running) / 2,
      .resident_tokens = load->resident_tokens,
      .prefill_tokens_per_token = static_cast<float>(load->prefilled_tokens - flight.prefilled_at_first) / tokens};
  model_.ObserveItl(flight.expected.kind, flight.endpoint, during,
                    static_cast<float>(Ms(now - flight.first_token_at)) / tokens, flight.expected.prediction.itl_ms);
}

}  // namespace sluice::schedule
