#include "codec/yaml/reader.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/text.h"

namespace sluice::codec::yaml {
namespace {

const Node& EmptyMap() {
  static const Node node = [] {
    Node map;
    map.kind = Node::Kind::kMap;
    return map;
  }();
  return node;
}

std::string NumberText(double value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return error == std::errc{} ? std::string(buffer, end) : std::string("?");
}

template <class Range, class Text>
std::string RangeText(const Range& range, Text text) {
  using Number = decltype(range.min);
  const bool low = range.min != Range{}.min, high = range.max != Range{}.max;
  if (low && high) return " from " + text(Number{range.min}) + " to " + text(Number{range.max});
  if (low) return " of at least " + text(Number{range.min});
  if (high) return " of at most " + text(Number{range.max});
  return {};
}

}  // namespace

std::string Problem::Text() const {
  std::string text = path.empty() ? message : path + ": " + message;
  if (line > 0) text += " (line " + std::to_string(line) + ")";
  return text;
}

void Problems::Error(int line, std::string path, std::string message) {
  if (errors_.size() >= kKept) {
    ++dropped_;
    return;
  }
  errors_.push_back(Problem{std::move(path), std::move(message), line});
}

void Problems::Warn(int line, std::string path, std::string message) {
  if (warnings_.size() < kKept) warnings_.push_back(Problem{std::move(path), std::move(message), line});
}

Status Problems::ToStatus(std::string_view what) const {
  if (ok()) return {};
  std::string text(what);
  for (const Problem& problem : errors_) {
    if (!text.empty()) text += errors_.size() == 1 ? ": " : "\n  ";
    text += problem.Text();
  }
  if (dropped_ > 0) text += "\n  and " + std::to_string(dropped_) + " more";
  return Fail(Code::kInvalidArgument, std::move(text), errors_.front().path);
}

std::optional<int64_t> AsInt(const Node& node) {
  if (!node.IsScalar() || node.quoted) return std::nullopt;
  std::string_view text = node.scalar;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (const auto whole = ParseNumber<int64_t>(text)) return whole;
  const auto real = ParseNumber<double>(text);  // 1e3 and 5.0 are integers to a JSON reader
  if (real && std::abs(*real) < 9e15 && *real == std::trunc(*real)) return static_cast<int64_t>(*real);
  return std::nullopt;
}

std::optional<double> AsNumber(const Node& node) {
  if (!node.IsScalar() || node.quoted) return std::nullopt;
  std::string_view text = node.scalar;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto real = ParseNumber<double>(text);
  return real && std::isfinite(*real) ? real : std::nullopt;
}

std::optional<bool> AsBool(const Node& node) {
  if (!node.IsScalar() || node.quoted) return std::nullopt;
  if (node.scalar == "true" || node.scalar == "True" || node.scalar == "TRUE") return true;
  if (node.scalar == "false" || node.scalar == "False" || node.scalar == "FALSE") return false;
  return std::nullopt;
}

std::optional<Duration> ParseDuration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double ns;
  };
  static constexpr std::array<Unit, 8> kUnits = {
      {{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}}};
  bool negative = false;
  if (text.starts_with('-') || text.starts_with('+')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  if (text == "0") return Duration(0);
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    const size_t digits = text.find_first_not_of("0123456789.");
    if (digits == 0 || digits == std::string_view::npos) return std::nullopt;
    const auto amount = ParseNumber<double>(text.substr(0, digits));
    text.remove_prefix(digits);
    const std::string_view name = text.substr(0, text.find_first_of("0123456789."));
    const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
    if (!amount || unit == kUnits.end()) return std::nullopt;
    text.remove_prefix(name.size());
    total += *amount * unit->ns;
  }
  if (total > 9e18) return std::nullopt;
  return Duration(static_cast<int64_t>(std::llround(negative ? -total : total)));
}

