#include "schedule/plugins/external/shared_object_plugin.h"

#include <algorithm>
#include <filesystem>
#include <type_traits>

#include "codec/json/write.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "path",
     .type = ParamType::kString,
     .help = "the shared object; relative to the folder of the configuration",
     .required = true},
    {.name = "sha256", .type = ParamType::kString, .help = "of the file, in hex; another one is not loaded"},
    {.name = "config", .type = ParamType::kNode, .help = "handed to the plugin as JSON"},
};

void AppendJson(codec::JsonWriter& json, const codec::yaml::Node& node) {
  switch (node.kind) {
    case codec::yaml::Node::Kind::kNull:
      json.Null();
      return;
    case codec::yaml::Node::Kind::kScalar:
      if (const auto integer = codec::yaml::AsInt(node)) {
        json.Int(*integer);
      } else if (const auto number = codec::yaml::AsNumber(node)) {
        json.Double(*number);
      } else if (const auto boolean = codec::yaml::AsBool(node)) {
        json.Bool(*boolean);
      } else {
        json.String(node.scalar);
      }
      return;
    case codec::yaml::Node::Kind::kSequence:
      json.BeginArray();
      for (const codec::yaml::Node& item : node.items) AppendJson(json, item);
      json.EndArray();
      return;
    case codec::yaml::Node::Kind::kMap:
      json.BeginObject();
      for (const codec::yaml::Entry& entry : node.entries) {
        json.Key(entry.key);
        AppendJson(json, entry.value);
      }
      json.EndObject();
      return;
  }
}

sluice_text TextOf(std::string_view text) {
  return text.empty() ? sluice_text{nullptr, 0} : sluice_text{text.data(), text.size()};
}
std::string_view ViewOf(sluice_text text) {
  return text.data == nullptr ? std::string_view() : std::string_view(text.data, text.size);
}

struct ExternalState final : PluginState {
  bool known = false;
  uint64_t members_version = 0;
  std::vector<std::string> host_ports;  // by row
  std::vector<sluice_text> host_port;   // by candidate, as the rest
  std::vector<float> matched_tokens, data_age_seconds;
  uint64_t ignored_picks = 0;
};

sluice_text HeaderOf(void* context, sluice_text name) {
  const std::string_view value = static_cast<const DecisionInput*>(context)->request.Header(ViewOf(name));
  return {value.data(), value.size()};
}

uint64_t RandomOf(void* context) { return static_cast<const DecisionInput*>(context)->rng(); }

sluice_text LabelOf(void* context, size_t candidate, sluice_text key) {
  const auto& candidates = *static_cast<const Candidates*>(context);
  if (candidate >= candidates.size()) return {nullptr, 0};
  const auto& labels = candidates.pool().endpoint(candidates.row(candidate)).labels;
  const auto at = labels.find(std::string(ViewOf(key)));
  if (at == labels.end()) return {nullptr, 0};
  return {at->second.data(), at->second.size()};
}

// The roles as classes: the loader finds out what a plugin is by its type.
template <int kRole>
struct Empty {};

template <bool kHasFilter, bool kHasScore, bool kHasPick>
class WithRoles final : public SharedObjectPlugin,
                        public std::conditional_t<kHasFilter, Filter, Empty<0>>,
                        public std::conditional_t<kHasScore, Scorer, Empty<1>>,
                        public std::conditional_t<kHasPick, Picker, Empty<2>> {
 public:
  WithRoles(const PluginInfo& info, std::string name, std::unique_ptr<SharedLibrary> library)
      : SharedObjectPlugin(info, std::move(name), std::move(library)) {}
  // Each overrides its role's function when the role is there.
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
    CallFilter(in, candidates, keep);
  }
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
    CallScore(in, candidates, out);
  }
  void Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
            std::vector<uint32_t>& picked, std::vector<double>&) const {
    CallPick(in, candidates, totals, picked);
  }
};

// Stands for a plugin that could not be made; the problem that was reported keeps it from being used.
class Unusable final : public Plugin {
 public:
  using Plugin::Plugin;
};

template <bool kFilter, bool kScore>
std::unique_ptr<Plugin> MakePickOrNot(const PluginInfo& info, std::string name,
                                      std::unique_ptr<SharedLibrary> library) {
  if (library->table().pick != nullptr) {
    return std::make_unique<WithRoles<kFilter, kScore, true>>(info, std::move(name), std::move(library));
  }
  return std::make_unique<WithRoles<kFilter, kScore, false>>(info, std::move(name), std::move(library));
}

std::unique_ptr<Plugin> Make(const PluginInfo& info, std::string name, const Params& params,
                             codec::yaml::Problems& problems) {
  const std::string path = (std::filesystem::path(params.folder()) / params.String("path")).lexically_normal();
  std::string config;
  codec::JsonWriter json(config);
  AppendJson(json, params.Node("config"));
  if (params.String("path").empty()) return std::make_unique<Unusable>(info, std::move(name));
  auto library = SharedLibrary::Open(path, params.String("sha256"), config);
  if (!library) {
    problems.Error(params.line(), params.path(), "shared object " + library.error().message);
    return std::make_unique<Unusable>(info, std::move(name));
  }
  const sluice_plugin& table = (*library)->table();
  if (table.filter != nullptr && table.score != nullptr) {
    return MakePickOrNot<true, true>(info, std::move(name), std::move(*library));
  }
  if (table.filter != nullptr) return MakePickOrNot<true, false>(info, std::move(name), std::move(*library));
  if (table.score != nullptr) return MakePickOrNot<false, true>(info, std::move(name), std::move(*library));
  return MakePickOrNot<false, false>(info, std::move(name), std::move(*library));
}

}  // namespace

