#include "schedule/policy.h"

namespace sluice::schedule {

namespace {

// The memory that `plugin` had in the policy before this one, or nullptr.
std::shared_ptr<PluginState> Inherited(const Plugin& plugin, const Policy& policy, const PluginStates& states) {
  const Plugin* before = policy.Find(plugin.name());
  if (before == nullptr || before->info().type != plugin.info().type) return nullptr;
  return before->parameters_text() == plugin.parameters_text() ? states[before->index()] : nullptr;
}

}  // namespace

PolicyState::PolicyState(std::shared_ptr<const Policy> policy, const StateOptions& options, const PolicyState* previous)
    : policy_(std::move(policy)), options_(options) {
  for (const auto& plugin : policy_->plugins) {
    std::shared_ptr<PluginState> state;
    if (previous != nullptr) state = Inherited(*plugin, *previous->policy_, previous->states_);
    states_.push_back(state != nullptr ? std::move(state) : plugin->MakeState(options_));
  }
  for (const BoundProducer& bound : policy_->producers) board_.Add(bound.producer->MakeData());
}

void PolicyState::AppendMatches(std::vector<RecordedMatch>& out) const {
  for (const BoundProducer& bound : policy_->producers) {
    if (!bound.producer->FromOutside()) continue;
    if (const auto* match = board_.Get<PrefixMatch>(bound.slot)) {
      out.push_back(RecordedMatch::Of(options_.lane, bound.plugin->name(), *match));
    }
  }
}

const PluginState* PolicyState::StateOf(std::string_view plugin) const {
  const Plugin* found = policy_->Find(plugin);
  return found != nullptr ? states_[found->index()].get() : nullptr;
}

}  // namespace sluice::schedule
