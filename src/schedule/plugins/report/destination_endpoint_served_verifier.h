// destination-endpoint-served-verifier: tells a conformance test, in a response header, which endpoint the proxy says
// it used.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class DestinationEndpointServedVerifier final : public Plugin, public Hooks {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  void OnResponseHead(const Ticket& ticket, const ResponseHead& head, PluginState* state,
                      HeaderList& add) const override;
};

}  // namespace sluice::schedule
