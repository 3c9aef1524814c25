// Params: the parameters of one plugin instance, read against the table that the plugin declares once. Validation,
// documentation and defaults all come from that table.
// Thread rule: immutable after Read. Cost: load time only; plugins copy what they need into members.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "codec/yaml/reader.h"

namespace sluice::schedule {

enum class ParamType : uint8_t { kInt, kNumber, kBool, kString, kDuration, kNode };
std::string_view Name(ParamType type);

struct ParamSpec {
  std::string_view name;
  ParamType type;
  std::string_view fallback;  // as it would be written in YAML; empty with kString and kNode: nothing
  double min = -std::numeric_limits<double>::infinity();  // kInt and kNumber
  double max = std::numeric_limits<double>::infinity();
  std::string_view help;
  bool required = false;
  std::string_view warn_when_set = {};  // not empty: accepted for old files, warned about with these words
};

// A parameter's value as text: as written, or the table's default.
struct EffectiveParam {
  std::string name;
  std::string value;
  bool is_set = false;
};

class Params {
 public:
  // Reads `node` (a map, or null for none) strictly. Problems carry `path`.
  static Params Read(std::span<const ParamSpec> specs, const codec::yaml::Node& node, const std::string& path,
                     codec::yaml::Problems& problems);

  // The value by name; the name must be in the table and of that type.
  int64_t Int(std::string_view name) const;
  double Number(std::string_view name) const;
  bool Bool(std::string_view name) const;
  const std::string& String(std::string_view name) const;
  Duration DurationOf(std::string_view name) const;
  const codec::yaml::Node& Node(std::string_view name) const;  // null node when absent
  bool IsSet(std::string_view name) const;                     // written in the file
  std::vector<EffectiveParam> Effective() const;               // those that have a value
  const std::string& path() const { return path_; }            // "plugins[2].parameters"
  int line() const { return line_; }

 private:
  using Value = std::variant<int64_t, double, bool, std::string, Duration, codec::yaml::Node>;
  struct Entry {
    std::string_view name;
    Value value;
    bool is_set = false;
    std::string text = {};
  };
  const Entry& At(std::string_view name) const;
  std::vector<Entry> entries_;
  std::string path_;
  int line_ = 0;
};

}  // namespace sluice::schedule
