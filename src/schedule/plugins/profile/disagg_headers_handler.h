// disagg-headers-handler and prefill-header-handler: write the stages' headers for a profile handler that does not.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class DisaggHeadersHandler final : public Plugin, public Hooks {
 public:
  static const PluginInfo kInfo;
  static const PluginInfo kPrefillInfo;  // prefill-header-handler
  DisaggHeadersHandler(const PluginInfo& info, std::string name, const Params& params);
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

 private:
  std::string prefill_profile_;
  std::string encode_profile_;
};

}  // namespace sluice::schedule
