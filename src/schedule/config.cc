#include "schedule/config.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/text.h"
#include "schedule/plugins/external/shared_object_plugin.h"
#include "schedule/plugins/flow/flow_policies.h"
#include "schedule/plugins/pick/max_score_picker.h"
#include "schedule/plugins/profile/single_profile_handler.h"

namespace sluice::schedule {
namespace {

using codec::yaml::Problems;

constexpr std::string_view kDefaultParsers[] = {"openai-parser", "anthropic-parser", "vllmhttp-parser",
                                                "passthrough-parser"};

class Loader {
 public:
  Loader(const Registry& registry, const LoadOptions& options, Problems& problems)
      : registry_(registry), options_(options), problems_(problems), policy_(std::make_shared<Policy>()) {}

  LoadedConfig Load(std::string_view text) {
    out_.document = DecodeConfig(text, problems_);
    for (const PluginEntry& entry : out_.document.plugins) Instantiate(entry);
    if (!problems_.ok()) return std::move(out_);  // references to plugins that failed would only add noise
    BuildProfiles();
    ChooseHandler();
    ChooseSaturationDetector();
    BindReferences();
    CheckFlowPolicies();
    BindParsers();
    BindDataLayer();
    CreateProducers();
    OrderProducers();
    if (!problems_.ok()) return std::move(out_);
    Finish();
    WarnUnused();
    out_.policy = policy_;
    return std::move(out_);
  }

 private:
  Plugin* Instantiate(const PluginEntry& entry) {
    const PluginInfo* info = registry_.Find(entry.type);
    if (info == nullptr) {
      problems_.Error(entry.line, entry.path,
                      "plugin type '" + entry.type + "' is not registered" + DidYouMean(entry.type, registry_.Types()));
      return nullptr;
    }
    if (info->stability == Stability::kAlpha && !options_.allow_experimental_plugins) {
      problems_.Error(entry.line, entry.path,
                      "plugin type '" + entry.type + "' is alpha; start with --allow-experimental-plugins to use it");
      return nullptr;
    }
    if (info == &SharedObjectPlugin::kInfo && !options_.allow_shared_objects) {
      problems_.Error(entry.line, entry.path,
                      "plugin '" + entry.name + "' loads code: allow it with --allow-experimental-plugins");
      return nullptr;
    }
    if (!info->deprecated.empty()) {
      problems_.Warn(entry.line, entry.path,
                     "plugin type '" + entry.type + "' is deprecated: use " + std::string(info->deprecated));
    }
    Params params = Params::Read(info->params, entry.parameters, entry.path + ".parameters", problems_);
    params.set_folder(options_.folder);
    Plugin* plugin = Adopt(info->make(*info, entry.name, params, problems_));
    plugin->set_parameters(codec::yaml::CanonicalText(entry.parameters), params.Effective());
    return plugin;
  }

  Plugin* Create(const PluginInfo& info, const std::string& reason) {
    const Params params = Params::Read(info.params, codec::yaml::Node{}, std::string(info.type), problems_);
    out_.created.push_back(std::string(info.type) + ": " + reason);
    used_.insert(std::string(info.type));
    Plugin* plugin = Adopt(info.make(info, std::string(info.type), params, problems_));
    plugin->set_parameters(codec::yaml::CanonicalText({}), params.Effective());
    return plugin;
  }

  Plugin* Adopt(std::unique_ptr<Plugin> plugin) {
    plugin->set_index(static_cast<uint32_t>(policy_->plugins.size()));
    policy_->plugins.push_back(std::move(plugin));
    return policy_->plugins.back().get();
  }

  Plugin* Find(std::string_view name) const {
    for (const auto& plugin : policy_->plugins) {
      if (plugin->name() == name) return plugin.get();
    }
    return nullptr;
  }
  std::string Nearest(std::string_view name) const {
    std::vector<std::string> names;
    for (const auto& plugin : policy_->plugins) names.push_back(plugin->name());
    return DidYouMean(name, names);
  }

