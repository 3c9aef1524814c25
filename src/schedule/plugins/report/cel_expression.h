// CelExpression: the part of the Common Expression Language that whole numbers need: + - * / %, == != < <= > >=, && ||
// !,
// ?:, parentheses, true, false and has(name). Its meaning is CEL's (cel-spec, langdef.md): overflow and division by
// zero are errors, && and || forget the error of one side when the other decides, only the chosen branch of ?: is
// evaluated. Types and names are checked when it is parsed. Thread rule: immutable, any thread. Limits: 4,096 bytes,
// 256 nodes, depth 32. Cost: O(nodes), no allocation.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::schedule {

class CelExpression {
 public:
  static constexpr size_t kBytesMax = 4096;
  static constexpr size_t kNodesMax = 256;
  static constexpr int kDepthMax = 32;

  enum class Type : uint8_t { kInt, kBool };

  // `names`: what may be used, dotted ("usage.prompt_tokens"); a number of each is given to Evaluate. Errors are
  // kInvalidArgument with the column.
  static Result<CelExpression> Parse(std::string_view text, std::span<const std::string_view> names);

  Type type() const { return nodes_[root_].type; }
  // The value, true as 1; nothing when CEL calls it an error (overflow, division by zero, a name without a value).
  // `values` is by index of Parse's names.
  std::optional<int64_t> Evaluate(std::span<const std::optional<int64_t>> values) const {
    return ValueOf(root_, values);
  }

 private:
  friend class CelParser;
  enum class Op : uint8_t {
    kLiteral,
    kName,
    kHas,
    kNot,
    kNegate,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kRemainder,
    kEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kAnd,
    kOr,
    kChoose
  };
  struct Node {
    Op op = Op::kLiteral;
    Type type = Type::kInt;
    uint16_t a = 0, b = 0, c = 0;  // operands
    int64_t value = 0;             // literal, or index of a name
  };
  CelExpression() = default;
  std::optional<int64_t> ValueOf(uint16_t node, std::span<const std::optional<int64_t>> values) const;

  std::vector<Node> nodes_;
  uint16_t root_ = 0;
};

}  // namespace sluice::schedule
