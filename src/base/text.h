// Small text tools that every layer needs: nearest known name (for "did you mean"), bounded number parsing, ASCII case.
// Thread rule: pure functions. Cost: as stated.
#pragma once

#include <charconv>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// The known name closest to `name` by edit distance, if it is close enough to be a likely typo (distance at most a
// third of the length, at least 2). O(known x |name| x |known name|).
std::optional<std::string_view> NearestName(std::string_view name, std::span<const std::string_view> known);

// "; did you mean 'X'?" or nothing. For the end of an error message.
std::string DidYouMean(std::string_view name, std::span<const std::string_view> known);
std::string DidYouMean(std::string_view name, const std::vector<std::string>& known);

// The whole of `text` as a number; nothing when it is empty, has other characters or does not fit.
template <class Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::string AsciiLower(std::string_view text);
bool SameIgnoringCase(const char* a, const char* b, size_t size);
// Most names that are compared differ in length: seen without a call.
inline bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && SameIgnoringCase(a.data(), b.data(), a.size());
}
// FNV-1a: a number for a text, the same in every process. Not for hash tables that strangers fill.
uint64_t Fnv1a64(std::string_view text);
std::string_view TrimSpace(std::string_view text);

// Pieces of `text` between `separator`s; empty pieces are kept. Views into `text`.
std::vector<std::string_view> Split(std::string_view text, char separator);

}  // namespace sluice
