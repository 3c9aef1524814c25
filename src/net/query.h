// The query part of a URL.
// Thread rule: pure. Cost: one pass.
#pragma once

#include <string>
#include <string_view>

namespace sluice::net {

// The first value of that name, decoded (%20, +); empty when it is not there. A % that is not followed by two
// hexadecimal digits stands for itself.
std::string QueryValue(std::string_view query, std::string_view name);

// `text` as a value in a query.
std::string QueryEscape(std::string_view text);

}  // namespace sluice::net
