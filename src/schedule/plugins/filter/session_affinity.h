// SessionAffinity: what session-affinity-filter and -scorer share. A session goes to the endpoint that it had before.
// How the endpoint is known: by a token that the client got with the answer and sends again (encoded_endpoint_header),
// or by a table from session id to endpoint (session_id), which forgets unused sessions and is bounded. Thread rule:
// immutable; what is remembered is a PluginState. Cost: a hash of the session id and two map look-ups a decision; the
// map of endpoints is made again when endpoints come or go.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "schedule/plugin.h"

namespace sluice::schedule {

inline constexpr ParamSpec kSessionAffinityParams[] = {
    {.name = "strategy",
     .type = ParamType::kString,
     .fallback = "encoded_endpoint_header",
     .help = "encoded_endpoint_header: a token that the client sends back; session_id: a table by session id"},
    {.name = "profileName",
     .type = ParamType::kString,
     .help = "profile whose endpoint is meant; default the one that serves the request"},
    {.name = "encodedEndpointHeaderConfig",
     .type = ParamType::kNode,
     .help = "{header}: request and response header of the token, default x-session-token"},
    {.name = "sessionIdConfig",
     .type = ParamType::kNode,
     .help = "{sources: [{header} or {attribute, producer}], evictionTtlSeconds: 300, evictionSweepSeconds: 10}; "
             "default source is the header x-session-id"},
};

class SessionAffinity {
 public:
  static constexpr size_t kNoCandidate = ~size_t{0};
  SessionAffinity(const Params& params, codec::yaml::Problems& problems);
  std::vector<Need> Needs() const;
  void Bind(std::span<const int> slots) { slots_.assign(slots.begin(), slots.end()); }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const;

  // The position of the session's endpoint among the candidates; kNoCandidate: no session, no endpoint yet, or it is
  // not among them.
  size_t Find(const DecisionInput& in, const Candidates& candidates, PluginState& state) const;

  void OnDispatch(const DecisionInput& in, const model::Decision& decision, const Plugin& plugin, PluginState& state,
                  Ticket& ticket) const;
  void OnResponseHead(const Ticket& ticket, const Plugin& plugin, HeaderList& add) const;

  // Sessions in the table, for tests and metrics.
  static size_t Sessions(const PluginState& state);

 private:
  struct Source {
    enum class Kind : uint8_t { kHeader, kSessionId, kAgentIdentity };
    Kind kind = Kind::kHeader;
    std::string name;  // of the header or of the producer
    size_t need = 0;   // index of the slot
  };
  void ReadSources(const codec::yaml::Node& node, const std::string& path, codec::yaml::Problems& problems);
  std::string_view SessionOf(const DecisionInput& in) const;

  bool by_token_ = true;
  std::string token_header_;
  std::string profile_;  // whose pick is meant; empty: the primary's
  std::vector<Source> sources_;
  size_t producers_ = 0;
  Duration ttl_{};
  Duration sweep_every_{};
  std::vector<int> slots_;
};

}  // namespace sluice::schedule
