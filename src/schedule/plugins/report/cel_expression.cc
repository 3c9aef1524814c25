#include "schedule/plugins/report/cel_expression.h"

#include <algorithm>
#include <limits>

#include "base/text.h"

namespace sluice::schedule {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

std::optional<int64_t> Arithmetic(char op, int64_t a, int64_t b) {
  int64_t out = 0;
  switch (op) {
    case '+':
      return __builtin_add_overflow(a, b, &out) ? std::nullopt : std::optional(out);
    case '-':
      return __builtin_sub_overflow(a, b, &out) ? std::nullopt : std::optional(out);
    case '*':
      return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional(out);
    default:
      break;
  }
  if (b == 0 || (a == std::numeric_limits<int64_t>::min() && b == -1)) return std::nullopt;
  return op == '/' ? a / b : a % b;
}

}  // namespace

// Recursive descent, one function a level of precedence. The first problem ends it: then every function returns at
// once.
class CelParser {
 public:
  using Op = CelExpression::Op;
  using Type = CelExpression::Type;

  CelParser(std::string_view text, std::span<const std::string_view> names) : text_(text), names_(names) {}

  Result<CelExpression> Parse() {
    if (text_.size() > CelExpression::kBytesMax) Wrong("longer than " + std::to_string(CelExpression::kBytesMax));
    out_.root_ = Ternary();
    SkipSpace();
    if (problem_.empty() && at_ < text_.size()) Wrong("'" + std::string(1, text_[at_]) + "' is not expected here");
    if (!problem_.empty()) return Fail(Code::kInvalidArgument, problem_);
    return std::move(out_);
  }

 private:
  struct Deeper {
    explicit Deeper(CelParser& parser) : parser(parser) {
      if (++parser.depth_ > CelExpression::kDepthMax) {
        parser.Wrong("nested deeper than " + std::to_string(CelExpression::kDepthMax));
      }
    }
    ~Deeper() { --parser.depth_; }
    CelParser& parser;
  };

