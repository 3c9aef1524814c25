// FieldReader: reads the fields of one JSON object as pydantic (which checks vLLM's requests) does: "5" and 5.0 are the
// integer 5, null is an absent optional field, and every fault becomes one line of a joint error in its format.
// Thread rule: plain values, one owner; views into the tree, which must outlive it. Cost: one sort of the member names.
// Internal to openai/: the public headers do not show it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sluice::openai {

using Json = nlohmann::ordered_json;

// Python's repr of a string, and of a float (str).
std::string PyQuoted(std::string_view text);
std::string PyFloat(double value);
// A value as vLLM shows it in an error: str() of scalars, "<dict of 2 items>", "<list of 3 items>"; cut when long.
std::string ShowInput(const Json& value);

// Collects faults of a body's form; the first ten are shown.
class FormFaults {
 public:
  void Add(std::string_view type, std::string_view location, std::string_view message, std::string_view input,
           std::string_view context = {});
  bool Empty() const { return count_ == 0; }
  // "1 validation error:\n  {'type': …}" with param = the first location.
  Error ToError() const;

 private:
  size_t count_ = 0;
  std::string lines_;
  std::string first_location_;
};

class FieldReader {
 public:
  // `object` must be an object. `location` is its path ("body", "body.stream_options").
  FieldReader(const Json& object, std::string location, FormFaults& faults);

  // Each returns nothing when the field is absent, null, or wrong (then a fault was added).
  std::optional<bool> Bool(std::string_view name);
  std::optional<int64_t> Integer(std::string_view name);
  std::optional<double> Number(std::string_view name);
  std::optional<std::string> String(std::string_view name);
  std::optional<std::vector<int64_t>> Integers(std::string_view name);
  // A string or a list of at most `count_max` strings.
  std::optional<std::vector<std::string>> StringOrStrings(std::string_view name, size_t count_max);
  // Any value but null, marked as read.
  const Json* Any(std::string_view name);
  const Json* Object(std::string_view name);
  const Json* Array(std::string_view name);
  bool Has(std::string_view name) const;  // present, even if null

  void Fault(std::string_view type, std::string_view name, std::string_view message, const Json& input);
  void Missing(std::string_view name);
  FormFaults& Faults() { return faults_; }
  std::string At(std::string_view name) const { return location_ + "." + std::string(name); }

  // Names that no call asked for, at most `count_max`, each cut to 64 bytes.
  std::vector<std::string> Unread(size_t count_max) const;

 private:
  struct Member {
    std::string_view name;
    const Json* value;
    bool read = false;
  };
  Member* Find(std::string_view name);

  std::string location_;
  std::string shown_object_;
  FormFaults& faults_;
  std::vector<Member> members_;  // by name
};

// One scalar, with the same leniency; nothing and a fault at `location` when it is wrong.
std::optional<int64_t> ReadInteger(const Json& value, std::string_view location, FormFaults& faults);
std::optional<double> ReadNumber(const Json& value, std::string_view location, FormFaults& faults);
std::optional<bool> ReadBool(const Json& value, std::string_view location, FormFaults& faults);

}  // namespace sluice::openai