constinit const PluginInfo SharedObjectPlugin::kInfo = {
    .type = "shared-object",
    .stability = Stability::kAlpha,
    .help = "A scorer, filter or picker compiled outside the tree: docs/develop/plugins.md.",
    .params = kParams,
    .make = Make};

// One call's arguments, which point into the state.
struct SharedObjectPlugin::Arguments {
  sluice_request request{};
  sluice_candidates candidates{};
};

std::vector<Need> SharedObjectPlugin::Needs() const {
  return {{DataKind::kPrefixMatch, "", /*required=*/false}, {DataKind::kTokenizedPrompt, "", /*required=*/false}};
}

void SharedObjectPlugin::Bind(std::span<const int> slots) {
  prefix_slot_ = slots[0];
  tokens_slot_ = slots[1];
}

std::shared_ptr<PluginState> SharedObjectPlugin::MakeState(const StateOptions&) const {
  return std::make_shared<ExternalState>();
}

SharedObjectPlugin::Arguments SharedObjectPlugin::ArgumentsOf(const DecisionInput& in,
                                                              const Candidates& candidates) const {
  ExternalState& state = in.StateOf<ExternalState>(*this);
  const size_t n = candidates.size();
  if (!state.known || state.members_version != in.pool.members_version) {
    state.known = true;
    state.members_version = in.pool.members_version;
    state.host_ports.clear();
    for (size_t row = 0; row < in.pool.size(); ++row) state.host_ports.push_back(in.pool.endpoint(row).host_port());
  }
  const auto* match = in.board.Get<PrefixMatch>(prefix_slot_);
  const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_);
  state.host_port.resize(n);
  state.data_age_seconds.resize(n);
  state.matched_tokens.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t row = candidates.row(i);
    state.host_port[i] = TextOf(state.host_ports[row]);
    const TimePoint scraped = in.pool.scraped_at[row];
    state.data_age_seconds[i] = scraped == model::EndpointState::kNever ? std::numeric_limits<float>::infinity()
                                                                        : static_cast<float>(Seconds(in.now - scraped));
    if (match != nullptr) state.matched_tokens[i] = match->CachedBlocks(row) * static_cast<float>(match->block_size);
  }
  const model::Request& request = in.request;
  Arguments out;
  out.request = {.id = TextOf(request.id),
                 .model = TextOf(request.model),
                 .target_model = TextOf(request.target_model),
                 .objective = TextOf(request.objective),
                 .fairness_id = TextOf(request.fairness_id),
                 .session_id = TextOf(request.session_id),
                 .priority = request.priority,
                 .streaming = request.streaming,
                 .body_bytes = request.body_bytes,
                 .prompt_tokens = tokens != nullptr ? static_cast<int64_t>(tokens->size()) : -1,
                 .output_tokens_max = request.output_tokens_max ? int64_t{*request.output_tokens_max} : -1,
                 .context = const_cast<DecisionInput*>(&in),  // C has one kind of context; these two only read
                 .header = HeaderOf,
                 .random = RandomOf};
  out.candidates = {.count = n,
                    .host_port = state.host_port.data(),
                    .waiting = candidates.waiting().data(),
                    .running = candidates.running().data(),
                    .kv_usage = candidates.kv_usage().data(),
                    .matched_tokens = match != nullptr ? state.matched_tokens.data() : nullptr,
                    .data_age_seconds = state.data_age_seconds.data(),
                    .context = const_cast<Candidates*>(&candidates),
                    .label = LabelOf};
  return out;
}

void SharedObjectPlugin::CallFilter(const DecisionInput& in, const Candidates& candidates,
                                    std::span<uint8_t> keep) const {
  const Arguments arguments = ArgumentsOf(in, candidates);
  library_->table().filter(library_->self(), &arguments.request, &arguments.candidates, keep.data());
}

void SharedObjectPlugin::CallScore(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const Arguments arguments = ArgumentsOf(in, candidates);
  std::fill(out.begin(), out.end(), std::numeric_limits<float>::quiet_NaN());  // what it does not write is no score
  library_->table().score(library_->self(), &arguments.request, &arguments.candidates, out.data());
}

void SharedObjectPlugin::CallPick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
                                  std::vector<uint32_t>& picked) const {
  const Arguments arguments = ArgumentsOf(in, candidates);
  size_t index = library_->table().pick(library_->self(), &arguments.request, &arguments.candidates, totals.data());
  if (index >= totals.size()) {
    ++in.StateOf<ExternalState>(*this).ignored_picks;
    index = static_cast<size_t>(std::max_element(totals.begin(), totals.end()) - totals.begin());
  }
  picked.push_back(static_cast<uint32_t>(index));
}

uint64_t SharedObjectPlugin::IgnoredPicks(const PluginState& state) {
  return static_cast<const ExternalState&>(state).ignored_picks;
}

}  // namespace sluice::schedule
