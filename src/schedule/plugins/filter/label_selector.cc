#include "schedule/plugins/filter/label_selector.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr std::array<std::string_view, 4> kOperators = {"In", "NotIn", "Exists", "DoesNotExist"};

// At the commas outside of parentheses.
std::vector<std::string_view> SplitExpressions(std::string_view text) {
  std::vector<std::string_view> pieces;
  size_t begin = 0;
  int depth = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      pieces.push_back(TrimSpace(text.substr(begin, i - begin)));
      begin = i + 1;
    } else if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    }
  }
  return pieces;
}

}  // namespace

LabelSelector LabelSelector::Read(codec::yaml::MapReader& reader, codec::yaml::Problems& problems) {
  LabelSelector selector;
  for (auto& [key, value] : reader.StringMap("matchLabels")) {
    selector.expressions_.push_back({key, Operator::kIn, {value}});
  }
  reader.Each("matchExpressions", [&](const codec::yaml::Node& node, const std::string& path) {
    codec::yaml::MapReader item(node, path, problems);
    Expression expression;
    expression.key = item.RequiredString("key");
    const std::string op = item.Choice("operator", "", kOperators);
    if (!item.Has("operator")) item.Error("operator", "is required and missing");
    expression.op = static_cast<Operator>(std::find(kOperators.begin(), kOperators.end(), op) - kOperators.begin());
    expression.values = item.Strings("values");
    const bool set = expression.op == Operator::kIn || expression.op == Operator::kNotIn;
    if (set && expression.values.empty()) item.Error("values", "must not be empty with operator " + op);
    if (!set && !expression.values.empty()) item.Error("values", "must be empty with operator " + op);
    item.Finish();
    selector.expressions_.push_back(std::move(expression));
  });
  return selector;
}

Result<LabelSelector> LabelSelector::Parse(std::string_view text) {
  LabelSelector selector;
  if (TrimSpace(text).empty()) return selector;
  for (const std::string_view piece : SplitExpressions(text)) {
    auto expression = ParseExpression(piece);
    if (!expression) return tl::unexpected(expression.error());
    selector.expressions_.push_back(std::move(*expression));
  }
  return selector;
}

Result<LabelSelector::Expression> LabelSelector::ParseExpression(std::string_view text) {
  const auto wrong = [&] {
    return Fail(Code::kInvalidArgument, "'" + std::string(text) +
                                            "' is not a label requirement; write key=value, key!=value, key in (a,b), "
                                            "key notin (a,b), key or !key");
  };
  const auto is_word = [](std::string_view word) {
    return !word.empty() && word.find_first_of(" \t(),=!") == std::string_view::npos;
  };
  if (text.starts_with('!')) {
    const std::string_view key = TrimSpace(text.substr(1));
    if (!is_word(key)) return wrong();
    return Expression{std::string(key), Operator::kDoesNotExist, {}};
  }
  if (is_word(text)) return Expression{std::string(text), Operator::kExists, {}};
  if (const size_t equals = text.find('='); equals != std::string_view::npos && equals > 0) {
    const bool negated = text[equals - 1] == '!';
    const bool twice = !negated && text.substr(equals).starts_with("==");
    const std::string_view key = TrimSpace(text.substr(0, equals - negated));
    const std::string_view value = TrimSpace(text.substr(equals + 1 + twice));
    if (!is_word(key) || (!value.empty() && !is_word(value))) return wrong();
    return Expression{std::string(key), negated ? Operator::kNotIn : Operator::kIn, {std::string(value)}};
  }
  const size_t open = text.find('(');
  if (open == std::string_view::npos || !text.ends_with(')')) return wrong();
  const std::string_view head = TrimSpace(text.substr(0, open));
  const size_t space = head.find_first_of(" \t");
  if (space == std::string_view::npos) return wrong();
  const std::string_view op = TrimSpace(head.substr(space));
  if ((op != "in" && op != "notin") || !is_word(head.substr(0, space))) return wrong();
  Expression expression{std::string(head.substr(0, space)), op == "in" ? Operator::kIn : Operator::kNotIn, {}};
  for (const std::string_view value : Split(text.substr(open + 1, text.size() - open - 2), ',')) {
    if (!TrimSpace(value).empty() && !is_word(TrimSpace(value))) return wrong();
    expression.values.emplace_back(TrimSpace(value));
  }
  return expression;
}

bool LabelSelector::Matches(const std::map<std::string, std::string>& labels) const {
  return std::all_of(expressions_.begin(), expressions_.end(), [&](const Expression& e) {
    const auto at = labels.find(e.key);
    const bool has = at != labels.end();
    const bool listed = has && std::find(e.values.begin(), e.values.end(), at->second) != e.values.end();
    switch (e.op) {
      case Operator::kIn:
        return listed;
      case Operator::kNotIn:
        return !listed;  // as in Kubernetes, a missing label is not in any set
      case Operator::kExists:
        return has;
      case Operator::kDoesNotExist:
        return !has;
    }
    return false;
  });
}

}  // namespace sluice::schedule
