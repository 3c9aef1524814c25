#include "codec/json/reader.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "codec/json/dom.h"

namespace sluice::codec {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

}  // namespace

struct JsonValueAccess {
  static JsonValue Wrap(const element& value) {
    static_assert(sizeof(element) == JsonValue::kSize && std::is_trivially_copyable_v<element>);
    JsonValue wrapped;
    std::memcpy(wrapped.storage_, &value, sizeof(value));
    return wrapped;
  }
  static element Unwrap(const JsonValue& value) {
    element inner;
    std::memcpy(static_cast<void*>(&inner), value.storage_, sizeof(inner));
    return inner;
  }
};

struct JsonReader::Impl {
  simdjson::dom::parser parser;
};

JsonValue::Type JsonValue::type() const {
  switch (JsonValueAccess::Unwrap(*this).type()) {
    case element_type::ARRAY:
      return Type::kArray;
    case element_type::OBJECT:
      return Type::kObject;
    case element_type::INT64:
      return Type::kInt;
    case element_type::UINT64:
      return Type::kUint;
    case element_type::DOUBLE:
      return Type::kDouble;
    case element_type::STRING:
      return Type::kString;
    case element_type::BOOL:
      return Type::kBool;
    case element_type::NULL_VALUE:
      break;
  }
  return Type::kNull;
}

std::optional<std::string_view> JsonValue::String() const {
  std::string_view text;
  if (JsonValueAccess::Unwrap(*this).get(text) != simdjson::SUCCESS) return std::nullopt;
  return text;
}

std::optional<bool> JsonValue::Bool() const {
  bool value = false;
  if (JsonValueAccess::Unwrap(*this).get(value) != simdjson::SUCCESS) return std::nullopt;
  return value;
}

std::optional<int64_t> JsonValue::Int() const {
  int64_t value = 0;
  if (JsonValueAccess::Unwrap(*this).get(value) != simdjson::SUCCESS) return std::nullopt;
  return value;
}

std::optional<double> JsonValue::Number() const {
  double value = 0;
  if (JsonValueAccess::Unwrap(*this).get(value) != simdjson::SUCCESS) return std::nullopt;
  return value;
}

std::optional<JsonValue> JsonValue::Find(std::string_view key) const {
  simdjson::dom::object object;
  if (JsonValueAccess::Unwrap(*this).get(object) != simdjson::SUCCESS) return std::nullopt;
  std::optional<JsonValue> found;
  for (auto member = object.begin(); member != object.end(); ++member) {
    if (member.key_equals(key)) found = JsonValueAccess::Wrap(member.value());
  }
  return found;
}

void JsonValue::ForEachElement(const std::function<bool(JsonValue)>& visit) const {
  simdjson::dom::array array;
  if (JsonValueAccess::Unwrap(*this).get(array) != simdjson::SUCCESS) return;
  for (const element value : array) {
    if (!visit(JsonValueAccess::Wrap(value))) return;
  }
}

void JsonValue::ForEachMember(const std::function<bool(std::string_view, JsonValue)>& visit) const {
  simdjson::dom::object object;
  if (JsonValueAccess::Unwrap(*this).get(object) != simdjson::SUCCESS) return;
  for (const auto member : object) {
    if (!visit(member.key, JsonValueAccess::Wrap(member.value))) return;
  }
}

std::string JsonValue::ToJson() const { return simdjson::minify(JsonValueAccess::Unwrap(*this)); }

size_t JsonValue::Count() const {
  // Counted here: simdjson's own count saturates at 2^24.
  size_t n = 0;
  const element value = JsonValueAccess::Unwrap(*this);
  simdjson::dom::array array;
  simdjson::dom::object object;
  if (value.get(array) == simdjson::SUCCESS) {
    for ([[maybe_unused]] const element ignored : array) ++n;
  } else if (value.get(object) == simdjson::SUCCESS) {
    for ([[maybe_unused]] const auto ignored : object) ++n;
  }
  return n;
}

JsonReader::JsonReader() : JsonReader(Options{}) {}
JsonReader::JsonReader(Options options) : options_(options), impl_(std::make_unique<Impl>()) {}
JsonReader::~JsonReader() = default;

Result<JsonValue> JsonReader::Parse(std::string_view text) {
  if (text.size() > options_.bytes_max) {
    return Fail(Code::kTooLarge, "the JSON text has " + std::to_string(text.size()) + " bytes; the limit is " +
                                     std::to_string(options_.bytes_max));
  }
  if (impl_->parser.capacity() > kKeptBytes && text.size() <= kKeptBytes) impl_ = std::make_unique<Impl>();
  if (impl_->parser.capacity() < text.size() || impl_->parser.max_depth() != options_.depth_max) {
    if (impl_->parser.allocate(std::max<size_t>(text.size(), 4096), options_.depth_max) != simdjson::SUCCESS) {
      return Fail(Code::kResourceExhausted,
                  "no memory to parse a JSON text of " + std::to_string(text.size()) + " bytes");
    }
  }
  element root;
  const auto error = impl_->parser.parse(text.data(), text.size(), /*realloc_if_needed=*/true).get(root);
  if (error == simdjson::SUCCESS) return JsonValueAccess::Wrap(root);
  // simdjson does not say where. The slow parser does, and errors are rare.
  DomLimits limits;
  limits.bytes_max = options_.bytes_max;
  limits.depth_max = options_.depth_max;
  if (Status slow = CheckJson(text, limits); !slow) return tl::unexpected<Error>(std::move(slow.error()));
  return Fail(Code::kInvalidArgument, std::string("invalid JSON: ") + simdjson::error_message(error));
}

}  // namespace sluice::codec
