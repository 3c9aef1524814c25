#include "model/endpoint.h"

namespace sluice::model {

std::string Endpoint::host_port() const {
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

}  // namespace sluice::model