  // No profiles: one named "default" with every filter, scorer and picker of the file at weight 1.
  void ImplicitProfile() {
    ProfileEntry profile;
    profile.name = "default";
    profile.path = "schedulingProfiles (implicit)";
    bool has_picker = false;
    for (const auto& plugin : policy_->plugins) {
      const bool picker = dynamic_cast<const Picker*>(plugin.get()) != nullptr;
      if (picker && has_picker) {
        problems_.Warn(
            0, "", "plugin '" + plugin->name() + "': the implicit profile has a picker already; this one is not used");
        used_.insert(plugin->name());
        continue;
      }
      has_picker |= picker;
      // Upstream would make a detector that is listed for flow control a filter of every request; here it is one only
      // where a profile says so.
      const bool detector = dynamic_cast<const SaturationDetector*>(plugin.get()) != nullptr;
      const bool filter = dynamic_cast<const Filter*>(plugin.get()) != nullptr && !detector;
      if (picker || filter || dynamic_cast<const Scorer*>(plugin.get()) != nullptr) {
        profile.plugins.push_back({plugin->name(), std::nullopt, profile.path, 0});
      }
    }
    out_.document.profiles.push_back(std::move(profile));
  }

  void BuildProfiles() {
    if (out_.document.profiles.empty()) ImplicitProfile();
    for (const ProfileEntry& entry : out_.document.profiles) {
      Profile profile;
      profile.name = entry.name;
      auto columns = std::make_shared<model::ReceiptColumns>();
      columns->profile = entry.name;
      for (const ProfileEntry::Ref& ref : entry.plugins) AddToProfile(entry, ref, profile, *columns);
      if (profile.picker == nullptr) GivePicker(profile, *columns);
      profile.columns = std::move(columns);
      policy_->profiles.push_back(std::move(profile));
    }
  }

  void AddToProfile(const ProfileEntry& entry, const ProfileEntry::Ref& ref, Profile& profile,
                    model::ReceiptColumns& columns) {
    const Plugin* plugin = Find(ref.plugin);
    if (plugin == nullptr) {
      problems_.Error(ref.line, "",
                      "schedulingProfiles[" + entry.name + "] references undefined plugin '" + ref.plugin + "'" +
                          Nearest(ref.plugin));
      return;
    }
    used_.insert(ref.plugin);
    bool has_role = false;
    if (const auto* filter = dynamic_cast<const Filter*>(plugin)) {
      has_role = true;
      profile.filters.push_back(filter);
      columns.filters.push_back(plugin->name());
    }
    if (const auto* scorer = dynamic_cast<const Scorer*>(plugin)) {
      has_role = true;
      const auto weight = static_cast<float>(ref.weight.value_or(1.0));
      profile.scorers.push_back({scorer, weight});
      columns.scorers.push_back({plugin->name(), weight});
    } else if (ref.weight) {
      problems_.Warn(ref.line, ref.path + ".weight", "has no effect: '" + ref.plugin + "' is not a scorer");
    }
    if (const auto* picker = dynamic_cast<const Picker*>(plugin)) {
      has_role = true;
      if (profile.picker != nullptr) {
        problems_.Error(
            ref.line, ref.path,
            "a profile has exactly one picker: '" + columns.picker + "' and '" + ref.plugin + "' are listed");
      }
      profile.picker = picker;
      columns.picker = plugin->name();
    }
    if (!has_role) {
      problems_.Error(ref.line, ref.path, "plugin '" + ref.plugin + "' is neither a filter nor a scorer nor a picker");
    }
  }

  void GivePicker(Profile& profile, model::ReceiptColumns& columns) {
    const Plugin* found = nullptr;
    for (const auto& plugin : policy_->plugins) {
      if (found == nullptr && dynamic_cast<const Picker*>(plugin.get()) != nullptr) found = plugin.get();
    }
    if (found == nullptr) found = Create(MaxScorePicker::kInfo, "no picker is configured");
    used_.insert(found->name());
    profile.picker = dynamic_cast<const Picker*>(found);
    columns.picker = found->name();
  }

  void ChooseHandler() {
    Plugin* handler = nullptr;
    for (const auto& plugin : policy_->plugins) {
      if (dynamic_cast<ProfileHandler*>(plugin.get()) == nullptr) continue;
      if (handler != nullptr) {
        problems_.Error(0, "",
                        "multiple profile handlers found: '" + handler->name() + "' and '" + plugin->name() + "'");
        return;
      }
      handler = plugin.get();
    }
    if (handler == nullptr && policy_->profiles.size() == 1) {
      handler = Create(SingleProfileHandler::kInfo, "one profile and no profile handler");
    }
    if (handler == nullptr) {
      problems_.Error(0, "",
                      "no profile handler configured; " + std::to_string(policy_->profiles.size()) +
                          " scheduling profiles need one");
      return;
    }
    used_.insert(handler->name());
    policy_->handler_plugin = handler;
    auto* role = dynamic_cast<ProfileHandler*>(handler);
    policy_->handler = role;
    std::vector<std::string> names;
    for (const Profile& profile : policy_->profiles) names.push_back(profile.name);
    if (const Status fits = role->BindProfiles(names); !fits) problems_.Error(0, "", fits.error().message);
  }

