#include "schedule/policy.h"

namespace sluice::schedule {

PolicyState::PolicyState(std::shared_ptr<const Policy> policy, const StateLimits& limits)
    : policy_(std::move(policy)), limits_(limits) {
  for (const auto& plugin : policy_->plugins) states_.push_back(plugin->MakeState(limits_));
  for (const BoundProducer& bound : policy_->producers) board_.Add(bound.producer->MakeData());
}

const PluginState* PolicyState::StateOf(std::string_view plugin) const {
  const Plugin* found = policy_->Find(plugin);
  return found != nullptr ? states_[found->index()].get() : nullptr;
}

}  // namespace sluice::schedule
