#include "model/endpoint.h"

#include <algorithm>

namespace sluice::model {

Scheme SchemeOf(std::string_view name) {
  const auto found = std::find(kSchemes.begin(), kSchemes.end(), name);
  return found == kSchemes.end() ? Scheme::kOfPool : static_cast<Scheme>(found - kSchemes.begin() + 1);
}

std::string_view Name(Scheme scheme) {
  return scheme == Scheme::kOfPool ? "" : kSchemes[static_cast<size_t>(scheme) - 1];
}

std::string Endpoint::host_port() const {
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

}  // namespace sluice::model
