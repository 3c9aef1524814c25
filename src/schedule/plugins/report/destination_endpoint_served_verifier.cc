#include "schedule/plugins/report/destination_endpoint_served_verifier.h"

namespace sluice::schedule {

constinit const PluginInfo DestinationEndpointServedVerifier::kInfo = {
    .type = "destination-endpoint-served-verifier",
    .help = "For conformance tests: sets x-conformance-test-served-endpoint to the endpoint that answered.",
    .make = MakePlain<DestinationEndpointServedVerifier>};

void DestinationEndpointServedVerifier::OnResponseHead(const Ticket&, const ResponseHead& head, PluginState*,
                                                       HeaderList& add) const {
  add.emplace_back(
      "x-conformance-test-served-endpoint",
      head.served.empty() ? "fail: the proxy did not say which endpoint served the request" : std::string(head.served));
}

}  // namespace sluice::schedule
