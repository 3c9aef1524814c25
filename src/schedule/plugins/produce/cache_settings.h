// The parameters of precise prefix producers, upstream's: tokenProcessorConfig, indexerConfig, kvEventsConfig.
// Thread rule: load time only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "codec/yaml/reader.h"
#include "schedule/cache_index.h"
#include "schedule/params.h"

namespace sluice::schedule {

struct CacheParameters {
  CacheSettings settings;
  std::vector<std::pair<std::string, float>> tier_weights;  // by the events' names of tiers, lower case

  // What the index makes of the weights.
  kvindex::HoldingWeights WeightsFor(kvindex::PrefixIndex& index) const;
  // Reads the three maps; what is wrong with them goes to `problems`.
  static CacheParameters Read(const Params& params, codec::yaml::Problems& problems);
};

}  // namespace sluice::schedule
