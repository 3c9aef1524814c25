// The registry of this program: one line a plugin type.
#include "schedule/plugins/admit/concurrency_detector.h"
#include "schedule/plugins/admit/latency_slo_admitter.h"
#include "schedule/plugins/admit/probabilistic_admitter.h"
#include "schedule/plugins/admit/utilization_detector.h"
#include "schedule/plugins/data/data_layer_plugins.h"
#include "schedule/plugins/decide/always_deciders.h"
#include "schedule/plugins/decide/prefix_based_pd_decider.h"
#include "schedule/plugins/external/shared_object_plugin.h"
#include "schedule/plugins/filter/by_label_filter.h"
#include "schedule/plugins/filter/endpoint_attribute_filter.h"
#include "schedule/plugins/filter/header_based_testing_filter.h"
#include "schedule/plugins/filter/label_selector_filter.h"
#include "schedule/plugins/filter/prefix_cache_affinity_filter.h"
#include "schedule/plugins/filter/role_filter.h"
#include "schedule/plugins/filter/session_affinity_filter.h"
#include "schedule/plugins/filter/slo_headroom_tier_filter.h"
#include "schedule/plugins/filter/topology_affinity_filter.h"
#include "schedule/plugins/filter/utilization_filter.h"
#include "schedule/plugins/flow/flow_policies.h"
#include "schedule/plugins/headers/agent_identity.h"
#include "schedule/plugins/pick/consistent_hash_picker.h"
#include "schedule/plugins/pick/max_score_picker.h"
#include "schedule/plugins/pick/power_of_two_picker.h"
#include "schedule/plugins/pick/random_picker.h"
#include "schedule/plugins/pick/softmax_picker.h"
#include "schedule/plugins/pick/weighted_random_picker.h"
#include "schedule/plugins/pick/weighted_round_robin_picker.h"
#include "schedule/plugins/produce/approx_prefix_cache_producer.h"
#include "schedule/plugins/produce/burst_prefix_cache_producer.h"
#include "schedule/plugins/produce/inflight_load_producer.h"
#include "schedule/plugins/produce/mm_embeddings_cache_producer.h"
#include "schedule/plugins/produce/p2p_source_producer.h"
#include "schedule/plugins/produce/precise_prefix_cache_producer.h"
#include "schedule/plugins/produce/predicted_latency_producer.h"
#include "schedule/plugins/produce/session_id_producer.h"
#include "schedule/plugins/produce/token_producer.h"
#include "schedule/plugins/profile/data_parallel_profile_handler.h"
#include "schedule/plugins/profile/disagg_headers_handler.h"
#include "schedule/plugins/profile/disagg_profile_handler.h"
#include "schedule/plugins/profile/header_profile_handler.h"
#include "schedule/plugins/profile/pd_profile_handler.h"
#include "schedule/plugins/profile/single_profile_handler.h"
#include "schedule/plugins/report/destination_endpoint_served_verifier.h"
#include "schedule/plugins/report/request_attribute_reporter.h"
#include "schedule/plugins/score/active_request_scorer.h"
#include "schedule/plugins/score/context_length_aware.h"
#include "schedule/plugins/score/endpoint_attribute_scorer.h"
#include "schedule/plugins/score/header_label_affinity_scorer.h"
#include "schedule/plugins/score/kv_cache_utilization_scorer.h"
#include "schedule/plugins/score/latency_scorer.h"
#include "schedule/plugins/score/load_aware_scorer.h"
#include "schedule/plugins/score/lora_affinity_scorer.h"
#include "schedule/plugins/score/mm_embeddings_cache_scorer.h"
#include "schedule/plugins/score/multicluster_scorers.h"
#include "schedule/plugins/score/no_hit_lru_scorer.h"
#include "schedule/plugins/score/precise_prefix_cache_scorer.h"
#include "schedule/plugins/score/prefix_cache_scorer.h"
#include "schedule/plugins/score/queue_scorer.h"
#include "schedule/plugins/score/running_requests_size_scorer.h"
#include "schedule/plugins/score/session_affinity_scorer.h"
#include "schedule/plugins/score/token_load_scorer.h"
#include "schedule/plugins/score/topology_affinity_scorer.h"
#include "schedule/plugins/screen/disaggregatedset_rollout_screener.h"
#include "schedule/registry.h"

