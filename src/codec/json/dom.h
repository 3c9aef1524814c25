// ParseDom: JSON text into a tree (nlohmann::ordered_json: members keep their order, which prompts and grammars made of
// schemas depend on). For bodies whose every field matters; routing questions use reader.h.
// Bounded: bytes, depth and number of values. A repeated key takes its last value at its first place, as in Python.
// Invalid UTF-8 is an error. Thread rule: pure. Cost: about 10 ns a byte and 40 bytes of memory a value.
// Include <nlohmann/json.hpp> in the .cc that reads the tree, not in headers.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::codec {

struct DomLimits {
  size_t bytes_max = size_t{16} << 20;
  size_t depth_max = 128;
  size_t values_max = 2'000'000;  // keys are not counted
};

// What is wrong with a JSON text and where. `offset` is the number of bytes that were read without a fault.
struct JsonFault {
  Code code = Code::kInvalidArgument;
  size_t offset = 0;
  std::string what;
};

tl::expected<nlohmann::ordered_json, JsonFault> ParseDomWithFault(std::string_view text, const DomLimits& limits);

// As above with the fault as an Error: "invalid JSON at byte 34: …".
Result<nlohmann::ordered_json> ParseDom(std::string_view text, const DomLimits& limits);
// Whether the text is JSON within the limits, without building the tree.
Status CheckJson(std::string_view text, const DomLimits& limits);

// The tree as compact JSON text. Strings that are not UTF-8 get U+FFFD where they break.
std::string Dump(const nlohmann::ordered_json& value);

}  // namespace sluice::codec
