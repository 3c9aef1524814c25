// Registry: the plugin types a program knows. Built explicitly by its composition root (no static initialisers), so a
// test or an embedder can add its own.
// Thread rule: built once, then immutable. Cost: O(types) a lookup, at load time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "schedule/plugin.h"

namespace sluice::schedule {

class Registry {
 public:
  // The type's name must be new; `info` must live as long as the program (a constant of the plugin's file).
  void Add(const PluginInfo& info);
  // Which type is created when `kind` is needed and nobody produces it. Replaces an earlier answer.
  void SetDefaultProducer(DataKind kind, std::string_view type);

  const PluginInfo* Find(std::string_view type) const;
  const PluginInfo* DefaultProducer(DataKind kind) const;
  std::vector<std::string_view> Types() const;
  const std::vector<const PluginInfo*>& all() const { return types_; }

 private:
  std::vector<const PluginInfo*> types_;
  std::vector<std::pair<DataKind, std::string>> default_producers_;
};

// Every plugin of this program; one line a type, in builtin.cc.
Registry BuiltinRegistry();

// "| parameter | type | default | range | help |" for each type: the reference page of plugins.
std::string RegistryMarkdown(const Registry& registry);

}  // namespace sluice::schedule
