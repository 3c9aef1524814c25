// How an answer calls tools, in the one format that Sluice's prompts ask for, its grammars force and its HTTP surface
// reads (the format of Hermes and Qwen templates):
//
//   <tool_call>
//   {"name": "get_weather", "arguments": {"city": "Oslo"}}
//   </tool_call>
//
// One call a pair of markers; several calls follow each other. "name" comes first, then "arguments", always an object.
// Where the newlines and blanks above stand there may be none or one: readers must not depend on them. The same text
// describes earlier calls in a prompt; results are given back in <tool_response> … </tool_response> in a user turn when
// the model's template knows no tools.
#pragma once

#include <string_view>

namespace sluice::tokenize {

inline constexpr std::string_view kToolCallBegin = "<tool_call>";
inline constexpr std::string_view kToolCallEnd = "</tool_call>";
inline constexpr std::string_view kToolResponseBegin = "<tool_response>";
inline constexpr std::string_view kToolResponseEnd = "</tool_response>";

}  // namespace sluice::tokenize
