#include "serving/cache_metrics.h"

#include <array>

namespace sluice::serving {
namespace {

const std::vector<double> kLookupSeconds = {1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2, .1};
const std::vector<std::string> kSkipLabels = {"cache_kind", "reason"};
const std::vector<std::string> kEndpointLabels = {"pool", "endpoint"};

// Counters of an endpoint that came back begin anew.
double Since(uint64_t before, uint64_t now) { return static_cast<double>(now >= before ? now - before : now); }

void Add(observe::Family<observe::Counter>& family, std::initializer_list<std::string_view> labels, double n) {
  if (n > 0) family.With(labels).Add(n);
}

}  // namespace

CacheMetrics::CacheMetrics(observe::Registry& r)
    : admissions_(
          r.AddCounter("llm_d_epp_kv_cache_index_admissions_total", "[ALPHA] Blocks that events stored in the index.")
              .Get()),
      evictions_(r.AddCounter("llm_d_epp_kv_cache_index_evictions_total",
                              "[ALPHA] Blocks that left the index for want of memory.")
                     .Get()),
      lookups_(r.AddCounter("llm_d_epp_kv_cache_index_lookup_requests_total", "[ALPHA] Prompts looked up.").Get()),
      hits_(r.AddCounter("llm_d_epp_kv_cache_index_lookup_hits_total",
                         "[ALPHA] Leading blocks found, over all endpoints.")
                .Get()),
      deepest_(r.AddCounter("llm_d_epp_kv_cache_index_max_pod_hit_count_total",
                            "[ALPHA] Leading blocks found of the endpoint that held most.")
                   .Get()),
      latency_(r.AddHistogram("llm_d_epp_kv_cache_index_lookup_latency_seconds", "[ALPHA] Of a prompt's lookup.", {},
                              kLookupSeconds)
                   .Get()),
      copies_suppressed_(r.AddCounter("llm_d_epp_kv_cache_events_dedup_removed_hashes_suppressed_total",
                                      "[ALPHA] Removed blocks of which the engine has another copy: they stay.")
                             .Get()),
      copies_forwarded_(r.AddCounter("llm_d_epp_kv_cache_events_dedup_removed_hashes_forwarded_total",
                                     "[ALPHA] Removed blocks of which no copy was left.")
                            .Get()),
      stores_skipped_(r.AddCounter("llm_d_epp_kv_cache_events_stores_skipped_total",
                                   "[ALPHA] Stores that were not indexed.", kSkipLabels)),
      removals_skipped_(r.AddCounter("llm_d_epp_kv_cache_events_removals_skipped_total",
                                     "[ALPHA] Removals that named nothing in the index.", kSkipLabels)),
      subscribers_(
          r.AddGauge("llm_d_epp_kv_cache_events_active_subscribers", "[ALPHA] Endpoints that are listened to.").Get()),
      reconnections_(r.AddCounter("llm_d_epp_kv_cache_events_subscriber_reconnections_total",
                                  "[ALPHA] Event streams that were lost.", {"pod_identifier"})),
      messages_(r.AddCounter("llm_d_epp_kv_cache_events_messages_received_total", "[ALPHA] Batches of events.",
                             {"pod_identifier"})),
      zmq_errors_(r.AddCounter("llm_d_epp_kv_cache_events_zmq_errors_total",
                               "[ALPHA] Failed operations, malformed messages and replays that brought nothing.",
                               {"pod_identifier", "operation"})),
      degraded_(r.AddGauge("sluice_kv_cache_endpoint_degraded",
                           "1 while what the endpoint has cached is not exactly known; `sluice get cache` says why.",
                           kEndpointLabels)),
      entries_(
          r.AddGauge("sluice_kv_cache_endpoint_blocks", "Blocks the index lists for the endpoint.", kEndpointLabels)),
      gaps_(r.AddCounter("sluice_kv_cache_events_gaps_total", "Times that batches of events were missing.",
                         kEndpointLabels)),
      restarts_(r.AddCounter("sluice_kv_cache_events_restarts_total", "Engine restarts seen in the event stream.",
                             kEndpointLabels)),
      lost_(r.AddCounter("sluice_kv_cache_events_lost_total",
                         "Events that could not be read or hung on a block that was never announced.",
                         kEndpointLabels)),
      bytes_(r.AddGauge("sluice_kv_cache_index_bytes", "Memory of the index.", {"pool"})),
      bytes_max_(r.AddGauge("sluice_kv_cache_index_bytes_max", "Its limit.", {"pool"})),
      predictions_(
          r.AddCounter("sluice_kv_cache_predictions_total",
                       "Answered requests by how the predicted cached tokens compare with the engine's: exact, "
                       "over, under; untrusted: the endpoint was degraded when it was asked.",
                       {"pool", "result"})) {}

std::string_view CacheMetrics::Name(Prediction prediction) {
  static constexpr std::array<std::string_view, 4> kNames = {"exact", "over", "under", "untrusted"};
  return kNames[static_cast<size_t>(prediction)];
}

void CacheMetrics::Looked(const schedule::CacheIndex::Looked& looked) {
  lookups_.Add();
  hits_.Add(static_cast<double>(looked.hits));
  deepest_.Add(looked.deepest);
  latency_.Observe(Seconds(looked.took));
}

void CacheMetrics::Predicted(std::string_view pool, Prediction prediction) {
  predictions_.With({pool, Name(prediction)}).Add();
}

void CacheMetrics::Events(std::string_view pool, const kvindex::FeedStatus& before, const kvindex::FeedStatus& now) {
  const std::string_view pod = now.host_port;
  admissions_.Add(Since(before.blocks.stored, now.blocks.stored));
  copies_suppressed_.Add(Since(before.blocks.copies_left, now.blocks.copies_left));
  copies_forwarded_.Add(
      Since(before.blocks.removed - before.blocks.copies_left, now.blocks.removed - now.blocks.copies_left));
  Add(stores_skipped_, {"", "unsupported_cache_kind"}, Since(before.blocks.other_groups, now.blocks.other_groups));
  Add(stores_skipped_, {"", "non_dense_block_span"}, Since(before.blocks.not_dense, now.blocks.not_dense));
  Add(stores_skipped_, {"", "invalid_block_size"}, Since(before.blocks.block_size_unfit, now.blocks.block_size_unfit));
  Add(stores_skipped_, {"", "unaligned"}, Since(before.blocks.unaligned, now.blocks.unaligned));
  Add(stores_skipped_, {"", "remote"}, Since(before.blocks.remote, now.blocks.remote));
  Add(stores_skipped_, {"", "no_memory"}, Since(before.blocks.without_memory, now.blocks.without_memory));
  Add(removals_skipped_, {"", "unknown_block"}, Since(before.blocks.unknown_removed, now.blocks.unknown_removed));
  Add(messages_, {pod}, Since(before.feed.batches, now.feed.batches));
  if (before.connected && !now.connected) reconnections_.With({pod}).Add();
  Add(zmq_errors_, {pod, "replay-incomplete"}, Since(before.feed.replay_failures, now.feed.replay_failures));
  Add(zmq_errors_, {pod, "recv"}, Since(before.feed.broken, now.feed.broken));
  Add(gaps_, {pool, pod}, Since(before.feed.gaps, now.feed.gaps));
  Add(restarts_, {pool, pod}, Since(before.feed.restarts, now.feed.restarts));
  Add(lost_, {pool, pod},
      Since(before.feed.malformed, now.feed.malformed) + Since(before.blocks.lost_parents, now.blocks.lost_parents));
  degraded_.With({pool, pod}).Set(now.trust == kvindex::Trust::kExact ? 0 : 1);
  entries_.With({pool, pod}).Set(now.held);
}

void CacheMetrics::Sockets(const kvindex::SubscriberStats& before, const kvindex::SubscriberStats& now) {
  Add(zmq_errors_, {"", "recv"}, Since(before.bad_messages, now.bad_messages));
  Add(zmq_errors_, {"", "unknown-pod"}, Since(before.unknown_topics, now.unknown_topics));
  Add(zmq_errors_, {"", "replay-connect"}, Since(before.socket_errors, now.socket_errors));
}

void CacheMetrics::Index(std::string_view pool, const kvindex::PrefixIndex::Stats& before,
                         const kvindex::PrefixIndex::Stats& now) {
  evictions_.Add(Since(before.evicted, now.evicted));
  bytes_.With({pool}).Set(static_cast<double>(now.bytes));
  bytes_max_.With({pool}).Set(static_cast<double>(now.bytes_max));
}

void CacheMetrics::Subscribers(double change) { subscribers_.Add(change); }

void CacheMetrics::ForgetEndpoint(std::string_view pool, std::string_view endpoint) {
  degraded_.Remove({pool, endpoint});
  entries_.Remove({pool, endpoint});
  gaps_.Remove({pool, endpoint});
  restarts_.Remove({pool, endpoint});
  lost_.Remove({pool, endpoint});
}

}  // namespace sluice::serving