  // Without one in the file: upstream's default, for the refusal of sheddable requests.
  void ChooseSaturationDetector() {
    Plugin* plugin = nullptr;
    if (const auto& flow = out_.document.flow_control; flow && flow->saturation_detector) {
      const PluginRef& ref = *flow->saturation_detector;
      plugin = FindOrCreate(ref.plugin, ref.path + " names its type");
      if (plugin == nullptr) {
        problems_.Error(ref.line, ref.path,
                        "saturation detector references undefined plugin '" + ref.plugin + "'" + Nearest(ref.plugin));
        return;
      }
      if (dynamic_cast<const SaturationDetector*>(plugin) == nullptr) {
        problems_.Error(ref.line, ref.path, "plugin '" + ref.plugin + "' is not a saturation detector");
        return;
      }
    } else {
      plugin = FindOrCreate("utilization-detector", "no saturation detector is configured");
      if (plugin == nullptr) return;  // a registry without it
    }
    used_.insert(plugin->name());
    policy_->saturation_plugin = plugin;
    policy_->saturation_detector = dynamic_cast<const SaturationDetector*>(plugin);
  }

  // Flow control's policies are checked like all else of the file, and each says that nothing comes of it.
  void CheckFlowPolicies() {
    for (const PluginEntry& entry : out_.document.plugins) {
      if (!FlowPolicy::KindOf(entry.type)) continue;
      used_.insert(entry.name);
      problems_.Warn(entry.line, entry.path,
                     "flow control is not carried out by this version: plugin '" + entry.name + "' has no effect");
    }
    const auto& flow = out_.document.flow_control;
    if (!flow) return;
    CheckFlowRef(flow->usage_limit_policy, FlowPolicy::Kind::kUsageLimit, flow->line,
                 "flowControl.usageLimitPolicyPluginRef");
    const auto check_band = [&](const FlowBand& band) {
      CheckFlowRef(band.fairness_policy, FlowPolicy::Kind::kFairness, band.line, band.path + ".fairnessPolicyRef");
      CheckFlowRef(band.ordering_policy, FlowPolicy::Kind::kOrdering, band.line, band.path + ".orderingPolicyRef");
    };
    if (flow->default_band) check_band(*flow->default_band);
    if (flow->default_negative_band) check_band(*flow->default_negative_band);
    for (const FlowBand& band : flow->bands) check_band(band);
  }

  // `name`: an instance of the file or a type; empty: the default one.
  void CheckFlowRef(const std::string& name, FlowPolicy::Kind kind, int line, const std::string& path) {
    if (name.empty()) return;
    const std::string what(FlowPolicy::Name(kind));
    const Plugin* plugin = Find(name);
    const auto found = FlowPolicy::KindOf(plugin != nullptr ? plugin->info().type : std::string_view(name));
    if (found == kind) return;
    if (plugin != nullptr || found) {
      problems_.Error(line, path,
                      "plugin '" + name + "' is not " + (kind == FlowPolicy::Kind::kOrdering ? "an " : "a ") + what);
      return;
    }
    std::vector<std::string> known;
    for (const auto& instance : policy_->plugins) known.push_back(instance->name());
    for (const PluginInfo& info : FlowPolicy::Types()) known.emplace_back(info.type);
    problems_.Error(line, path, what + " references undefined plugin '" + name + "'" + DidYouMean(name, known));
  }

  void BindReferences() {
    const PluginFinder find = [this](std::string_view name) {
      Plugin* plugin = FindOrCreate(name, "another plugin refers to it");
      if (plugin != nullptr) used_.insert(plugin->name());
      return plugin;
    };
    for (size_t i = 0; i < policy_->plugins.size(); ++i) policy_->plugins[i]->BindReferences(find, problems_);
  }

  // The instance of that name; the name of a type creates one.
  Plugin* FindOrCreate(std::string_view name, const std::string& reason) {
    if (Plugin* plugin = Find(name)) return plugin;
    const PluginInfo* info = registry_.Find(name);
    return info != nullptr ? Create(*info, reason) : nullptr;
  }

