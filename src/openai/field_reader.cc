#include "openai/field_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "codec/json/write.h"

namespace sluice::openai {
namespace {

constexpr size_t kFaultsShown = 10;
constexpr size_t kInputShown = 128;
constexpr size_t kNameShown = 64;

std::string Cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  const size_t whole = codec::ValidUtf8Prefix(text.substr(0, limit));
  return std::string(text.substr(0, whole)) + "...";
}

}  // namespace

std::string PyQuoted(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    switch (c) {
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\\':
        out += "\\\\";
        break;
      default:
        if (c == quote) out += '\\';
        out += c;
    }
  }
  out += quote;
  return out;
}

std::string PyFloat(double value) {
  std::string out;
  codec::AppendDouble(out, value);
  return out == "null" ? "inf" : out;
}

std::string ShowInput(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "None";
    case Json::value_t::boolean:
      return value.get<bool>() ? "True" : "False";
    case Json::value_t::string:
      return Cut(value.get_ref<const std::string&>(), kInputShown);
    case Json::value_t::object:
      return "<dict of " + std::to_string(value.size()) + " items>";
    case Json::value_t::array:
      return "<list of " + std::to_string(value.size()) + " items>";
    case Json::value_t::number_float:
      return PyFloat(value.get<double>());
    default:
      return value.dump();
  }
}

void FormFaults::Add(std::string_view type, std::string_view location, std::string_view message, std::string_view input,
                     std::string_view context) {
  if (count_++ == 0) first_location_ = location;
  if (count_ > kFaultsShown) return;
  lines_ += "\n  {'type': " + PyQuoted(type) + ", 'loc': " + PyQuoted(location) + ", 'msg': " + PyQuoted(message) +
            ", 'input': " + PyQuoted(input);
  if (!context.empty()) lines_ += ", 'ctx': {" + std::string(context) + "}";
  lines_ += "}";
}

Error FormFaults::ToError() const {
  std::string message = std::to_string(count_) + (count_ == 1 ? " validation error:" : " validation errors:") + lines_;
  if (count_ > kFaultsShown) message += "\n  ...and " + std::to_string(count_ - kFaultsShown) + " more errors";
  return Error{Code::kInvalidArgument, std::move(message), first_location_};
}

FieldReader::FieldReader(const Json& object, std::string location, FormFaults& faults)
    : location_(std::move(location)), shown_object_(ShowInput(object)), faults_(faults) {
  members_.reserve(object.size());
  for (const auto& [name, value] : object.items()) members_.push_back({name, &value, false});
  std::sort(members_.begin(), members_.end(), [](const Member& a, const Member& b) { return a.name < b.name; });
}

FieldReader::Member* FieldReader::Find(std::string_view name) {
  const auto found =
      std::lower_bound(members_.begin(), members_.end(), name,
                       [](const Member& member, std::string_view wanted) { return member.name < wanted; });
  if (found == members_.end() || found->name != name) return nullptr;
  return &*found;
}

bool FieldReader::Has(std::string_view name) const { return const_cast<FieldReader*>(this)->Find(name) != nullptr; }

const Json* FieldReader::Any(std::string_view name) {
  Member* member = Find(name);
  if (member == nullptr) return nullptr;
  member->read = true;
  return member->value->is_null() ? nullptr : member->value;
}

void FieldReader::Fault(std::string_view type, std::string_view name, std::string_view message, const Json& input) {
  faults_.Add(type, At(name), message, ShowInput(input));
}

void FieldReader::Missing(std::string_view name) { faults_.Add("missing", At(name), "Field required", shown_object_); }

std::optional<int64_t> ReadInteger(const Json& value, std::string_view location, FormFaults& faults) {
  const auto fault = [&](std::string_view type, std::string_view message) {
    faults.Add(type, location, message, ShowInput(value));
    return std::nullopt;
  };
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) {
      return fault("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size");
    }
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (number != std::floor(number)) {
      return fault("int_from_float", "Input should be a valid integer, got a number with a fractional part");
    }
    if (std::fabs(number) >= 9.2e18) {
      return fault("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size");
    }
    return static_cast<int64_t>(number);
  }
  if (value.is_string()) {
    if (const auto number = ParseNumber<int64_t>(TrimSpace(value.get_ref<const std::string&>()))) return *number;
    return fault("int_parsing", "Input should be a valid integer, unable to parse string as an integer");
  }
  return fault("int_type", "Input should be a valid integer");
}

