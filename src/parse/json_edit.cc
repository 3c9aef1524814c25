#include "parse/json_edit.h"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "codec/json/write.h"

namespace sluice::parse {
namespace {

constexpr size_t kNone = std::string_view::npos;

size_t SkipSpace(std::string_view text, size_t at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) ++at;
  return at;
}

// From the opening quote to behind the closing one.
size_t SkipString(std::string_view text, size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      return at + 1;
    }
  }
  return kNone;
}

size_t SkipValue(std::string_view text, size_t at) {
  size_t depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = SkipString(text, at);
      if (at == kNone) return kNone;
    } else if (c == '{' || c == '[') {
      ++depth;
      ++at;
      continue;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return kNone;
      --depth;
      ++at;
    } else if (c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (depth == 0) return kNone;
      ++at;
      continue;
    } else {
      at = text.find_first_of(",:]}{[\" \t\r\n", at);
      if (at == kNone) at = text.size();
    }
    if (depth == 0) return at;
  }
  return kNone;
}

struct Member {
  std::string_view raw_key;  // between the quotes
  size_t begin;              // of the key's quote
  size_t value_begin;
  size_t value_end;
};

// Calls `visit(member)` for each member of the object that opens at `at`; where its closing brace is, or kNone.
template <class Visit>
size_t WalkObject(std::string_view text, size_t at, const Visit& visit) {
  if (at >= text.size() || text[at] != '{') return kNone;
  at = SkipSpace(text, at + 1);
  if (at < text.size() && text[at] == '}') return at;
  while (at < text.size() && text[at] == '"') {
    Member member{.raw_key = {}, .begin = at, .value_begin = 0, .value_end = 0};
    const size_t key_end = SkipString(text, at);
    if (key_end == kNone) return kNone;
    member.raw_key = text.substr(at + 1, key_end - at - 2);
    at = SkipSpace(text, key_end);
    if (at >= text.size() || text[at] != ':') return kNone;
    member.value_begin = SkipSpace(text, at + 1);
    member.value_end = SkipValue(text, member.value_begin);
    if (member.value_end == kNone) return kNone;
    visit(member);
    at = SkipSpace(text, member.value_end);
    if (at >= text.size()) return kNone;
    if (text[at] == '}') return at;
    if (text[at] != ',') return kNone;
    at = SkipSpace(text, at + 1);
  }
  return kNone;
}

tl::unexpected<Error> NotAnObject() { return Fail(Code::kInvalidArgument, "the request body must be a JSON object"); }

