#include "serving/name_discovery.h"

#include <algorithm>
#include <set>

#include "net/address.h"
#include "observe/log.h"

namespace sluice::serving {

using observe::Level;
using observe::Log;

namespace {
constexpr std::string_view kModule = "pool";
constexpr int kStableAfter = 3;
constexpr int kStableFactor = 6;
}  // namespace

NameDiscovery::NameDiscovery(runtime::Loop& loop, RouterMetrics& metrics, Options options,
                             std::function<void()> changed)
    : loop_(loop),
      metrics_(metrics),
      pool_(std::move(options.pool)),
      changed_(std::move(changed)),
      resolver_(loop, std::move(options.resolver)),
      tasks_(loop) {
  for (EndpointName& name : options.names) states_.push_back({.name = std::move(name)});
}

void NameDiscovery::Start() {
  for (State& state : states_) tasks_.Spawn(Watch(&state));
}

runtime::Task<> NameDiscovery::Watch(State* state) {
  for (;;) {
    auto answer = co_await resolver_.Resolve(state->name.host);
    Take(*state, std::move(answer));
    const int factor = state->same >= kStableAfter && state->problem.empty() ? kStableFactor : 1;
    co_await runtime::SleepFor(loop_, state->name.interval * factor);
  }
}

void NameDiscovery::Take(State& state, Result<net::Resolver::Answer> answer) {
  state.asked = true;
  if (!answer) {
    metrics_.ScrapeFailed("dns-discovery");
    if (state.problem.empty()) {
      Log(Level::kError, kModule,
          state.addresses.empty() ? "a name does not resolve; it is asked again"
                                  : "a name does not resolve any more, keeping the addresses it had",
          {{"pool", pool_},
           {"name", state.name.host},
           {"addresses", state.addresses.size()},
           {"error", answer.error().message}});
    }
    state.problem = answer.error().message;
    return;
  }
  if (!state.problem.empty()) {
    Log(Level::kInfo, kModule, "a name resolves again", {{"pool", pool_}, {"name", state.name.host}});
    state.problem.clear();
  }
  if (answer->addresses == state.addresses) {
    ++state.same;
    return;
  }
  state.same = 1;
  if (answer->cut) {
    Log(Level::kWarn, kModule, "a name has more addresses than are used",
        {{"pool", pool_}, {"name", state.name.host}, {"used", answer->addresses.size()}});
  }
  state.addresses = std::move(answer->addresses);
  changed_();
}

std::vector<model::Endpoint> NameDiscovery::Endpoints() const {
  std::vector<model::Endpoint> endpoints;
  std::set<std::string> seen;
  for (const State& state : states_) {
    for (const std::string& address : state.addresses) {
      const std::string text = net::Address{address, state.name.port}.ToString();
      if (!seen.insert(text).second) continue;
      endpoints.push_back({.id = "default/" + text,
                           .name = text,
                           .address = address,
                           .port = state.name.port,
                           .scheme = state.name.scheme});
    }
  }
  return endpoints;
}

bool NameDiscovery::Asked() const {
  return std::all_of(states_.begin(), states_.end(), [](const State& state) { return state.asked; });
}

}  // namespace sluice::serving