std::optional<int64_t> ParseQuantity(std::string_view text) {
  struct Unit {
    std::string_view name;
    double factor;
  };
  static constexpr std::array<Unit, 13> kUnits = {{{"", 1},
                                                   {"k", 1e3},
                                                   {"M", 1e6},
                                                   {"G", 1e9},
                                                   {"T", 1e12},
                                                   {"P", 1e15},
                                                   {"E", 1e18},
                                                   {"Ki", 1024.0},
                                                   {"Mi", 1048576.0},
                                                   {"Gi", 1073741824.0},
                                                   {"Ti", 1099511627776.0},
                                                   {"Pi", 1125899906842624.0},
                                                   {"Ei", 1152921504606846976.0}}};
  if (const auto plain = ParseNumber<double>(text)) {  // "4096", "1e6"
    if (!(*plain >= 0) || *plain > 9.2e18 || *plain != std::trunc(*plain)) return std::nullopt;
    return static_cast<int64_t>(*plain);
  }
  const size_t digits = text.find_first_not_of("0123456789.");
  if (digits == 0 || digits == std::string_view::npos) return std::nullopt;
  const auto amount = ParseNumber<double>(text.substr(0, digits));
  const std::string_view name = text.substr(digits);
  const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
  if (!amount || unit == kUnits.end()) return std::nullopt;
  const double value = *amount * unit->factor;
  if (value > 9.2e18 || value != std::trunc(value)) return std::nullopt;
  return static_cast<int64_t>(value);
}

MapReader::MapReader(const Node& node, std::string path, Problems& problems)
    : node_(&node), path_(std::move(path)), problems_(&problems) {
  if (node.IsMap()) return;
  if (!node.IsNull()) problems.Error(node, path_, "expected a map, got " + Describe(node));
  node_ = &EmptyMap();
}

std::string MapReader::PathOf(std::string_view field) const {
  return path_.empty() ? std::string(field) : path_ + "." + std::string(field);
}

const Node* MapReader::Child(std::string_view field) {
  if (std::find(known_.begin(), known_.end(), field) == known_.end()) known_.emplace_back(field);
  const Node* node = node_->Find(field);
  return node != nullptr && !node->IsNull() ? node : nullptr;
}

int MapReader::LineOf(std::string_view field) const {
  for (const Entry& entry : node_->entries) {
    if (entry.key == field) return entry.line;
  }
  return node_->line;
}

void MapReader::Wrong(std::string_view field, const Node& node, std::string_view expected) {
  problems_->Error(node, PathOf(field), "expected " + std::string(expected) + ", got " + Describe(node));
}

std::string MapReader::String(std::string_view field, std::string fallback) {
  const Node* node = Child(field);
  if (node == nullptr) return fallback;
  if (node->IsScalar()) {
    // 8000 without quotes is a number to every other reader of this file; a string is meant where one is expected.
    return node->scalar;
  }
  Wrong(field, *node, "a string");
  return fallback;
}

std::string MapReader::RequiredString(std::string_view field) {
  const std::string value = String(field);
  const Node* node = node_->Find(field);
  if (node == nullptr || node->IsNull() || (node->IsScalar() && node->scalar.empty())) {
    problems_->Error(LineOf(field), PathOf(field), "is required and missing");
  }
  return value;
}

std::string MapReader::Choice(std::string_view field, std::string fallback, std::span<const std::string_view> choices) {
  const Node* node = Child(field);
  if (node == nullptr) return fallback;
  if (node->IsScalar() && std::find(choices.begin(), choices.end(), node->scalar) != choices.end()) return node->scalar;
  std::string list;
  for (std::string_view choice : choices) list += (list.empty() ? "" : ", ") + std::string(choice);
  problems_->Error(*node, PathOf(field),
                   "expected one of " + list + ", got " + Describe(*node) + DidYouMean(node->scalar, choices));
  return fallback;
}

int64_t MapReader::Int(std::string_view field, int64_t fallback, IntRange range) {
  const Node* node = Child(field);
  if (node == nullptr) return fallback;
  const auto value = AsInt(*node);
  if (value && *value >= range.min && *value <= range.max) return *value;
  Wrong(field, *node, "an integer" + RangeText(range, [](int64_t v) { return std::to_string(v); }));
  return fallback;
}