std::optional<double> ReadNumber(const Json& value, std::string_view location, FormFaults& faults) {
  if (value.is_number()) return value.get<double>();
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (value.is_string()) {
    const auto number = ParseNumber<double>(TrimSpace(value.get_ref<const std::string&>()));
    if (number && std::isfinite(*number)) return *number;
    faults.Add("float_parsing", location, "Input should be a valid number, unable to parse string as a number",
               ShowInput(value));
    return std::nullopt;
  }
  faults.Add("float_type", location, "Input should be a valid number", ShowInput(value));
  return std::nullopt;
}

std::optional<bool> ReadBool(const Json& value, std::string_view location, FormFaults& faults) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number() && (value == 0 || value == 1)) return value == 1;
  if (value.is_string()) {
    static constexpr std::array<std::string_view, 6> kTrue = {"true", "1", "on", "t", "y", "yes"};
    static constexpr std::array<std::string_view, 6> kFalse = {"false", "0", "off", "f", "n", "no"};
    const std::string text = AsciiLower(value.get_ref<const std::string&>());
    if (std::find(kTrue.begin(), kTrue.end(), text) != kTrue.end()) return true;
    if (std::find(kFalse.begin(), kFalse.end(), text) != kFalse.end()) return false;
  }
  if (value.is_string() || value.is_number()) {
    faults.Add("bool_parsing", location, "Input should be a valid boolean, unable to interpret input",
               ShowInput(value));
  } else {
    faults.Add("bool_type", location, "Input should be a valid boolean", ShowInput(value));
  }
  return std::nullopt;
}

std::optional<bool> FieldReader::Bool(std::string_view name) {
  const Json* value = Any(name);
  return value == nullptr ? std::nullopt : ReadBool(*value, At(name), faults_);
}

std::optional<int64_t> FieldReader::Integer(std::string_view name) {
  const Json* value = Any(name);
  return value == nullptr ? std::nullopt : ReadInteger(*value, At(name), faults_);
}

std::optional<double> FieldReader::Number(std::string_view name) {
  const Json* value = Any(name);
  return value == nullptr ? std::nullopt : ReadNumber(*value, At(name), faults_);
}

std::optional<std::string> FieldReader::String(std::string_view name) {
  const Json* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  Fault("string_type", name, "Input should be a valid string", *value);
  return std::nullopt;
}

std::optional<std::vector<int64_t>> FieldReader::Integers(std::string_view name) {
  const Json* value = Array(name);
  if (value == nullptr) return std::nullopt;
  std::vector<int64_t> numbers;
  numbers.reserve(value->size());
  for (const Json& element : *value) {
    const auto number = ReadInteger(element, At(name) + "." + std::to_string(numbers.size()), faults_);
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

std::optional<std::vector<std::string>> FieldReader::StringOrStrings(std::string_view name, size_t count_max) {
  const Json* value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
  if (!value->is_array()) {
    Fault("list_type", name, "Input should be a valid list", *value);
    return std::nullopt;
  }
  if (value->size() > count_max) {
    Fault("too_long", name,
          "List should have at most " + std::to_string(count_max) + " items after validation, not " +
              std::to_string(value->size()),
          *value);
    return std::nullopt;
  }
  std::vector<std::string> texts;
  for (const Json& element : *value) {
    if (!element.is_string()) {
      Fault("string_type", std::string(name) + "." + std::to_string(texts.size()), "Input should be a valid string",
            element);
      return std::nullopt;
    }
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

const Json* FieldReader::Object(std::string_view name) {
  const Json* value = Any(name);
  if (value == nullptr || value->is_object()) return value;
  Fault("dict_type", name, "Input should be a valid dictionary", *value);
  return nullptr;
}

const Json* FieldReader::Array(std::string_view name) {
  const Json* value = Any(name);
  if (value == nullptr || value->is_array()) return value;
  Fault("list_type", name, "Input should be a valid list", *value);
  return nullptr;
}

std::vector<std::string> FieldReader::Unread(size_t count_max) const {
  std::vector<std::string> names;
  for (const Member& member : members_) {
    if (names.size() == count_max) break;
    if (!member.read) names.push_back(Cut(member.name, kNameShown));
  }
  return names;
}

}  // namespace sluice::openai