std::optional<uint32_t> Hex4(std::string_view raw, size_t at) {
  if (at + 4 > raw.size()) return std::nullopt;
  uint32_t value = 0;
  for (const char c : raw.substr(at, 4)) {
    value <<= 4;
    if (c >= '0' && c <= '9') {
      value |= static_cast<uint32_t>(c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
      value |= static_cast<uint32_t>((c | 0x20) - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return value;
}

// The UTF-8 of one code point, and its length.
std::pair<std::array<char, 4>, size_t> Utf8(uint32_t code) {
  const auto byte = [](uint32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
  if (code < 0x80) return {{byte(code)}, 1};
  if (code < 0x800) return {{byte(0xc0 | code >> 6), byte(0x80 | (code & 0x3f))}, 2};
  if (code < 0x10000) {
    return {{byte(0xe0 | code >> 12), byte(0x80 | (code >> 6 & 0x3f)), byte(0x80 | (code & 0x3f))}, 3};
  }
  return {{byte(0xf0 | code >> 18), byte(0x80 | (code >> 12 & 0x3f)), byte(0x80 | (code >> 6 & 0x3f)),
           byte(0x80 | (code & 0x3f))},
          4};
}

// What the escape at raw[at] (behind the backslash) stands for; `at` moves behind it. Nothing when it is none.
std::optional<uint32_t> Unescape(std::string_view raw, size_t& at) {
  if (at >= raw.size()) return std::nullopt;
  constexpr std::string_view kLetters = "\"\\/bfnrt";
  constexpr std::string_view kMeaning = "\"\\/\b\f\n\r\t";
  const char c = raw[at++];
  if (const size_t i = kLetters.find(c); i != kNone) return static_cast<uint32_t>(kMeaning[i]);
  if (c != 'u') return std::nullopt;
  auto code = Hex4(raw, at);
  if (!code) return std::nullopt;
  at += 4;
  if (*code >= 0xd800 && *code < 0xdc00 && raw.substr(at, 2) == "\\u") {
    const auto low = Hex4(raw, at + 2);
    if (low && *low >= 0xdc00 && *low < 0xe000) {
      at += 6;
      return 0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00);
    }
  }
  return code;
}

struct Cut {
  size_t begin, end;
};

constexpr std::array<std::string_view, 2> kTransferParams = {"kv_transfer_params", "ec_transfer_params"};

// Whether transfer parameters may stand within the value of this key, and one level further down only below `inner`.
struct Nest {
  std::string_view key;
  std::string_view inner;  // empty: directly
};
constexpr std::array<Nest, 3> kBodyNests = {
    {{"vllm_xargs", ""}, {"sampling_params", "extra_args"}, {"extra_args", ""}}};

// Notes what to cut from the object at `at`: transfer parameters, and below `nests` likewise. With a comma each.
size_t FindCuts(std::string_view text, size_t at, bool here, std::span<const Nest> nests, std::vector<Cut>& cuts) {
  size_t kept_end = kNone;  // of the last member that stays
  std::optional<Cut> pending;
  const auto is_transfer = [&](std::string_view key) {
    return here && (RawStringEquals(key, kTransferParams[0]) || RawStringEquals(key, kTransferParams[1]));
  };
  const size_t close = WalkObject(text, at, [&](const Member& member) {
    if (is_transfer(member.raw_key)) {
      if (!pending) pending = Cut{kept_end != kNone ? kept_end : member.begin, 0};
      pending->end = member.value_end;
      return;
    }
    if (pending) cuts.push_back({pending->begin, kept_end != kNone ? pending->end : member.begin});
    pending.reset();
    kept_end = member.value_end;
    for (const Nest& nest : nests) {
      if (!RawStringEquals(member.raw_key, nest.key)) continue;
      const std::array<Nest, 1> inner = {{{nest.inner, ""}}};
      FindCuts(text, member.value_begin, nest.inner.empty(), std::span(inner).first(nest.inner.empty() ? 0 : 1), cuts);
    }
  });
  if (pending) cuts.push_back(*pending);
  return close;
}

}  // namespace

bool RawStringEquals(std::string_view raw, std::string_view text) {
  if (raw.find('\\') == kNone) return raw == text;
  for (size_t at = 0; at < raw.size();) {
    if (raw[at] != '\\') {
      if (text.empty() || text.front() != raw[at]) return false;
      text.remove_prefix(1);
      ++at;
      continue;
    }
    ++at;
    const auto code = Unescape(raw, at);
    if (!code) return false;
    const auto [bytes, size] = Utf8(*code);
    if (!text.starts_with(std::string_view(bytes.data(), size))) return false;
    text.remove_prefix(size);
  }
  return text.empty();
}

std::optional<std::string_view> RawMember(std::string_view object, std::string_view name) {
  std::optional<std::string_view> found;
  WalkObject(object, SkipSpace(object, 0), [&](const Member& member) {
    if (RawStringEquals(member.raw_key, name)) {
      found = object.substr(member.value_begin, member.value_end - member.value_begin);
    }
  });
  return found;
}

Result<std::string> RewriteModel(std::string_view body, std::string_view model) {
  const size_t open = SkipSpace(body, 0);
  std::string out;
  out.reserve(body.size() + model.size() + 16);
  size_t copied = 0;
  bool empty = true;
  const size_t close = WalkObject(body, open, [&](const Member& member) {
    empty = false;
    if (!RawStringEquals(member.raw_key, "model")) return;
    out += body.substr(copied, member.value_begin - copied);
    codec::AppendQuoted(out, model);
    copied = member.value_end;
  });
  if (close == kNone) return NotAnObject();
  if (copied == 0) {
    out += body.substr(0, open + 1);
    out += "\"model\":";
    codec::AppendQuoted(out, model);
    if (!empty) out += ',';
    copied = open + 1;
  }
  out += body.substr(copied);
  return out;
}

Result<std::string> WithoutTransferParams(std::string_view body) {
  std::vector<Cut> cuts;
  if (FindCuts(body, SkipSpace(body, 0), /*here=*/true, kBodyNests, cuts) == kNone) return NotAnObject();
  std::string out;
  out.reserve(body.size());
  size_t copied = 0;
  for (const Cut& cut : cuts) {
    out += body.substr(copied, cut.begin - copied);
    copied = cut.end;
  }
  out += body.substr(copied);
  return out;
}

}  // namespace sluice::parse