double MapReader::Number(std::string_view field, double fallback, NumberRange range) {
  const Node* node = Child(field);
  if (node == nullptr) return fallback;
  const auto value = AsNumber(*node);
  if (value && *value >= range.min && *value <= range.max) return *value;
  Wrong(field, *node, "a number" + RangeText(range, NumberText));
  return fallback;
}

bool MapReader::Bool(std::string_view field, bool fallback) {
  const Node* node = Child(field);
  if (node == nullptr) return fallback;
  if (const auto value = AsBool(*node)) return *value;
  Wrong(field, *node, "true or false");
  return fallback;
}

Duration MapReader::DurationOf(std::string_view field, Duration fallback) {
  const Node* node = Child(field);
  if (node == nullptr) return fallback;
  const auto value = node->IsScalar() ? ParseDuration(node->scalar) : std::nullopt;
  if (value && value->count() >= 0) return *value;
  if (value) {
    problems_->Error(*node, PathOf(field), "must be non-negative");
  } else {
    Wrong(field, *node, "a duration such as \"200ms\" or \"1m30s\"");
  }
  return fallback;
}

int64_t MapReader::Quantity(std::string_view field, int64_t fallback) {
  const Node* node = Child(field);
  if (node == nullptr) return fallback;
  const auto value = node->IsScalar() ? ParseQuantity(node->scalar) : std::nullopt;
  if (value) return *value;
  if (node->IsScalar() && node->scalar.starts_with('-')) {
    problems_->Error(*node, PathOf(field), "must be non-negative");
  } else {
    Wrong(field, *node, "a quantity such as 5000, \"1G\" or \"4Gi\"");
  }
  return fallback;
}

std::vector<std::string> MapReader::Strings(std::string_view field) {
  std::vector<std::string> values;
  Each(field, [&](const Node& item, const std::string& path) {
    if (item.IsScalar()) {
      values.push_back(item.scalar);
    } else {
      problems_->Error(item, path, "expected a string, got " + Describe(item));
    }
  });
  return values;
}

std::map<std::string, std::string> MapReader::StringMap(std::string_view field) {
  std::map<std::string, std::string> values;
  const Node* node = Child(field);
  if (node == nullptr) return values;
  if (!node->IsMap()) {
    Wrong(field, *node, "a map of strings");
    return values;
  }
  for (const Entry& entry : node->entries) {
    if (entry.value.IsScalar() || entry.value.IsNull()) {
      values[entry.key] = entry.value.scalar;
    } else {
      problems_->Error(entry.value, PathOf(field) + "." + entry.key, "expected a string, got " + Describe(entry.value));
    }
  }
  return values;
}

MapReader MapReader::Map(std::string_view field) {
  const Node* node = Child(field);
  return MapReader(node != nullptr ? *node : EmptyMap(), PathOf(field), *problems_);
}

void MapReader::Each(std::string_view field, const std::function<void(const Node&, const std::string&)>& fn) {
  const Node* node = Child(field);
  if (node == nullptr) return;
  if (!node->IsSequence()) {
    Wrong(field, *node, "a list");
    return;
  }
  for (size_t i = 0; i < node->items.size(); ++i) fn(node->items[i], PathOf(field) + "[" + std::to_string(i) + "]");
}

void MapReader::NotCarriedOut(std::string_view field, std::string_view why) {
  if (Child(field) != nullptr) Warn(field, std::string(why));
}

void MapReader::Error(std::string_view field, std::string message) {
  problems_->Error(LineOf(field), PathOf(field), std::move(message));
}

void MapReader::Warn(std::string_view field, std::string message) {
  problems_->Warn(LineOf(field), PathOf(field), std::move(message));
}

void MapReader::Finish() {
  for (const Entry& entry : node_->entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    problems_->Error(entry.line, PathOf(entry.key.substr(0, 80)), "unknown field" + DidYouMean(entry.key, known_));
  }
}

}  // namespace sluice::codec::yaml
