// always-disagg-pd-decider and always-disagg-multimodal-decider: a stage of its own for every request, and for every
// request with an image, a video or a sound.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class AlwaysDisaggPdDecider final : public Plugin, public Decider {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  bool Disaggregate(const DecisionInput& in, const model::Target* endpoint) const override;
};

class AlwaysDisaggMultimodalDecider final : public Plugin, public Decider {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  bool Disaggregate(const DecisionInput& in, const model::Target* endpoint) const override;
};

}  // namespace sluice::schedule
