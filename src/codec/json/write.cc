#include "codec/json/write.h"

#include <array>
#include <charconv>
#include <cmath>

namespace sluice::codec {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// Length of the valid UTF-8 sequence at text[at], 0 when it is not one. Rejects overlong forms, surrogates and code
// points beyond U+10FFFF (RFC 3629 §4). `cut` says that the text ends inside a sequence that is valid so far.
size_t SequenceLength(std::string_view text, size_t at, bool& cut) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  cut = false;
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length = 0;
  unsigned low = 0x80, high = 0xBF;  // range of the second byte
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= text.size()) {
      cut = true;
      return 0;
    }
    if (byte(i) < low || byte(i) > high) return 0;
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

constexpr std::array<bool, 256> MakePlain() {
  std::array<bool, 256> plain{};
  for (int c = 0x20; c < 0x80; ++c) plain[static_cast<size_t>(c)] = true;
  plain['"'] = plain['\\'] = false;
  return plain;
}
constexpr std::array<bool, 256> kPlain = MakePlain();

void AppendControl(std::string& out, unsigned char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    default:
      break;
  }
  static constexpr std::string_view kHex = "0123456789abcdef";
  out += "\\u00";
  out += kHex[c >> 4];
  out += kHex[c & 15];
}

}  // namespace

void AppendEscaped(std::string& out, std::string_view text) {
  size_t from = 0;
  size_t at = 0;
  while (at < text.size()) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (kPlain[c]) {
      ++at;
      continue;
    }
    bool cut = false;
    const size_t length = c >= 0x80 ? SequenceLength(text, at, cut) : 0;
    if (length > 0) {
      at += length;
      continue;
    }
    out.append(text, from, at - from);
    if (c >= 0x80)
      out += kReplacement;
    else
      AppendControl(out, c);
    from = ++at;
  }
  out.append(text, from, at - from);
}

void AppendQuoted(std::string& out, std::string_view text) {
  out += '"';
  AppendEscaped(out, text);
  out += '"';
}

void AppendDouble(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  // Python's repr: plain digits for exponents -4 to 15, scientific outside.
  const double magnitude = std::fabs(value);
  const bool plain = magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  std::array<char, 40> digits;
  const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                    plain ? std::chars_format::fixed : std::chars_format::scientific);
  const std::string_view text(digits.data(), static_cast<size_t>(result.ptr - digits.data()));
  out += text;
  if (plain && text.find('.') == std::string_view::npos) out += ".0";
}

void AppendInt(std::string& out, int64_t value) {
  std::array<char, 24> digits;
  const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  out.append(digits.data(), result.ptr);
}

void AppendUint(std::string& out, uint64_t value) {
  std::array<char, 24> digits;
  const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  out.append(digits.data(), result.ptr);
}

size_t ValidUtf8Prefix(std::string_view text) {
  size_t at = 0;
  bool cut = false;
  while (at < text.size()) {
    const size_t length = SequenceLength(text, at, cut);
    if (length == 0) break;
    at += length;
  }
  return at;
}

void JsonWriter::Comma() {
  if (out_.size() == start_) return;
  const char last = out_.back();
  if (last != '{' && last != '[' && last != ':' && last != ',') out_ += ',';
}

JsonWriter& JsonWriter::Open(char bracket) {
  Comma();
  out_ += bracket;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  out_ += bracket;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view name) {
  Comma();
  AppendQuoted(out_, name);
  out_ += ':';
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view text) {
  Comma();
  AppendQuoted(out_, text);
  return *this;
}

JsonWriter& JsonWriter::Int(int64_t value) {
  Comma();
  AppendInt(out_, value);
  return *this;
}

JsonWriter& JsonWriter::Uint(uint64_t value) {
  Comma();
  AppendUint(out_, value);
  return *this;
}

JsonWriter& JsonWriter::Double(double value) {
  Comma();
  AppendDouble(out_, value);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) {
  Comma();
  out_ += value ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::Null() {
  Comma();
  out_ += "null";
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Comma();
  out_ += json;
  return *this;
}

}  // namespace sluice::codec