  uint16_t Wrong(const std::string& what) {
    if (problem_.empty()) problem_ = "column " + std::to_string(at_ + 1) + ": " + what;
    return 0;
  }

  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || (text_[at_] >= '\t' && text_[at_] <= '\r'))) ++at_;
  }
  bool Take(std::string_view token) {
    SkipSpace();
    if (!problem_.empty() || text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  uint16_t Add(Op op, Type type, uint16_t a = 0, uint16_t b = 0, uint16_t c = 0, int64_t value = 0) {
    if (!problem_.empty()) return 0;
    if (out_.nodes_.size() >= CelExpression::kNodesMax) {
      return Wrong("more than " + std::to_string(CelExpression::kNodesMax) + " operands and operators");
    }
    out_.nodes_.push_back({op, type, a, b, c, value});
    return static_cast<uint16_t>(out_.nodes_.size() - 1);
  }
  Type TypeOf(uint16_t node) const { return out_.nodes_.empty() ? Type::kInt : out_.nodes_[node].type; }
  void Expect(uint16_t node, Type type, std::string_view what) {
    if (problem_.empty() && TypeOf(node) != type) {
      Wrong(std::string(what) + " needs " + (type == Type::kInt ? "numbers" : "true or false"));
    }
  }

  uint16_t Ternary() {
    const Deeper deeper(*this);
    if (!problem_.empty()) return 0;
    const uint16_t condition = Or();
    if (!Take("?")) return condition;
    Expect(condition, Type::kBool, "the condition before ?");
    const uint16_t yes = Or();
    if (!Take(":")) return Wrong("':' is missing behind '?'");
    const uint16_t no = Ternary();
    if (problem_.empty() && TypeOf(yes) != TypeOf(no)) Wrong("both sides of ':' must be of one type");
    return Add(Op::kChoose, TypeOf(yes), condition, yes, no);
  }

  uint16_t Or() {
    uint16_t left = And();
    while (Take("||")) {
      const uint16_t right = And();
      Expect(left, Type::kBool, "||");
      Expect(right, Type::kBool, "||");
      left = Add(Op::kOr, Type::kBool, left, right);
    }
    return left;
  }

  uint16_t And() {
    uint16_t left = Relation();
    while (Take("&&")) {
      const uint16_t right = Relation();
      Expect(left, Type::kBool, "&&");
      Expect(right, Type::kBool, "&&");
      left = Add(Op::kAnd, Type::kBool, left, right);
    }
    return left;
  }

  uint16_t Relation() {
    struct Token {
      std::string_view text;
      Op op;
    };
    static constexpr Token kTokens[] = {{"==", Op::kEqual},        {"!=", Op::kNotEqual}, {"<=", Op::kLessEqual},
                                        {">=", Op::kGreaterEqual}, {"<", Op::kLess},      {">", Op::kGreater}};
    uint16_t left = Sum();
    for (bool found = true; found;) {
      found = false;
      for (const Token& token : kTokens) {
        if (!Take(token.text)) continue;
        const uint16_t right = Sum();
        if (problem_.empty() && TypeOf(left) != TypeOf(right)) {
          return Wrong("both sides of '" + std::string(token.text) + "' must be of one type");
        }
        left = Add(token.op, Type::kBool, left, right);
        found = true;
        break;
      }
    }
    return left;
  }

  uint16_t Binary(uint16_t left, Op op, std::string_view sign, uint16_t right) {
    Expect(left, Type::kInt, sign);
    Expect(right, Type::kInt, sign);
    return Add(op, Type::kInt, left, right);
  }

  uint16_t Sum() {
    uint16_t left = Product();
    while (true) {
      if (Take("+")) {
        left = Binary(left, Op::kAdd, "+", Product());
      } else if (Take("-")) {
        left = Binary(left, Op::kSubtract, "-", Product());
      } else {
        return left;
      }
    }
  }

  uint16_t Product() {
    uint16_t left = Unary();
    while (true) {
      if (Take("*")) {
        left = Binary(left, Op::kMultiply, "*", Unary());
      } else if (Take("/")) {
        left = Binary(left, Op::kDivide, "/", Unary());
      } else if (Take("%")) {
        left = Binary(left, Op::kRemainder, "%", Unary());
      } else {
        return left;
      }
    }
  }

  uint16_t Unary() {
    const Deeper deeper(*this);
    if (!problem_.empty()) return 0;
    SkipSpace();
    if (at_ < text_.size() && text_[at_] == '!') {
      ++at_;
      const uint16_t operand = Unary();
      Expect(operand, Type::kBool, "!");
      return Add(Op::kNot, Type::kBool, operand);
    }
    if (at_ < text_.size() && text_[at_] == '-') {
      ++at_;
      if (at_ < text_.size() && IsDigit(text_[at_])) return Number(/*negative=*/true);
      const uint16_t operand = Unary();
      Expect(operand, Type::kInt, "-");
      return Add(Op::kNegate, Type::kInt, operand);
    }
    return Primary();
  }

  uint16_t Primary() {
    SkipSpace();
    if (at_ >= text_.size()) return Wrong("a value is missing");
    if (Take("(")) {
      const uint16_t inner = Ternary();
      if (!Take(")")) return Wrong("')' is missing");
      return inner;
    }
    if (IsDigit(text_[at_])) return Number(/*negative=*/false);
    if (!IsNameStart(text_[at_])) return Wrong("'" + std::string(1, text_[at_]) + "' is not expected here");
    const std::string_view name = Name();
    if (name == "true" || name == "false") return Add(Op::kLiteral, Type::kBool, 0, 0, 0, name == "true");
    if (name != "has") return Add(Op::kName, Type::kInt, 0, 0, 0, IndexOf(name));
    if (!Take("(")) return Wrong("'(' is missing behind has");
    SkipSpace();
    const int64_t index = IndexOf(Name());
    if (!Take(")")) return Wrong("')' is missing");
    return Add(Op::kHas, Type::kBool, 0, 0, 0, index);
  }

  // Dotted, as written.
  std::string_view Name() {
    const size_t begin = at_;
    if (at_ >= text_.size() || !IsNameStart(text_[at_])) return {};
    while (at_ < text_.size() && (IsNameStart(text_[at_]) || IsDigit(text_[at_]) || text_[at_] == '.')) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  int64_t IndexOf(std::string_view name) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found != names_.end()) return found - names_.begin();
    at_ -= name.size();
    Wrong(name.empty() ? "a name is missing" : "'" + std::string(name) + "' is not known" + DidYouMean(name, names_));
    return 0;
  }

  uint16_t Number(bool negative) {
    const size_t begin = at_;
    const bool hex = text_.substr(at_, 2) == "0x" || text_.substr(at_, 2) == "0X";
    if (hex) at_ += 2;
    const size_t digits = at_;
    while (at_ < text_.size() && (IsDigit(text_[at_]) || IsNameStart(text_[at_]) || text_[at_] == '.')) ++at_;
    uint64_t magnitude = 0;
    const char* end = text_.data() + at_;
    const auto [stop, error] = std::from_chars(text_.data() + digits, end, magnitude, hex ? 16 : 10);
    const uint64_t most = static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) + negative;
    if (error != std::errc{} || stop != end || magnitude > most) {
      const std::string shown(text_.substr(begin, at_ - begin));
      at_ = begin;
      return Wrong("'" + shown + "' is not a whole number of 64 bits");
    }
    return Add(Op::kLiteral, Type::kInt, 0, 0, 0, static_cast<int64_t>(negative ? 0 - magnitude : magnitude));
  }

  std::string_view text_;
  std::span<const std::string_view> names_;
  CelExpression out_;
  std::string problem_;
  size_t at_ = 0;
  int depth_ = 0;
};

