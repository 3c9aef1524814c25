// JsonReader: fast reading of a few fields of a large JSON text (simdjson), for questions such as "which model,
// streamed or not, how long is the prompt". It validates the whole text (syntax, UTF-8, depth) but builds no tree of
// objects. A key that occurs twice has its last value, as in Python and in every engine behind us: reading the first
// one would let a caller show the router one model and the engine another. Thread rule: one reader a thread. Ownership:
// values are views into the reader, dead at its next Parse. Cost: about 1 ns a byte, one copy of the text (simdjson
// needs padding); buffers are kept from call to call, up to `kKeptBytes`, so that one large body does not hold memory
// for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::codec {

class JsonValue {
 public:
  enum class Type : uint8_t { kNull, kBool, kInt, kUint, kDouble, kString, kArray, kObject };

  Type type() const;
  bool IsObject() const { return type() == Type::kObject; }
  bool IsArray() const { return type() == Type::kArray; }
  std::optional<std::string_view> String() const;
  std::optional<bool> Bool() const;
  std::optional<int64_t> Int() const;  // an integer that fits
  std::optional<double> Number() const;

  // The member of that name (the last one, when there are several); nothing when there is none or this is no object.
  std::optional<JsonValue> Find(std::string_view key) const;
  // Elements of an array, members of an object, in order; nothing for other types. Stops when `visit` says false.
  void ForEachElement(const std::function<bool(JsonValue)>& visit) const;
  void ForEachMember(const std::function<bool(std::string_view key, JsonValue)>& visit) const;
  size_t Count() const;        // elements or members; 0 for other types
  std::string ToJson() const;  // the value as compact JSON text

 private:
  friend struct JsonValueAccess;
  JsonValue() = default;
  static constexpr size_t kSize = 16;
  alignas(8) std::byte storage_[kSize];  // a simdjson::dom::element, which this header does not want to know
};

class JsonReader {
 public:
  struct Options {
    size_t bytes_max = size_t{16} << 20;
    size_t depth_max = 128;
  };
  static constexpr size_t kKeptBytes = size_t{1} << 20;

  JsonReader();
  explicit JsonReader(Options options);
  ~JsonReader();
  JsonReader(const JsonReader&) = delete;
  JsonReader& operator=(const JsonReader&) = delete;

  // The whole text as one value. kTooLarge beyond bytes_max; kInvalidArgument with the byte offset of what is wrong.
  Result<JsonValue> Parse(std::string_view text);

 private:
  struct Impl;
  Options options_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::codec
