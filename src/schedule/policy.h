// Policy: a loaded EndpointPickerConfig, immutable, shared by shards. PolicyState: what one shard remembers for it.
// Thread rule: a Policy any thread; a PolicyState one owner. Ownership: a state keeps its policy alive.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvindex/approx_prefix_index.h"
#include "schedule/plugin.h"
#include "schedule/recorded_match.h"

namespace sluice::schedule {

struct WeightedScorer {
  const Scorer* scorer;
  float weight;
};

struct Profile {
  std::string name;
  std::vector<const Filter*> filters;
  std::vector<WeightedScorer> scorers;
  const Picker* picker = nullptr;
  std::shared_ptr<const model::ReceiptColumns> columns;
};

struct BoundProducer {
  const Producer* producer;
  const Plugin* plugin;
  int slot;
};

class Policy {
 public:
  std::vector<std::unique_ptr<Plugin>> plugins;
  std::vector<Profile> profiles;
  std::vector<const HeaderReader*> header_readers;
  std::vector<const Screener*> screeners;
  std::shared_ptr<const std::vector<std::string>> screener_names;  // null: none
  std::vector<BoundProducer> producers;                            // in the order they run
  const SaturationDetector* saturation_detector = nullptr;
  const Plugin* saturation_plugin = nullptr;
  std::vector<const Admitter*> admitters;
  std::vector<std::pair<const Hooks*, const Plugin*>> hooks;
  const ProfileHandler* handler = nullptr;
  const Plugin* handler_plugin = nullptr;
  int tokens_slot = Board::kNoSlot;  // for receipts: whose tokens and matches are shown
  int prefix_slot = Board::kNoSlot;
  int latency_slot = Board::kNoSlot;

  const Plugin* Find(std::string_view name) const {
    for (const auto& plugin : plugins) {
      if (plugin->name() == name) return plugin.get();
    }
    return nullptr;
  }
};

class PolicyState {
 public:
  // `previous`: the state of the policy that this one replaces. Plugins of the same name, type and parameters go on
  // with the memory they had; both states then share it, so tickets of the old one can still end.
  explicit PolicyState(std::shared_ptr<const Policy> policy, const StateOptions& options = {},
                       const PolicyState* previous = nullptr);

  const Policy& policy() const { return *policy_; }
  size_t open_tickets() const { return open_tickets_; }  // dispatched and not ended
  // The state of the plugin of that name, for metrics and tests; nullptr when it keeps none.
  const PluginState* StateOf(std::string_view plugin) const;
  // What producers that read from outside found for the latest decision, appended under the policy's name.
  void AppendMatches(std::vector<RecordedMatch>& out) const;

 private:
  friend class DecisionRun;
  friend Ticket OnDispatch(const model::Request&, const model::PoolView&, PolicyState&, const model::Decision&,
                           const Clock&);
  friend void OnFirstChunk(PolicyState&, Ticket&);
  friend void OnResponseHead(PolicyState&, const Ticket&, const ResponseHead&, HeaderList&);
  friend ReportedAttributes OnResponseEnd(PolicyState&, Ticket&&, const ResponseEnd&);

  std::shared_ptr<const Policy> policy_;
  StateOptions options_;
  PluginStates states_;
  uint64_t serial_ = 0;
  uint64_t members_version_ = 0;
  size_t open_tickets_ = 0;

  // Scratch of a decision, reused.
  Board board_;
  Candidates base_;
  Candidates left_;
  std::vector<int16_t> base_verdicts_;  // by row
  std::vector<int16_t> verdicts_;       // by row, of the profile that runs
  std::vector<uint8_t> keep_;
  std::vector<uint8_t> screened_;
  std::vector<float> matrix_;  // raw scores, one line of candidates a scorer
  std::vector<float> totals_;
  std::vector<uint32_t> picked_;
  std::vector<double> pick_scratch_;
  std::vector<uint64_t> order_;  // of a receipt's candidates, as OrderRest packs them
  ProfileResults results_;
  std::vector<ProfileRun> next_;
};

}  // namespace sluice::schedule
