// Writing JSON straight into a std::string, without building a tree. For response bodies and log fields, where the
// layout is known and the time counts. The caller is trusted to open and close what it opens; commas are placed here.
// Thread rule: plain values, one owner. Cost: one pass over the text; no allocation beyond the growth of the string.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace sluice::codec {

// Appends `text` as the inside of a JSON string (no quotes). Bytes that are not UTF-8 become U+FFFD, so that the result
// always is. Characters beyond ASCII stay as they are.
void AppendEscaped(std::string& out, std::string_view text);
// Appends `text` as a JSON string, with quotes.
void AppendQuoted(std::string& out, std::string_view text);
// Appends a number as Python's json writes a float: shortest text that reads back equal, always with a point or an
// exponent. JSON has no NaN or infinity: those become null.
void AppendDouble(std::string& out, double value);
void AppendInt(std::string& out, int64_t value);
void AppendUint(std::string& out, uint64_t value);

// The longest prefix of `text` that is whole UTF-8 characters, all valid. For text that arrives in pieces.
size_t ValidUtf8Prefix(std::string_view text);

// JsonWriter writes one value after another: w.BeginObject().Field("id", id).Key("choices").BeginArray()…
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out), start_(out.size()) {}

  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  JsonWriter& Key(std::string_view name);

  JsonWriter& String(std::string_view text);
  JsonWriter& Int(int64_t value);
  JsonWriter& Uint(uint64_t value);
  JsonWriter& Double(double value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  JsonWriter& Raw(std::string_view json);  // already JSON; one whole value

  // Key and value in one call.
  JsonWriter& Field(std::string_view name, std::string_view text) { return Key(name).String(text); }
  JsonWriter& Field(std::string_view name, const char* text) { return Key(name).String(text); }
  JsonWriter& Field(std::string_view name, const std::string& text) { return Key(name).String(text); }
  JsonWriter& Field(std::string_view name, std::nullptr_t) { return Key(name).Null(); }
  JsonWriter& Field(std::string_view name, bool value) { return Key(name).Bool(value); }
  template <class Number>
    requires std::is_arithmetic_v<Number>
  JsonWriter& Field(std::string_view name, Number value) {
    Key(name);
    if constexpr (std::is_floating_point_v<Number>)
      return Double(value);
    else if constexpr (std::is_signed_v<Number>)
      return Int(value);
    else
      return Uint(value);
  }
  template <class Integer>
    requires std::is_integral_v<Integer>
  JsonWriter& Ints(std::span<const Integer> values) {
    BeginArray();
    for (const Integer value : values) Int(static_cast<int64_t>(value));
    return EndArray();
  }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  void Comma();

  std::string& out_;
  size_t start_;
};

}  // namespace sluice::codec
