// yaml: text to a tree of values that knows where each value stood.
// Why: configuration errors must name the line; yaml-cpp stays in yaml.cc.
// Accepts YAML 1.2 as yaml-cpp 0.7 reads it (so JSON too), several documents, anchors, aliases and `<<` merge keys.
// Duplicate keys and keys that are not scalars are errors. Thread rule: pure. Cost: O(text), one allocation a node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sluice::codec::yaml {

struct Limits {
  size_t bytes_max = size_t{1} << 20;
  size_t depth_max = 64;
  size_t nodes_max = 100'000;  // aliases count as the nodes they stand for
};

struct Entry;

// One value. A plain scalar keeps its text; what type it is depends on who reads it (reader.h).
struct Node {
  enum class Kind : uint8_t { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  bool quoted = false;  // a quoted scalar is a string even if it looks like a number
  int line = 0;         // from 1
  int column = 0;       // from 1
  std::string scalar;
  std::vector<Node> items;     // of a sequence
  std::vector<Entry> entries;  // of a map, in file order

  bool IsNull() const { return kind == Kind::kNull; }
  bool IsMap() const { return kind == Kind::kMap; }
  bool IsSequence() const { return kind == Kind::kSequence; }
  bool IsScalar() const { return kind == Kind::kScalar; }
  // The value under `key`, or nullptr. O(entries).
  const Node* Find(std::string_view key) const;
};

struct Entry {
  std::string key;
  int line = 0;
  Node value;
};

// "a map", "a list", "nothing" or the scalar in quotes, cut at 40 characters: for error messages.
std::string Describe(const Node& node);

// One line that is equal for equal values, whatever their layout and the order of keys.
std::string CanonicalText(const Node& node);

// All documents of `text`. Errors are kInvalidArgument and end in "(line N)".
Result<std::vector<Node>> ParseAll(std::string_view text, const Limits& limits = {});

// Exactly one document; empty text gives a null node.
Result<Node> Parse(std::string_view text, const Limits& limits = {});

}  // namespace sluice::codec::yaml