  void BindParsers() {
    if (out_.document.parsers.empty()) {
      for (const std::string_view type : kDefaultParsers) out_.parsers.emplace_back(type);
    }
    for (const PluginRef& ref : out_.document.parsers) {
      const Plugin* plugin = FindOrCreate(ref.plugin, ref.path + " names its type");
      if (plugin == nullptr) {
        problems_.Error(
            ref.line, "",
            "parser references undefined plugin '" + ref.plugin + "'" + DidYouMean(ref.plugin, registry_.Types()));
        continue;
      }
      if (dynamic_cast<const RequestParser*>(plugin) == nullptr) {
        problems_.Error(ref.line, ref.path,
                        "the configured parser \"" + ref.plugin + "\" is not loaded: it is not a parser");
        continue;
      }
      used_.insert(ref.plugin);
      out_.parsers.emplace_back(plugin->info().type);
    }
  }

  // The instance a data-layer reference names; a type's name creates it.
  template <class T>
  const T* DataPlugin(const PluginRef& ref, std::string_view role) {
    Plugin* plugin = Find(ref.plugin);
    if (plugin == nullptr) {
      problems_.Error(ref.line, ref.path,
                      std::string(role) + " references undefined plugin '" + ref.plugin + "'" + Nearest(ref.plugin));
      return nullptr;
    }
    used_.insert(ref.plugin);
    const T* typed = dynamic_cast<const T*>(plugin);
    if (typed == nullptr) {
      problems_.Error(ref.line, ref.path,
                      "plugin '" + ref.plugin + "' of type '" + std::string(plugin->info().type) +
                          "' cannot be used as " + std::string(role));
    }
    return typed;
  }

  template <class T>
  const T* FindOrCreate() {
    for (const auto& plugin : policy_->plugins) {
      if (const T* found = dynamic_cast<const T*>(plugin.get())) {
        used_.insert(plugin->name());
        return found;
      }
    }
    return dynamic_cast<const T*>(Create(T::kInfo, "dataLayer.injectDefaults"));
  }

  void BindDataLayer() {
    const DataLayerSection& layer = out_.document.data_layer;
    for (const DataLayerSection::Source& source : layer.sources) BindSource(source);
    // By what the source is, not by its name: a renamed one is not scraped twice.
    const bool has_metrics = std::any_of(out_.metrics.begin(), out_.metrics.end(), [](const MetricsBinding& binding) {
      return binding.source->kind == MetricsDataSource::Kind::kMetrics;
    });
    if (layer.inject_defaults && !has_metrics) {
      const MetricsDataSource* source = nullptr;
      for (const auto& plugin : policy_->plugins) {
        if (&plugin->info() == &MetricsDataSource::kInfo) source = dynamic_cast<const MetricsDataSource*>(plugin.get());
      }
      if (source == nullptr) {
        source = dynamic_cast<const MetricsDataSource*>(Create(MetricsDataSource::kInfo, "dataLayer.injectDefaults"));
      }
      used_.insert(source->name());
      out_.metrics.insert(out_.metrics.begin(), {.source = source, .extractor = FindOrCreate<CoreMetricsExtractor>()});
    }
    if (layer.discovery) BindDiscovery(*layer.discovery);
  }

  void BindSource(const DataLayerSection::Source& source) {
    const Plugin* plugin = DataPlugin<Plugin>(source.source, "data source");
    if (plugin == nullptr) return;
    if (dynamic_cast<const NotificationSource*>(plugin) != nullptr) {
      for (const PluginRef& ref : source.extractors) {
        // A precise prefix producer is told of endpoints whether it is bound here or not.
        const auto* producer = dynamic_cast<const Producer*>(Find(ref.plugin));
        if (producer != nullptr && producer->FromOutside()) {
          used_.insert(ref.plugin);
        } else {
          DataPlugin<TopologyExtractor>(ref, "extractor of notifications");
        }
      }
      return;
    }
    MetricsBinding binding{.source = DataPlugin<MetricsDataSource>(source.source, "data source")};
    if (binding.source == nullptr) return;
    for (const PluginRef& ref : source.extractors) {
      switch (binding.source->kind) {
        case MetricsDataSource::Kind::kMetrics:
          binding.extractor = DataPlugin<CoreMetricsExtractor>(ref, "extractor of metrics-data-source");
          break;
        case MetricsDataSource::Kind::kModels:
          binding.models = DataPlugin<ModelsExtractor>(ref, "extractor of models-data-source");
          break;
        case MetricsDataSource::Kind::kDcgm:
          binding.dcgm = DataPlugin<DcgmExtractor>(ref, "extractor of dcgm-data-source");
          break;
      }
    }
    if (source.extractors.empty()) {
      problems_.Warn(source.source.line, source.source.path,
                     "has no extractor: it is scraped, but nothing is read from it");
    }
    if (source.extractors.size() > 1) {
      problems_.Warn(source.source.line, source.source.path, "has several extractors of a kind: the last one reads it");
    }
    out_.metrics.push_back(binding);
  }

