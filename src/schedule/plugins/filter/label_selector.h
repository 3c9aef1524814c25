// LabelSelector: a Kubernetes label selector, from its YAML form (matchLabels, matchExpressions) or its text form
// ("app=x,tier in (gold, silver),!old"). An empty one matches everything.
// Thread rule: immutable after reading. Cost: O(expressions) map look-ups a match.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "codec/yaml/reader.h"

namespace sluice::schedule {

class LabelSelector {
 public:
  // Reads both fields from `reader`; what is wrong goes to `problems`.
  static LabelSelector Read(codec::yaml::MapReader& reader, codec::yaml::Problems& problems);
  static Result<LabelSelector> Parse(std::string_view text);

  bool Matches(const std::map<std::string, std::string>& labels) const;

 private:
  enum class Operator : uint8_t { kIn, kNotIn, kExists, kDoesNotExist };
  struct Expression {
    std::string key;
    Operator op;
    std::vector<std::string> values;
  };
  static Result<Expression> ParseExpression(std::string_view text);
  std::vector<Expression> expressions_;  // all must hold
};

}  // namespace sluice::schedule
