// MapReader: strict, typed reading of a YAML map. A field is asked for by name with its default and range; what nobody
// asked for is an error that names the nearest known field. Every problem goes to one Problems list with path and line,
// so that a person sees all mistakes of a file at once.
// Thread rule: one owner; the tree must outlive the reader. Cost: O(fields) a lookup.
//
//   Problems problems;
//   MapReader spec(*node, "spec", problems);
//   const int64_t replicas = spec.Int("replicas", 1, {.min = 0, .max = 1000});
//   MapReader model = spec.Map("model");
//   const std::string uri = model.RequiredString("uri");
//   model.Finish();
//   spec.Each("tolerations", [&](const Node& item, const std::string& path) { ... });
//   spec.Finish();
//   if (Status s = problems.ToStatus("service.yaml"); !s) return tl::unexpected(s.error());
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "codec/yaml/yaml.h"

namespace sluice::codec::yaml {

struct Problem {
  std::string path;
  std::string message;
  int line = 0;
  // "plugins[2].parameters.lruSize: expected an integer, got "abc" (line 14)"
  std::string Text() const;
};

class Problems {
 public:
  void Error(const Node& where, std::string path, std::string message) {
    Error(where.line, std::move(path), std::move(message));
  }
  void Error(int line, std::string path, std::string message);
  void Warn(int line, std::string path, std::string message);
  bool ok() const { return errors_.empty(); }
  const std::vector<Problem>& errors() const { return errors_; }
  const std::vector<Problem>& warnings() const { return warnings_; }
  // OK without errors; otherwise kInvalidArgument, `what` and one error a line. param is the first error's path.
  Status ToStatus(std::string_view what) const;

 private:
  static constexpr size_t kKept = 50;  // a file of garbage gives a readable message
  std::vector<Problem> errors_;
  std::vector<Problem> warnings_;
  size_t dropped_ = 0;
};

struct IntRange {
  int64_t min = std::numeric_limits<int64_t>::min();
  int64_t max = std::numeric_limits<int64_t>::max();
};
struct NumberRange {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

// Scalars, strictly: a quoted "5" is a string and not a number, yes/no are not booleans (YAML 1.2).
std::optional<int64_t> AsInt(const Node& node);
std::optional<double> AsNumber(const Node& node);
std::optional<bool> AsBool(const Node& node);
// Go's duration: "1h30m", "200ms", "0s"; a bare 0 too.
std::optional<Duration> ParseDuration(std::string_view text);
// Kubernetes' quantity as a whole number: "1Gi", "500M", "2k", "1e6", "4096". Negative ones and fractions of a unit
// below one are refused.
std::optional<int64_t> ParseQuantity(std::string_view text);

class MapReader {
 public:
  // A null node reads as an empty map; anything but a map is a problem, after which every field is absent.
  MapReader(const Node& node, std::string path, Problems& problems);

  const std::string& path() const { return path_; }
  int line() const { return node_->line; }
  std::string PathOf(std::string_view field) const;
  // True when the field is there and not null. Makes the name known.
  bool Has(std::string_view field) { return Child(field) != nullptr; }
  // The field's node, or nullptr when absent or null. Makes the name known.
  const Node* Child(std::string_view field);

  std::string String(std::string_view field, std::string fallback = {});
  std::string RequiredString(std::string_view field);
  // One of `choices`, else a problem that names the nearest.
  std::string Choice(std::string_view field, std::string fallback, std::span<const std::string_view> choices);
  int64_t Int(std::string_view field, int64_t fallback, IntRange range = {});
  double Number(std::string_view field, double fallback, NumberRange range = {});
  bool Bool(std::string_view field, bool fallback);
  Duration DurationOf(std::string_view field, Duration fallback);
  int64_t Quantity(std::string_view field, int64_t fallback);
  std::vector<std::string> Strings(std::string_view field);
  std::map<std::string, std::string> StringMap(std::string_view field);
  // The map under `field`; an absent one reads as empty.
  MapReader Map(std::string_view field);
  // Calls `fn(item, "path.field[i]")` for each item of the list; absent: none.
  void Each(std::string_view field, const std::function<void(const Node&, const std::string&)>& fn);

  // A field that is known but not carried out: a warning with its path when it is there.
  void NotCarriedOut(std::string_view field, std::string_view why);
  void Error(std::string_view field, std::string message);
  void Warn(std::string_view field, std::string message);
  // Each field that was not asked for becomes a problem. Call once, after the last field.
  void Finish();

 private:
  int LineOf(std::string_view field) const;
  void Wrong(std::string_view field, const Node& node, std::string_view expected);

  const Node* node_;
  std::string path_;
  Problems* problems_;
  std::vector<std::string> known_;
};

}  // namespace sluice::codec::yaml
