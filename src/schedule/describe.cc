#include "schedule/describe.h"

#include <charconv>

#include "codec/json/write.h"

namespace sluice::schedule {

using codec::JsonWriter;

namespace {

std::string NumberText(float value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, end);
}

// "name {threshold 128, (idle 0)}"; with its type where the name says something else.
std::string PluginText(const Plugin& plugin) {
  std::string out = plugin.name();
  if (plugin.name() != plugin.info().type) out += " [" + std::string(plugin.info().type) + "]";
  std::string params;
  for (const EffectiveParam& param : plugin.effective_parameters()) {
    const std::string text = param.name + " " + param.value;
    params += (params.empty() ? "" : ", ") + (param.is_set ? text : "(" + text + ")");
  }
  return params.empty() ? out : out + " {" + params + "}";
}

std::string PluginText(const Policy& policy, const std::string& name) {
  const Plugin* plugin = policy.Find(name);
  return plugin != nullptr ? PluginText(*plugin) : name;
}

template <class Role>
std::vector<std::string> NamesOf(const Policy& policy) {
  std::vector<std::string> names;
  for (const auto& plugin : policy.plugins) {
    if (dynamic_cast<const Role*>(plugin.get()) != nullptr) names.push_back(plugin->name());
  }
  return names;
}

template <class Names>
void WriteNames(JsonWriter& json, std::string_view key, const Names& names) {
  json.Key(key).BeginArray();
  for (const auto& name : names) json.String(name);
  json.EndArray();
}

void AppendProfile(const Policy& policy, const Profile& profile, std::string& out) {
  out += "profile " + profile.name + "\n";
  for (const std::string& filter : profile.columns->filters) out += "  filter  " + PluginText(policy, filter) + "\n";
  for (const auto& scorer : profile.columns->scorers) {
    out += "  scorer  x" + NumberText(scorer.weight) + " " + PluginText(policy, scorer.name) + "\n";
  }
  out += "  picker  " + PluginText(policy, profile.columns->picker) + "\n";
}

}  // namespace

std::string PolicyText(const LoadedConfig& config) {
  const Policy& policy = *config.policy;
  std::string out = "handler   " + PluginText(*policy.handler_plugin) + "\n";
  for (const std::string& name : NamesOf<HeaderReader>(policy)) out += "headers   " + PluginText(policy, name) + "\n";
  for (const std::string& name : NamesOf<Screener>(policy)) out += "screener  " + PluginText(policy, name) + "\n";
  for (const BoundProducer& bound : policy.producers) out += "producer  " + PluginText(*bound.plugin) + "\n";
  if (policy.saturation_plugin != nullptr) out += "sheds by  " + PluginText(*policy.saturation_plugin) + "\n";
  for (const std::string& name : NamesOf<Admitter>(policy)) out += "admitter  " + PluginText(policy, name) + "\n";
  for (const Profile& profile : policy.profiles) AppendProfile(policy, profile, out);
  for (const MetricsBinding& binding : config.metrics) {
    out += "metrics   " + PluginText(*binding.source) + "\n";
    if (binding.extractor != nullptr) out += "          read by " + PluginText(*binding.extractor) + "\n";
  }
  if (config.discovery != nullptr) out += "endpoints " + PluginText(*config.discovery) + "\n";
  out += "parsers  ";
  for (const std::string& parser : config.parsers) out += " " + parser;
  out += "\n";
  for (const std::string& created : config.created) out += "created   " + created + "\n";
  for (const std::string& warning : config.warnings) out += "warning   " + warning + "\n";
  return out;
}

std::string PolicyJson(const LoadedConfig& config) {
  const Policy& policy = *config.policy;
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Field("handler", policy.handler_plugin->name());
  WriteNames(json, "header_readers", NamesOf<HeaderReader>(policy));
  WriteNames(json, "screeners", NamesOf<Screener>(policy));
  json.Key("producers").BeginArray();
  for (const BoundProducer& bound : policy.producers) json.String(bound.plugin->name());
  json.EndArray();
  if (policy.saturation_plugin != nullptr) json.Field("saturation_detector", policy.saturation_plugin->name());
  WriteNames(json, "admitters", NamesOf<Admitter>(policy));
  json.Key("profiles").BeginArray();
  for (const Profile& profile : policy.profiles) {
    json.BeginObject().Field("name", profile.name);
    WriteNames(json, "filters", profile.columns->filters);
    json.Key("scorers").BeginArray();
    for (const auto& scorer : profile.columns->scorers) {
      json.BeginObject().Field("name", scorer.name).Field("weight", double{scorer.weight}).EndObject();
    }
    json.EndArray().Field("picker", profile.columns->picker).EndObject();
  }
  json.EndArray().Key("metrics").BeginArray();
  for (const MetricsBinding& binding : config.metrics) {
    json.BeginObject().Field("source", binding.source->name());
    if (binding.extractor != nullptr) json.Field("extractor", binding.extractor->name());
    json.EndObject();
  }
  json.EndArray();
  if (config.discovery != nullptr) json.Field("discovery", config.discovery->name());
  WriteNames(json, "parsers", config.parsers);
  json.Key("plugins").BeginArray();
  for (const auto& plugin : policy.plugins) {
    json.BeginObject().Field("name", plugin->name()).Field("type", plugin->info().type);
    json.Field("stability", plugin->info().stability == Stability::kAlpha ? "alpha" : "beta");
    json.Key("parameters").BeginObject();
    for (const EffectiveParam& param : plugin->effective_parameters()) json.Field(param.name, param.value);
    json.EndObject().EndObject();
  }
  json.EndArray();
  WriteNames(json, "created", config.created);
  WriteNames(json, "warnings", config.warnings);
  json.EndObject();
  return out;
}

}  // namespace sluice::schedule
