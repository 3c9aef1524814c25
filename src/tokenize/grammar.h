// Grammars (GBNF) that hold an answer to a form: a JSON schema, any JSON object, or tool calls in the format of
// tool_format.h. A caller's schema is bounded here, because llama.cpp's converter recurses over it.
// Thread rule: pure functions. Cost: about 0.1 ms for a small schema, growing with it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::tokenize {

// For response_format {"type":"json_schema"}. kInvalidArgument when the schema is malformed or uses what the converter
// does not know.
Result<std::string> JsonSchemaGrammar(std::string_view schema_json);
// For response_format {"type":"json_object"}: any JSON object.
Result<std::string> JsonObjectGrammar();

struct ToolGrammar {
  std::string grammar;
  bool lazy = false;                  // free text until a trigger
  std::vector<std::string> triggers;  // with lazy
};
enum class ToolChoice { kAuto, kRequired };
// From OpenAI's "tools". With `only_tool` (tool_choice names a function) just that one may be called. kRequired: the
// answer is one or, with `parallel`, several calls and nothing else. kAuto: free text; calls, once begun, are held to
// the tools' schemas.
Result<ToolGrammar> ToolCallGrammar(std::string_view tools_json, ToolChoice choice, std::string_view only_tool,
                                    bool parallel);

}  // namespace sluice::tokenize
