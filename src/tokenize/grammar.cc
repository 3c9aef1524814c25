#include "tokenize/grammar.h"

#include <json-schema-to-grammar.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "tokenize/gguf_tokenizer.h"
#include "tokenize/tool_format.h"

namespace sluice::tokenize {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kSchemaBytesMax = 256 << 10;
constexpr int kSchemaDepthMax = 48;
constexpr size_t kToolsMax = 128;
constexpr size_t kGrammarBytesMax = 4 << 20;

Result<Json> ParseBounded(std::string_view text, const char* param) {
  if (text.size() > kSchemaBytesMax) {
    return Fail(Code::kTooLarge, std::string("'") + param + "' is larger than 256 KiB", param);
  }
  bool too_deep = false;
  const auto guard = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kSchemaDepthMax) too_deep = true;
    return !too_deep;
  };
  Json j = Json::parse(text, guard, /*allow_exceptions=*/false);
  if (too_deep) return Fail(Code::kInvalidArgument, std::string("'") + param + "' is nested too deeply", param);
  if (j.is_discarded()) return Fail(Code::kInvalidArgument, std::string("'") + param + "' is not valid JSON", param);
  return j;
}

Result<std::string> Bounded(std::string grammar, const char* param) {
  if (grammar.size() > kGrammarBytesMax) {
    return Fail(Code::kTooLarge, std::string("'") + param + "' needs a grammar larger than 4 MiB", param);
  }
  return grammar;
}

Result<std::string> SchemaToGrammar(const Json& schema, const char* param) {
  InitLlama();
  try {
    return Bounded(json_schema_to_grammar(common_json::parse(schema.dump()), /*force_gbnf=*/true), param);
  } catch (const std::exception& e) {
    return Fail(Code::kInvalidArgument, std::string("the schema cannot be turned into a grammar: ") + e.what(), param);
  }
}

}  // namespace

Result<std::string> JsonSchemaGrammar(std::string_view schema_json) {
  auto schema = ParseBounded(schema_json, "response_format");
  if (!schema) return tl::unexpected(schema.error());
  if (!schema->is_object() && !schema->is_boolean()) {
    return Fail(Code::kInvalidArgument, "a JSON schema must be an object", "response_format");
  }
  return SchemaToGrammar(schema->is_boolean() ? Json::object() : *schema, "response_format");
}

Result<std::string> JsonObjectGrammar() { return SchemaToGrammar(Json{{"type", "object"}}, "response_format"); }

Result<ToolGrammar> ToolCallGrammar(std::string_view tools_json, ToolChoice choice, std::string_view only_tool,
                                    bool parallel) {
  InitLlama();
  auto tools = ParseBounded(tools_json, "tools");
  if (!tools) return tl::unexpected(tools.error());
  if (!tools->is_array() || tools->empty() || tools->size() > kToolsMax) {
    return Fail(Code::kInvalidArgument, "'tools' must be an array of 1 to 128 tools", "tools");
  }
  std::vector<std::pair<std::string, Json>> calls;  // name, schema of its arguments
  std::vector<std::string> names;
  for (const auto& tool : *tools) {
    const Json& f = tool.is_object() && tool.contains("function") ? tool["function"] : tool;
    if (!f.is_object() || !f.contains("name") || !f["name"].is_string()) {
      return Fail(Code::kInvalidArgument, "each of 'tools' must have a function with a name", "tools");
    }
    const auto name = f["name"].get<std::string>();
    names.push_back(name);
    if (!only_tool.empty() && name != only_tool) continue;
    Json parameters = f.contains("parameters") && f["parameters"].is_object() ? f["parameters"] : Json::object();
    if (!parameters.contains("type") && !parameters.contains("$ref")) parameters["type"] = "object";
    if (!parameters.contains("properties") && !parameters.contains("additionalProperties") && parameters.size() == 1) {
      parameters["properties"] = Json::object();  // a tool without parameters takes {}
      parameters["additionalProperties"] = false;
    }
    calls.emplace_back(name, std::move(parameters));
  }
  if (calls.empty()) {
    return Fail(
        Code::kInvalidArgument,
        "tool_choice names '" + std::string(only_tool) + "', which is not among 'tools'" + DidYouMean(only_tool, names),
        "tool_choice");
  }
  ToolGrammar out;
  try {
    std::vector<common_chat_schema_document> documents;
    for (const auto& [name, schema] : calls) {
      documents.push_back(common_chat_schema_from_json(common_json::parse(schema.dump())));
    }
    out.grammar = build_grammar([&](const common_grammar_builder& builder) {
      builder.add_rule("blank", "\" \"?");
      const std::string line = builder.add_rule("line", "[ \\n]?");
      std::string any;
      for (size_t i = 0; i < calls.size(); ++i) {
        const std::string arguments = builder.add_schema("tool-" + std::to_string(i) + "-args", *documents[i].root);
        const std::string name = gbnf_format_literal(Json(calls[i].first).dump());
        const std::string rule = builder.add_rule(
            "tool-" + std::to_string(i), gbnf_format_literal("{\"name\":") + " blank " + name + " \",\" blank " +
                                             gbnf_format_literal("\"arguments\":") + " blank " + arguments + " \"}\"");
        any += (i == 0 ? "" : " | ") + rule;
      }
      const std::string call =
          builder.add_rule("call", gbnf_format_literal(std::string(kToolCallBegin)) + " " + line + " ( " + any + " ) " +
                                       line + " " + gbnf_format_literal(std::string(kToolCallEnd)));
      builder.add_rule("root", parallel ? call + " ( " + line + " " + call + " ){0,15}" : call);
    });
  } catch (const std::exception& e) {
    return Fail(Code::kInvalidArgument, std::string("the tools' schemas cannot be turned into a grammar: ") + e.what(),
                "tools");
  }
  if (auto bounded = Bounded(out.grammar, "tools"); !bounded) return tl::unexpected(bounded.error());
  out.lazy = choice == ToolChoice::kAuto;
  if (out.lazy) out.triggers.emplace_back(kToolCallBegin);
  return out;
}

}  // namespace sluice::tokenize
