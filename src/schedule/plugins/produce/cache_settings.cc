#include "schedule/plugins/produce/cache_settings.h"

#include <array>

#include "base/text.h"

namespace sluice::schedule {
namespace {

using codec::yaml::MapReader;
using codec::yaml::Node;
using codec::yaml::Problems;

constexpr int64_t kBlockSizeMax = 1 << 16;
constexpr int64_t kBytesPerKey = 37;  // of the index and the map from engine hashes (prefix_index.h)
constexpr int64_t kBytesMax = int64_t{1} << 40;
constexpr size_t kSpeculativeBytes = size_t{4} << 20;  // an index cannot be smaller

void ReadTokens(MapReader tokens, CacheSettings& settings) {
  const char* name = !tokens.Has("blockSizeTokens") && tokens.Has("blockSize") ? "blockSize" : "blockSizeTokens";
  settings.block_size_tokens = static_cast<uint32_t>(tokens.Int(name, 16, {.min = 1, .max = kBlockSizeMax}));
  if (tokens.Has("blockSize")) tokens.Warn("blockSize", "is deprecated: use blockSizeTokens");
  settings.hash_seed = tokens.String("hashSeed");
  const std::string algorithm = tokens.String("hashAlgorithm");
  if (const auto parsed = kvindex::ParseKeyAlgorithm(algorithm)) {
    settings.hash_algorithm = *parsed;
  } else {
    tokens.Error("hashAlgorithm", parsed.error().message);
  }
  tokens.Finish();
}

void ReadIndex(MapReader index, CacheSettings& settings) {
  if (index.Has("redisConfig") || index.Has("valkeyConfig")) {
    index.Error(index.Has("redisConfig") ? "redisConfig" : "valkeyConfig",
                "is not carried out: every router keeps its own index from its own subscription; leave it out");
  }
  int64_t bytes = static_cast<int64_t>(settings.bytes_max);
  MapReader memory = index.Map("inMemoryConfig");
  if (memory.Has("size")) {
    bytes = memory.Int("size", 0, {.min = 1, .max = kBytesMax / kBytesPerKey}) * kBytesPerKey;
  }
  if (memory.Has("podCacheSize"))
    memory.NotCarriedOut("podCacheSize", "has no effect: a block has any number of holders");
  memory.Finish();
  MapReader by_cost = index.Map("costAwareMemoryConfig");
  if (by_cost.Has("size")) bytes = by_cost.Quantity("size", 0);
  by_cost.Finish();
  if (bytes > kBytesMax) index.Error("costAwareMemoryConfig", "size must be at most 1Ti");
  settings.bytes_max = std::max(kSpeculativeBytes, static_cast<size_t>(std::max<int64_t>(0, bytes)));
  index.Bool("enableMetrics", true);  // they are always there
  index.NotCarriedOut("metricsLoggingInterval", "has no effect: /metrics and `sluice get cache` show the same");
  index.Finish();
}

void ReadIndexer(MapReader indexer, Problems& problems, CacheParameters& out) {
  ReadIndex(indexer.Map("kvBlockIndexConfig"), out.settings);
  for (const std::string_view field : {"kvCacheBackendConfigs", "backendConfigs"}) {
    indexer.Each(field, [&](const Node& node, const std::string& path) {
      MapReader tier(node, path, problems);
      const std::string name = tier.RequiredString("name");
      const double weight = tier.Number("weight", 1, {.min = 0, .max = 1000});
      out.tier_weights.emplace_back(AsciiLower(name), static_cast<float>(weight));
      tier.Finish();
    });
  }
  if (indexer.Has("tokenizersPoolConfig")) {
    indexer.Error("tokenizersPoolConfig", "is not carried out: give the plugin token-producer a tokenizer instead");
  }
  if (indexer.Has("tokenProcessorConfig")) ReadTokens(indexer.Map("tokenProcessorConfig"), out.settings);
  indexer.Finish();
}

void ReadEvents(MapReader events, CacheEvents& out) {
  constexpr std::array<std::string_view, 2> kEngines = {"vllm", "sglang"};
  out.bind_endpoint = events.String("zmqEndpoint");
  out.topic_filter = events.String("topicFilter", "kv@");
  out.concurrency = static_cast<uint32_t>(events.Int("concurrency", 4, {.min = 1, .max = 64}));
  const std::string engine = events.String("engineType", "vllm");
  if (!engine.empty() && engine != "vllm" && engine != "sglang") events.Choice("engineType", "vllm", kEngines);
  out.sglang = engine == "sglang";
  out.discover_pods = events.Bool("discoverPods", true);
  MapReader pods = events.Map("podDiscoveryConfig");
  constexpr std::string_view kPool = "has no effect: every endpoint of the pool is subscribed to";
  pods.NotCarriedOut("podLabelSelector", kPool);
  pods.NotCarriedOut("podNamespace", kPool);
  out.port = static_cast<uint16_t>(pods.Int("socketPort", 5557, {.min = 1, .max = 65535}));
  out.replay_port = static_cast<uint16_t>(pods.Int("replaySocketPort", 0, {.min = 0, .max = 65535}));
  pods.Finish();
  if (!out.discover_pods && out.bind_endpoint.empty()) {
    events.Error("discoverPods", "is false and there is no zmqEndpoint: no events would come");
  }
  events.Finish();
}

}  // namespace

kvindex::HoldingWeights CacheParameters::WeightsFor(kvindex::PrefixIndex& index) const {
  std::array<float, kvindex::kHoldings> weights = {1.0f, 0.8f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
  for (const auto& [name, weight] : tier_weights) weights[index.Tier(name)] = weight;
  return kvindex::HoldingWeights(weights);
}

CacheParameters CacheParameters::Read(const Params& params, Problems& problems) {
  CacheParameters out;
  const auto map = [&](std::string_view name) {
    return MapReader(params.Node(name), params.path() + "." + std::string(name), problems);
  };
  ReadIndexer(map("indexerConfig"), problems, out);
  if (params.IsSet("tokenProcessorConfig")) ReadTokens(map("tokenProcessorConfig"), out.settings);
  ReadEvents(map("kvEventsConfig"), out.settings.events);
  out.settings.speculative_ttl = params.DurationOf("speculativeTTL");
  if (out.settings.speculative_ttl <= Duration(0)) {
    problems.Error(params.line(), params.path() + ".speculativeTTL", "must be more than 0");
  }
  return out;
}

}  // namespace sluice::schedule