namespace sluice::schedule {

Registry BuiltinRegistry() {
  Registry registry;
  registry.Add(SingleProfileHandler::kInfo);
  registry.Add(DisaggProfileHandler::kInfo);
  registry.Add(PdProfileHandler::kInfo);
  registry.Add(DisaggHeadersHandler::kInfo);
  registry.Add(DisaggHeadersHandler::kPrefillInfo);
  registry.Add(DataParallelProfileHandler::kInfo);
  registry.Add(HeaderProfileHandler::kInfo);
  registry.Add(AlwaysDisaggPdDecider::kInfo);
  registry.Add(AlwaysDisaggMultimodalDecider::kInfo);
  registry.Add(PrefixBasedPdDecider::kInfo);
  registry.Add(DisaggregatedSetRolloutScreener::kInfo);
  registry.Add(UtilizationDetector::kInfo);
  registry.Add(ConcurrencyDetector::kInfo);
  registry.Add(LatencySloAdmitter::kInfo);
  registry.Add(ProbabilisticAdmitter::kInfo);
  registry.Add(TokenProducer::kInfo);
  registry.Add(ApproxPrefixCacheProducer::kInfo);
  registry.Add(PrecisePrefixCacheProducer::kInfo);
  registry.Add(InflightLoadProducer::kInfo);
  registry.Add(ApproxPrefixCacheProducer::kMulticlusterInfo);
  registry.Add(BurstPrefixCacheProducer::kInfo);
  registry.Add(MmEmbeddingsCacheProducer::kInfo);
  registry.Add(PredictedLatencyProducer::kInfo);
  registry.Add(SessionIdProducer::kInfo);
  registry.Add(P2pSourceProducer::kInfo);
  registry.Add(AgentIdentity::kInfo);
  registry.Add(LabelSelectorFilter::kInfo);
  registry.Add(LabelSelectorFilter::kDeprecatedInfo);
  registry.Add(RoleFilter::kDecode);
  registry.Add(RoleFilter::kPrefill);
  registry.Add(RoleFilter::kEncode);
  registry.Add(ByLabelFilter::kInfo);
  registry.Add(PrefixCacheAffinityFilter::kInfo);
  registry.Add(SloHeadroomTierFilter::kInfo);
  registry.Add(UtilizationFilter::kInfo);
  registry.Add(EndpointAttributeFilter::kInfo);
  registry.Add(TopologyAffinityFilter::kInfo);
  registry.Add(SessionAffinityFilter::kInfo);
  registry.Add(SessionAffinityFilter::kMulticlusterInfo);
  registry.Add(HeaderBasedTestingFilter::kInfo);
  registry.Add(PrefixCacheScorer::kInfo);
  registry.Add(PrecisePrefixCacheScorer::kInfo);
  registry.Add(QueueScorer::kInfo);
  registry.Add(RunningRequestsSizeScorer::kInfo);
  registry.Add(KvCacheUtilizationScorer::kInfo);
  registry.Add(LoadAwareScorer::kInfo);
  registry.Add(ActiveRequestScorer::kInfo);
  registry.Add(NoHitLruScorer::kInfo);
  registry.Add(TokenLoadScorer::kInfo);
  registry.Add(LoraAffinityScorer::kInfo);
  registry.Add(ContextLengthAware::kInfo);
  registry.Add(MmEmbeddingsCacheScorer::kInfo);
  registry.Add(LatencyScorer::kInfo);
  registry.Add(EndpointAttributeScorer::kInfo);
  registry.Add(HeaderLabelAffinityScorer::kInfo);
  registry.Add(TopologyAffinityScorer::kInfo);
  registry.Add(PrefixCacheScorer::kMulticlusterInfo);
  registry.Add(MulticlusterKvCacheUtilizationScorer::kInfo);
  registry.Add(MulticlusterQueueScorer::kInfo);
  registry.Add(SessionAffinityScorer::kInfo);
  registry.Add(MaxScorePicker::kInfo);
  registry.Add(RandomPicker::kInfo);
  registry.Add(WeightedRandomPicker::kInfo);
  registry.Add(PowerOfTwoPicker::kInfo);
  registry.Add(ConsistentHashPicker::kInfo);
  registry.Add(SoftmaxPicker::kInfo);
  registry.Add(WeightedRoundRobinPicker::kInfo);
  registry.Add(RequestAttributeReporter::kInfo);
  registry.Add(DestinationEndpointServedVerifier::kInfo);
  registry.Add(SharedObjectPlugin::kInfo);
  for (const PluginInfo& info : FlowPolicy::Types()) registry.Add(info);
  registry.Add(MetricsDataSource::kInfo);
  registry.Add(CoreMetricsExtractor::kInfo);
  registry.Add(MetricsDataSource::kModels);
  registry.Add(ModelsExtractor::kInfo);
  registry.Add(MetricsDataSource::kDcgm);
  registry.Add(DcgmExtractor::kInfo);
  registry.Add(NotificationSource::kEndpoint);
  registry.Add(NotificationSource::kKubernetes);
  registry.Add(TopologyExtractor::kInfo);
  registry.Add(FileDiscovery::kInfo);
  registry.Add(StaticDiscovery::kInfo);
  registry.Add(DnsDiscovery::kInfo);
  registry.Add(RequestParser::kOpenAi);
  registry.Add(RequestParser::kAnthropic);
  registry.Add(RequestParser::kVllmHttp);
  registry.Add(RequestParser::kSglangHttp);
  registry.Add(RequestParser::kVllmGrpc);
  registry.Add(RequestParser::kVertexAi);
  registry.Add(RequestParser::kPassthrough);
  registry.SetDefaultProducer(DataKind::kTokenizedPrompt, TokenProducer::kInfo.type);
  registry.SetDefaultProducer(DataKind::kPrefixMatch, ApproxPrefixCacheProducer::kInfo.type);
  registry.SetDefaultProducer(DataKind::kInflightLoad, InflightLoadProducer::kInfo.type);
  registry.SetDefaultProducer(DataKind::kLatencyPrediction, PredictedLatencyProducer::kInfo.type);
  registry.SetDefaultProducer(DataKind::kEncoderMatch, MmEmbeddingsCacheProducer::kInfo.type);
  return registry;
}

}  // namespace sluice::schedule