  void BindDiscovery(const PluginRef& ref) {
    const Plugin* plugin = DataPlugin<Plugin>(ref, "discovery");
    if (plugin == nullptr) return;
    out_.discovery = dynamic_cast<const FileDiscovery*>(plugin);
    out_.static_discovery = dynamic_cast<const StaticDiscovery*>(plugin);
    out_.dns_discovery = dynamic_cast<const DnsDiscovery*>(plugin);
    if (out_.discovery == nullptr && out_.static_discovery == nullptr && out_.dns_discovery == nullptr) {
      DataPlugin<FileDiscovery>(ref, "discovery");  // words the error
    }
  }

  // Plugins whose needs count: those with a part in decisions. An unused scorer does not bring its producer along.
  // Upstream runs these roles for every instance of the file, whether a profile names it or not.
  bool TakesPart(const Plugin& plugin) const {
    return used_.contains(plugin.name()) || dynamic_cast<const Producer*>(&plugin) != nullptr || ActsAlone(plugin);
  }
  static bool ActsAlone(const Plugin& plugin) {
    return dynamic_cast<const Hooks*>(&plugin) != nullptr || dynamic_cast<const Admitter*>(&plugin) != nullptr ||
           dynamic_cast<const Screener*>(&plugin) != nullptr || dynamic_cast<const HeaderReader*>(&plugin) != nullptr;
  }

  void CreateProducers() {
    for (size_t i = 0; i < policy_->plugins.size(); ++i) {  // grows while it is walked
      const Plugin& plugin = *policy_->plugins[i];
      if (!TakesPart(plugin)) continue;
      for (const Need& need : plugin.Needs()) {
        if (ProducerOf(need) != nullptr || !need.required) continue;
        const PluginInfo* info = registry_.DefaultProducer(need.kind);
        const std::string what = std::string(Name(need.kind)) + " needed by '" + plugin.name() + "'";
        if (info == nullptr) {
          problems_.Error(0, "", "no plugin produces the " + what + " and there is no default one");
        } else if (!need.producer.empty() && need.producer != info->type) {
          problems_.Error(0, "",
                          "plugin '" + plugin.name() + "' reads from '" + need.producer +
                              "', which does not exist or does not produce " + std::string(Name(need.kind)) +
                              Nearest(need.producer));
        } else {
          Create(*info, what);
        }
        if (!problems_.ok()) return;
      }
    }
  }

  // Keys are kind and instance name; without a name, that of the kind's default type.
  const Plugin* ProducerOf(const Need& need) const {
    std::string_view name = need.producer;
    if (name.empty()) {
      const PluginInfo* info = registry_.DefaultProducer(need.kind);
      if (info == nullptr) return nullptr;
      name = info->type;
    }
    const Plugin* plugin = Find(name);
    const auto* producer = dynamic_cast<const Producer*>(plugin);
    return producer != nullptr && producer->Provides() == need.kind ? plugin : nullptr;
  }

  // Depth first over needs; a producer that is met again while it is being visited closes a cycle.
  bool Visit(const Plugin& plugin, std::vector<int>& mark, std::string trail) {
    int& state = mark[plugin.index()];
    trail += (trail.empty() ? "" : " -> ") + plugin.name();
    if (state == 2) return true;
    if (state == 1) {
      problems_.Error(0, "", "data producers depend on each other in a cycle: " + trail);
      return false;
    }
    state = 1;
    for (const Need& need : plugin.Needs()) {
      const Plugin* producer = ProducerOf(need);
      if (producer != nullptr && producer != &plugin && !Visit(*producer, mark, trail)) return false;
    }
    mark[plugin.index()] = 2;
    if (const auto* producer = dynamic_cast<const Producer*>(&plugin)) {
      policy_->producers.push_back({producer, &plugin, static_cast<int>(policy_->producers.size())});
    }
    return true;
  }

