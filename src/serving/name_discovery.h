// NameDiscovery: the endpoints behind DNS names: each address of a name is one. A name is asked again every interval,
// and six times as seldom once three answers in a row were the same. A name that stops resolving keeps its last
// addresses; a log line and datalayer_poll_errors_total{source_type="dns-discovery"} say so. Thread rule: the loop's
// thread. Ownership: borrows the loop and the metrics; its tasks end with it. Cost: one look-up a name an interval.
// Limit: 1,024 addresses a name.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/endpoint.h"
#include "net/dns.h"
#include "serving/router_metrics.h"

namespace sluice::serving {

struct EndpointName {
  std::string host;
  uint16_t port = 0;
  Duration interval = std::chrono::seconds(5);
  model::Scheme scheme = model::Scheme::kOfPool;
  bool operator==(const EndpointName&) const = default;
};

class NameDiscovery {
 public:
  struct Options {
    std::string pool;  // for logs
    std::vector<EndpointName> names;
    net::Resolver::Options resolver;
  };
  // `changed` is called whenever Endpoints() has others.
  NameDiscovery(runtime::Loop& loop, RouterMetrics& metrics, Options options, std::function<void()> changed);
  NameDiscovery(const NameDiscovery&) = delete;

  void Start();
  // By the last answers, in order of names, each address and port once. The id is "default/<address>:<port>".
  std::vector<model::Endpoint> Endpoints() const;
  // Every name has been answered once, be it that it does not exist.
  bool Asked() const;

 private:
  struct State {
    EndpointName name;
    std::vector<std::string> addresses;
    std::string problem;
    bool asked = false;
    int same = 0;  // answers in a row
  };
  runtime::Task<> Watch(State* state);
  void Take(State& state, Result<net::Resolver::Answer> answer);

  runtime::Loop& loop_;
  RouterMetrics& metrics_;
  std::string pool_;
  std::vector<State> states_;
  std::function<void()> changed_;
  net::Resolver resolver_;
  runtime::TaskScope tasks_;  // last: its tasks refer to the rest
};

}  // namespace sluice::serving