Result<CelExpression> CelExpression::Parse(std::string_view text, std::span<const std::string_view> names) {
  return CelParser(text, names).Parse();
}

std::optional<int64_t> CelExpression::ValueOf(uint16_t index, std::span<const std::optional<int64_t>> values) const {
  const Node& node = nodes_[index];
  switch (node.op) {
    case Op::kLiteral:
      return node.value;
    case Op::kName:
      return values[static_cast<size_t>(node.value)];
    case Op::kHas:
      return values[static_cast<size_t>(node.value)].has_value();
    case Op::kChoose: {
      const auto condition = ValueOf(node.a, values);
      if (!condition) return std::nullopt;
      return ValueOf(*condition != 0 ? node.b : node.c, values);
    }
    default:
      break;
  }
  const std::optional<int64_t> a = ValueOf(node.a, values);
  if (node.op == Op::kNot) return a ? std::optional<int64_t>(*a == 0) : a;
  if (node.op == Op::kNegate) return a ? Arithmetic('-', 0, *a) : a;
  const std::optional<int64_t> b = ValueOf(node.b, values);
  if (node.op == Op::kAnd || node.op == Op::kOr) {
    const int64_t decides = node.op == Op::kOr;
    if (a == decides || b == decides) return decides;
    return a && b ? std::optional<int64_t>(1 - decides) : std::nullopt;
  }
  if (!a || !b) return std::nullopt;
  switch (node.op) {
    case Op::kAdd:
      return Arithmetic('+', *a, *b);
    case Op::kSubtract:
      return Arithmetic('-', *a, *b);
    case Op::kMultiply:
      return Arithmetic('*', *a, *b);
    case Op::kDivide:
      return Arithmetic('/', *a, *b);
    case Op::kRemainder:
      return Arithmetic('%', *a, *b);
    case Op::kEqual:
      return *a == *b;
    case Op::kNotEqual:
      return *a != *b;
    case Op::kLess:
      return *a < *b;
    case Op::kLessEqual:
      return *a <= *b;
    case Op::kGreater:
      return *a > *b;
    default:
      return *a >= *b;
  }
}

}  // namespace sluice::schedule
