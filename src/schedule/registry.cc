#include "schedule/registry.h"

#include <charconv>
#include <cmath>

#include "base/check.h"

namespace sluice::schedule {
namespace {

std::string RangeText(const ParamSpec& spec) {
  const auto text = [](double v) {
    char buffer[32];
    const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, v);
    return std::string(buffer, end);
  };
  const bool low = std::isfinite(spec.min), high = std::isfinite(spec.max);
  if (low && high) return text(spec.min) + " to " + text(spec.max);
  if (low) return "at least " + text(spec.min);
  if (high) return "at most " + text(spec.max);
  return "";
}

}  // namespace

std::string_view Name(DataKind kind) {
  switch (kind) {
    case DataKind::kTokenizedPrompt:
      return "tokenized-prompt";
    case DataKind::kPrefixMatch:
      return "prefix-match";
    case DataKind::kInflightLoad:
      return "inflight-load";
    case DataKind::kLatencyPrediction:
      return "latency-prediction";
    case DataKind::kEncoderMatch:
      return "encoder-match";
    case DataKind::kSessionId:
      return "session-id";
  }
  return "";
}

void Registry::Add(const PluginInfo& info) {
  SLUICE_CHECK(Find(info.type) == nullptr, "a plugin type is registered once");
  types_.push_back(&info);
}

void Registry::SetDefaultProducer(DataKind kind, std::string_view type) {
  SLUICE_CHECK(Find(type) != nullptr, "a default producer is a registered type");
  std::erase_if(default_producers_, [&](const auto& entry) { return entry.first == kind; });
  default_producers_.emplace_back(kind, type);
}

const PluginInfo* Registry::Find(std::string_view type) const {
  for (const PluginInfo* info : types_) {
    if (info->type == type) return info;
  }
  return nullptr;
}

const PluginInfo* Registry::DefaultProducer(DataKind kind) const {
  for (const auto& [k, type] : default_producers_) {
    if (k == kind) return Find(type);
  }
  return nullptr;
}

std::vector<std::string_view> Registry::Types() const {
  std::vector<std::string_view> names;
  for (const PluginInfo* info : types_) names.push_back(info->type);
  return names;
}

std::string RegistryMarkdown(const Registry& registry) {
  std::string out;
  for (const PluginInfo* info : registry.all()) {
    out += "### `" + std::string(info->type) + "`";
    if (info->stability == Stability::kAlpha) out += " (alpha: needs `--allow-experimental-plugins`)";
    if (!info->deprecated.empty()) out += " (deprecated: use `" + std::string(info->deprecated) + "`)";
    out += "\n" + std::string(info->help) + "\n";
    if (!info->params.empty()) out += "\n| parameter | type | default | range | |\n|---|---|---|---|---|\n";
    for (const ParamSpec& spec : info->params) {
      out += "| `" + std::string(spec.name) + "` | " + std::string(Name(spec.type)) + " | " +
             (spec.required ? "required" : std::string(spec.fallback)) + " | " + RangeText(spec) + " | " +
             std::string(spec.warn_when_set.empty() ? spec.help : spec.warn_when_set) + " |\n";
    }
    out += "\n";
  }
  return out;
}

}  // namespace sluice::schedule