  void OrderProducers() {
    std::vector<int> mark(policy_->plugins.size(), 0);
    for (const auto& plugin : policy_->plugins) {
      if (TakesPart(*plugin) && !Visit(*plugin, mark, "")) return;
    }
  }

  int SlotOf(const Plugin* producer) const {
    for (const BoundProducer& bound : policy_->producers) {
      if (bound.plugin == producer) return bound.slot;
    }
    return Board::kNoSlot;
  }

  void Finish() {
    for (const auto& plugin : policy_->plugins) {
      std::vector<int> slots;
      for (const Need& need : plugin->Needs()) slots.push_back(SlotOf(ProducerOf(need)));
      plugin->Bind(slots);
      BindRoles(*plugin);
      if (const auto* hooks = dynamic_cast<const Hooks*>(plugin.get()); hooks != nullptr && TakesPart(*plugin)) {
        policy_->hooks.emplace_back(hooks, plugin.get());
      }
    }
    bool prefix_known = false;
    for (const BoundProducer& bound : policy_->producers) {
      const DataKind kind = bound.producer->Provides();
      if (kind == DataKind::kTokenizedPrompt && policy_->tokens_slot == Board::kNoSlot)
        policy_->tokens_slot = bound.slot;
      // Receipts show the producer that knows before one that guesses.
      const bool knows = bound.producer->FromOutside() && !prefix_known;
      if (kind == DataKind::kPrefixMatch && (policy_->prefix_slot == Board::kNoSlot || knows)) {
        policy_->prefix_slot = bound.slot;
        prefix_known = bound.producer->FromOutside();
      }
      if (kind == DataKind::kLatencyPrediction && policy_->latency_slot == Board::kNoSlot)
        policy_->latency_slot = bound.slot;
    }
  }

  void BindRoles(const Plugin& plugin) {
    if (const auto* reader = dynamic_cast<const HeaderReader*>(&plugin)) policy_->header_readers.push_back(reader);
    if (const auto* admitter = dynamic_cast<const Admitter*>(&plugin)) policy_->admitters.push_back(admitter);
    if (const auto* screener = dynamic_cast<const Screener*>(&plugin)) {
      policy_->screeners.push_back(screener);
      auto names = std::make_shared<std::vector<std::string>>();
      if (policy_->screener_names != nullptr) *names = *policy_->screener_names;
      names->push_back(plugin.name());
      policy_->screener_names = std::move(names);
    }
  }

  void WarnUnused() {
    std::set<const Plugin*> read;
    for (const auto& plugin : policy_->plugins) {
      if (!TakesPart(*plugin)) continue;
      for (const Need& need : plugin->Needs()) read.insert(ProducerOf(need));
    }
    for (const PluginEntry& entry : out_.document.plugins) {
      const Plugin* plugin = Find(entry.name);
      if (used_.contains(entry.name) || read.contains(plugin)) continue;
      const auto* producer = dynamic_cast<const Producer*>(plugin);
      const bool for_others = producer != nullptr && producer->Provides() != DataKind::kNothing;
      if (!for_others && ActsAlone(*plugin)) continue;
      if (for_others) {
        problems_.Warn(entry.line, entry.path, "nothing reads what plugin '" + entry.name + "' produces");
      } else {
        problems_.Warn(entry.line, entry.path, "plugin '" + entry.name + "' is not used by any profile or section");
      }
    }
  }

  const Registry& registry_;
  const LoadOptions& options_;
  Problems& problems_;
  std::shared_ptr<Policy> policy_;
  LoadedConfig out_;
  std::set<std::string> used_;  // instance names that a profile, a section or a default refers to
};

}  // namespace

Result<LoadedConfig> LoadConfig(std::string_view text, const Registry& registry, const LoadOptions& options) {
  Problems problems;
  LoadedConfig config = Loader(registry, options, problems).Load(text);
  if (const Status status = problems.ToStatus("EndpointPickerConfig"); !status) return tl::unexpected(status.error());
  config.text = text;
  config.options = options;
  for (const auto& warning : problems.warnings()) config.warnings.push_back(warning.Text());
  return config;
}

}  // namespace sluice::schedule
