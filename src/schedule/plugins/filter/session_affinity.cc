#include "schedule/plugins/filter/session_affinity.h"

#include <algorithm>
#include <array>
#include <list>
#include <unordered_map>

#include "base/base64.h"
#include "base/text.h"
#include "schedule/plugins/node_map.h"

namespace sluice::schedule {
namespace {

constexpr std::array<std::string_view, 2> kStrategies = {"encoded_endpoint_header", "session_id"};
constexpr std::array<std::string_view, 3> kAttributes = {"SessionIDDataKey", "session-id", "agent-identity"};

struct SessionState final : PluginState {
  struct Binding {
    uint64_t session;
    std::string endpoint;  // id
    TimePoint used;
  };
  explicit SessionState(size_t limit) : sessions_max(limit) {}

  // The row of the endpoint with that id, or kNoRow.
  uint32_t RowOf(const model::PoolView& pool, std::string_view endpoint) {
    if (members != pool.members) {
      members = pool.members;
      rows.clear();
      for (uint32_t row = 0; row < members->size(); ++row) rows.emplace(members->endpoints[row]->id, row);
    }
    const auto at = rows.find(endpoint);
    return at == rows.end() ? model::PoolMembers::kNoRow : at->second;
  }
  // The session's binding unless it is past its time.
  Binding* BindingOf(uint64_t session, TimePoint now, Duration ttl) {
    const auto at = by_session.find(session);
    return at == by_session.end() || now - at->second->used > ttl ? nullptr : &*at->second;
  }
  // Makes or changes the binding, now the latest used.
  void BindTo(uint64_t session, const std::string& endpoint, TimePoint now) {
    const auto [at, added] = by_session.try_emplace(session);
    if (added) {
      at->second = bindings.insert(bindings.end(), {session, endpoint, now});
    } else {
      bindings.splice(bindings.end(), bindings, at->second);
      at->second->endpoint = endpoint;
      at->second->used = now;
    }
    if (by_session.size() > sessions_max) DropOldest();
  }
  void Sweep(TimePoint now, Duration ttl) {
    swept = now;
    while (!bindings.empty() && now - bindings.front().used > ttl) DropOldest();
  }
  void DropOldest() {
    by_session.erase(bindings.front().session);
    bindings.pop_front();
  }

