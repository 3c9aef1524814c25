// Where endpoints stand, and how near two of them are: shared by topology-affinity-filter and -scorer. Places come from
// labels, by default Kubernetes' well-known ones; a TopologySource of the configuration (topology-extractor) may name
// others. Each place is a small number worked out once a change of the pool's members, so that comparing is cheap.
// Thread rule: a PlaceTable has one owner, the rest is pure. Cost: O(endpoints) map look-ups at a change of members.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "schedule/plugin.h"

namespace sluice::schedule {

enum class Nearness : uint8_t { kNone, kRegion, kZone, kRack, kHost };  // nearer is greater

struct Place {
  std::string_view host, rack, zone, region;  // views into the endpoint; empty: not known
};

// A plugin that knows where endpoints stand.
class TopologySource {
 public:
  virtual ~TopologySource() = default;
  virtual Place PlaceOf(const model::Endpoint& endpoint) const = 0;
};

inline Place PlaceByWellKnownLabels(const model::Endpoint& endpoint) {
  const auto label = [&](const char* key) -> std::string_view {
    const auto at = endpoint.labels.find(key);
    return at != endpoint.labels.end() ? std::string_view(at->second) : std::string_view();
  };
  return {label("kubernetes.io/hostname"), label("topology.kubernetes.io/rack"), label("topology.kubernetes.io/zone"),
          label("topology.kubernetes.io/region")};
}

class PlaceTable final : public PluginState {
 public:
  // `source`: nullptr reads the well-known labels.
  void Refresh(const model::PoolView& pool, const TopologySource* source) {
    if (members_ == pool.members) return;
    members_ = pool.members;
    std::array<std::map<std::string, uint32_t, std::less<>>, 4> numbers;
    rows_.clear();
    rows_.reserve(members_->size());
    for (const auto& endpoint : members_->endpoints) {
      const Place place = source != nullptr ? source->PlaceOf(*endpoint) : PlaceByWellKnownLabels(*endpoint);
      const std::string_view levels[4] = {place.region, place.zone, place.rack, place.host};
      Levels row{};
      for (size_t level = 0; level < 4; ++level) {
        if (levels[level].empty()) continue;
        row[level] = numbers[level]
                         .try_emplace(std::string(levels[level]), static_cast<uint32_t>(numbers[level].size() + 1))
                         .first->second;
      }
      rows_.push_back(row);
    }
  }

  bool Known(uint32_t row) const { return rows_[row] != Levels{}; }

  // The closest level that both share. What is not known matches nothing, and a name shared within two different outer
  // places ("rack-1" of two zones) is not the same place.
  Nearness Between(uint32_t row, uint32_t peer) const {
    Nearness nearest = Nearness::kNone;
    for (size_t level = 0; level < 4; ++level) {
      const uint32_t mine = rows_[row][level], theirs = rows_[peer][level];
      if (mine == 0 || theirs == 0) continue;
      if (mine != theirs) return nearest;
      nearest = static_cast<Nearness>(level + 1);
    }
    return nearest;
  }

 private:
  using Levels = std::array<uint32_t, 4>;  // region, zone, rack, host; 0: not known
  std::shared_ptr<const model::PoolMembers> members_;
  std::vector<Levels> rows_;
};

// The source that `topologyProducerName` names; empty: topology-extractor, or where there is none the well-known
// labels, by nullptr.
inline const TopologySource* FindTopologySource(const std::string& name, const PluginFinder& find,
                                                const std::string& path, codec::yaml::Problems& problems) {
  const auto* source = dynamic_cast<const TopologySource*>(find(name.empty() ? "topology-extractor" : name));
  if (source == nullptr && !name.empty()) {
    problems.Error(0, path + ".topologyProducerName",
                   "'" + name + "' is not a plugin that knows where endpoints stand");
  }
  return source;
}

}  // namespace sluice::schedule
