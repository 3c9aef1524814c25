#include "schedule/params.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::schedule {
namespace {

using codec::yaml::MapReader;
using codec::yaml::Problems;

codec::yaml::IntRange IntRangeOf(const ParamSpec& spec) {
  codec::yaml::IntRange range;
  if (spec.min > -1e18) range.min = static_cast<int64_t>(spec.min);
  if (spec.max < 1e18) range.max = static_cast<int64_t>(spec.max);
  return range;
}

// The table's own default, through the same reader: a default that does not parse is our fault.
codec::yaml::Node DefaultNode(const ParamSpec& spec) {
  codec::yaml::Node map;
  map.kind = codec::yaml::Node::Kind::kMap;
  codec::yaml::Node value;
  value.kind = codec::yaml::Node::Kind::kScalar;
  value.scalar = spec.fallback;
  map.entries.push_back({std::string(spec.name), 0, std::move(value)});
  return map;
}

// As people would write it on one line.
std::string TextOf(const codec::yaml::Node& node) {
  std::string out;
  if (node.IsScalar()) return node.scalar;
  if (node.IsSequence()) {
    for (const codec::yaml::Node& item : node.items) out += (out.empty() ? "" : ", ") + TextOf(item);
    return "[" + out + "]";
  }
  for (const codec::yaml::Entry& entry : node.entries) {
    out += (out.empty() ? "" : ", ") + entry.key + ": " + TextOf(entry.value);
  }
  return node.IsMap() ? "{" + out + "}" : "";
}

template <class Value>
Value ReadOne(const ParamSpec& spec, MapReader& reader) {
  switch (spec.type) {
    case ParamType::kInt:
      return reader.Int(spec.name, 0, IntRangeOf(spec));
    case ParamType::kNumber:
      return reader.Number(spec.name, 0, {spec.min, spec.max});
    case ParamType::kBool:
      return reader.Bool(spec.name, false);
    case ParamType::kString:
      return reader.String(spec.name);
    case ParamType::kDuration:
      return reader.DurationOf(spec.name, Duration(0));
    case ParamType::kNode:
      break;
  }
  const codec::yaml::Node* node = reader.Child(spec.name);
  return node != nullptr ? *node : codec::yaml::Node{};
}

}  // namespace

std::string_view Name(ParamType type) {
  switch (type) {
    case ParamType::kInt:
      return "integer";
    case ParamType::kNumber:
      return "number";
    case ParamType::kBool:
      return "boolean";
    case ParamType::kString:
      return "string";
    case ParamType::kDuration:
      return "duration";
    case ParamType::kNode:
      return "object";
  }
  return "";
}

Params Params::Read(std::span<const ParamSpec> specs, const codec::yaml::Node& node, const std::string& path,
                    Problems& problems) {
  Params params;
  params.path_ = path;
  params.line_ = node.line;
  MapReader reader(node, path, problems);
  for (const ParamSpec& spec : specs) {
    Entry entry{spec.name, {}, reader.Has(spec.name)};
    if (entry.is_set) {
      entry.text = TextOf(*node.Find(spec.name));
      entry.value = ReadOne<Value>(spec, reader);
      if (!spec.warn_when_set.empty()) reader.Warn(spec.name, std::string(spec.warn_when_set));
      if (spec.required && spec.type == ParamType::kString && std::get<std::string>(entry.value).empty()) {
        reader.Error(spec.name, "must not be empty");
      }
    } else {
      entry.text = spec.fallback;
      if (spec.required) reader.Error(spec.name, "is required and missing");
      const codec::yaml::Node fallback = spec.type == ParamType::kNode ? codec::yaml::Node{} : DefaultNode(spec);
      Problems own;
      MapReader table(fallback, "", own);
      entry.value = ReadOne<Value>(spec, table);
      SLUICE_CHECK(own.ok() || spec.required, "the default in a parameter table parses");
    }
    params.entries_.push_back(std::move(entry));
  }
  reader.Finish();
  return params;
}

const Params::Entry& Params::At(std::string_view name) const {
  const auto at = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.name == name; });
  SLUICE_CHECK(at != entries_.end(), "a plugin asks only for parameters of its own table");
  return *at;
}

int64_t Params::Int(std::string_view name) const { return std::get<int64_t>(At(name).value); }
double Params::Number(std::string_view name) const { return std::get<double>(At(name).value); }
bool Params::Bool(std::string_view name) const { return std::get<bool>(At(name).value); }
const std::string& Params::String(std::string_view name) const { return std::get<std::string>(At(name).value); }
Duration Params::DurationOf(std::string_view name) const { return std::get<Duration>(At(name).value); }
const codec::yaml::Node& Params::Node(std::string_view name) const {
  return std::get<codec::yaml::Node>(At(name).value);
}
std::vector<EffectiveParam> Params::Effective() const {
  std::vector<EffectiveParam> out;
  for (const Entry& entry : entries_) {
    if (!entry.text.empty()) out.push_back({std::string(entry.name), entry.text, entry.is_set});
  }
  return out;
}

bool Params::IsSet(std::string_view name) const { return At(name).is_set; }

}  // namespace sluice::schedule
