// Base64 (RFC 4648, the standard alphabet, padded). Decoding is strict: no blanks, no missing padding, no stray bits,
// so equal bytes have one spelling. Thread rule: pure functions. Cost: O(bytes), one allocation.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

std::string Base64Encode(std::string_view bytes);
std::optional<std::string> Base64Decode(std::string_view text);

}  // namespace sluice
