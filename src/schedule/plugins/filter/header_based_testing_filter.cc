#include "schedule/plugins/filter/header_based_testing_filter.h"

#include <algorithm>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr std::string_view kHeader = "test-epp-endpoint-selection";

struct HostPort {
  std::string_view address;
  uint16_t port = 0;  // 0: any
};

// "10.0.0.1", "10.0.0.1:8000", "[::1]:8000", "::1".
HostPort ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  const bool bracketed = text.starts_with('[');
  if (colon == std::string_view::npos || (!bracketed && text.find(':') != colon)) return {text};
  const auto port = ParseNumber<uint16_t>(text.substr(colon + 1));
  std::string_view address = port ? text.substr(0, colon) : text;
  if (bracketed && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  return {address, port.value_or(0)};
}

}  // namespace

constinit const PluginInfo HeaderBasedTestingFilter::kInfo = {
    .type = "header-based-testing-filter",
    .help =
        "Keeps the endpoints that the header test-epp-endpoint-selection lists as ip or ip:port; none without the "
        "header. An ip stands for its first endpoint.",
    .make = MakePlain<HeaderBasedTestingFilter>};

void HeaderBasedTestingFilter::Keep(const DecisionInput& in, const Candidates& candidates,
                                    std::span<uint8_t> keep) const {
  std::fill(keep.begin(), keep.end(), 0);
  const std::string_view header = in.request.Header(kHeader);
  for (size_t at = 0; at < header.size();) {
    const size_t comma = std::min(header.find(',', at), header.size());
    const HostPort wanted = ParseHostPort(TrimSpace(header.substr(at, comma - at)));
    at = comma + 1;
    for (size_t i = 0; i < keep.size(); ++i) {
      const model::Endpoint& endpoint = in.pool.endpoint(candidates.row(i));
      if (endpoint.address != wanted.address || (wanted.port != 0 && endpoint.port != wanted.port)) continue;
      keep[i] = 1;
      break;
    }
  }
}

}  // namespace sluice::schedule