  size_t sessions_max;
  std::shared_ptr<const model::PoolMembers> members;
  std::unordered_map<std::string_view, uint32_t> rows;  // views into the members
  std::list<Binding> bindings;                          // the longest unused first
  std::unordered_map<uint64_t, std::list<Binding>::iterator> by_session;
  TimePoint swept{};
  std::optional<uint64_t> found;  // session whose endpoint was among the candidates of the latest decision
};

// A stranger chooses the id and its length; two that collide share an endpoint, which does no harm.
uint64_t KeyOf(std::string_view session) { return std::hash<std::string_view>{}(session); }

struct TokenMemo final : RequestMemo {
  std::string token;
};

}  // namespace

SessionAffinity::SessionAffinity(const Params& params, codec::yaml::Problems& problems)
    : profile_(params.String("profileName")) {
  const std::string& strategy = params.String("strategy");
  if (std::find(kStrategies.begin(), kStrategies.end(), strategy) == kStrategies.end()) {
    problems.Error(
        params.line(), params.path() + ".strategy",
        "expected encoded_endpoint_header or session_id, got \"" + strategy + "\"" + DidYouMean(strategy, kStrategies));
  }
  by_token_ = strategy != kStrategies[1];
  const codec::yaml::Node map = NodeMap(params, {"encodedEndpointHeaderConfig", "sessionIdConfig"});
  codec::yaml::MapReader reader(map, params.path(), problems);
  codec::yaml::MapReader token = reader.Map("encodedEndpointHeaderConfig");
  token_header_ = AsciiLower(token.String("header", "x-session-token"));
  token.Finish();
  codec::yaml::MapReader table = reader.Map("sessionIdConfig");
  table.Each("sources",
             [&](const codec::yaml::Node& node, const std::string& path) { ReadSources(node, path, problems); });
  if (sources_.empty()) sources_.push_back({Source::Kind::kHeader, "x-session-id"});
  ttl_ = FromSeconds(table.Number("evictionTtlSeconds", 300, {.min = 0.001, .max = 1e9}));
  sweep_every_ = FromSeconds(table.Number("evictionSweepSeconds", 10, {.min = 0.001, .max = 1e9}));
  table.Finish();
  if (reader.Has(by_token_ ? "sessionIdConfig" : "encodedEndpointHeaderConfig")) {
    reader.Warn(by_token_ ? "sessionIdConfig" : "encodedEndpointHeaderConfig",
                "has no effect with strategy " + strategy);
  }
}

void SessionAffinity::ReadSources(const codec::yaml::Node& node, const std::string& path,
                                  codec::yaml::Problems& problems) {
  codec::yaml::MapReader item(node, path, problems);
  Source source;
  if (item.Has("header") == item.Has("attribute")) {
    problems.Error(node, path, "needs either header or attribute");
  }
  const std::string producer = item.String("producer");
  if (item.Has("header")) {
    source = {Source::Kind::kHeader, AsciiLower(item.String("header"))};
    if (item.Has("producer")) item.Error("producer", "goes with attribute, not with header");
  } else {
    const std::string attribute = item.Choice("attribute", "", kAttributes);
    source.kind = attribute == kAttributes[2] ? Source::Kind::kAgentIdentity : Source::Kind::kSessionId;
    source.name = producer;
    if (source.kind == Source::Kind::kSessionId) source.need = producers_++;
  }
  item.Finish();
  sources_.push_back(std::move(source));
}

std::vector<Need> SessionAffinity::Needs() const {
  std::vector<Need> needs;
  for (const Source& source : sources_) {
    if (!by_token_ && source.kind == Source::Kind::kSessionId) needs.push_back({DataKind::kSessionId, source.name});
  }
  return needs;
}

std::shared_ptr<PluginState> SessionAffinity::MakeState(const StateOptions& options) const {
  return std::make_shared<SessionState>(std::max<size_t>(options.sessions_max, 1));
}

std::string_view SessionAffinity::SessionOf(const DecisionInput& in) const {
  for (const Source& source : sources_) {
    std::string_view session;
    switch (source.kind) {
      case Source::Kind::kHeader:
        session = TrimSpace(in.request.Header(source.name));
        break;
      case Source::Kind::kSessionId:
        if (const auto* id = in.board.Get<SessionId>(slots_[source.need])) session = id->value;
        break;
      case Source::Kind::kAgentIdentity:
        session = in.request.session_id;
        break;
    }
    if (!session.empty()) return session;
  }
  return {};
}

size_t SessionAffinity::Find(const DecisionInput& in, const Candidates& candidates, PluginState& state) const {
  auto& sessions = static_cast<SessionState&>(state);
  sessions.found.reset();
  uint32_t row = model::PoolMembers::kNoRow;
  std::optional<uint64_t> key;
  if (by_token_) {
    const std::string_view token = TrimSpace(in.request.Header(token_header_));
    const auto endpoint = token.empty() ? std::nullopt : Base64Decode(token);
    if (endpoint) row = sessions.RowOf(in.pool, *endpoint);
  } else if (const std::string_view session = SessionOf(in); !session.empty()) {
    key = KeyOf(session);
    const auto* binding = sessions.BindingOf(*key, in.now, ttl_);
    if (binding != nullptr) row = sessions.RowOf(in.pool, binding->endpoint);
  }
  if (row == model::PoolMembers::kNoRow) return kNoCandidate;
  const std::span<const uint32_t> rows = candidates.rows();  // ascending
  const auto at = std::lower_bound(rows.begin(), rows.end(), row);
  if (at == rows.end() || *at != row) return kNoCandidate;
  sessions.found = key;
  return static_cast<size_t>(at - rows.begin());
}

void SessionAffinity::OnDispatch(const DecisionInput& in, const model::Decision& decision, const Plugin& plugin,
                                 PluginState& state, Ticket& ticket) const {
  const model::ProfileTargets* chosen = profile_.empty() ? &decision.profiles[decision.primary] : nullptr;
  for (const model::ProfileTargets& profile : decision.profiles) {
    if (profile.profile == profile_) chosen = &profile;
  }
  auto& sessions = static_cast<SessionState&>(state);
  const std::optional<uint64_t> found = std::exchange(sessions.found, std::nullopt);
  if (chosen == nullptr) return;
  const std::string& endpoint = chosen->targets.front().endpoint->id;
  if (by_token_) {
    auto memo = std::make_unique<TokenMemo>();
    memo->token = Base64Encode(endpoint);
    ticket.memos.emplace_back(plugin.index(), std::move(memo));
    return;
  }
  if (in.now - sessions.swept >= sweep_every_) sessions.Sweep(in.now, ttl_);
  const std::string_view session = SessionOf(in);
  if (session.empty()) return;
  const uint64_t key = KeyOf(session);
  // A session moves only when it had to: as long as its endpoint could be chosen, a request that went elsewhere (a
  // scorer is only a preference) is an exception.
  const auto* binding = found == key ? sessions.BindingOf(key, in.now, ttl_) : nullptr;
  sessions.BindTo(key, binding != nullptr ? std::string(binding->endpoint) : endpoint, in.now);
}

void SessionAffinity::OnResponseHead(const Ticket& ticket, const Plugin& plugin, HeaderList& add) const {
  const auto* memo = static_cast<const TokenMemo*>(ticket.MemoOf(plugin));
  if (memo == nullptr) return;
  std::erase_if(add, [&](const auto& header) { return header.first == token_header_; });
  add.emplace_back(token_header_, memo->token);
}

size_t SessionAffinity::Sessions(const PluginState& state) {
  return static_cast<const SessionState&>(state).by_session.size();
}

}  // namespace sluice::schedule
