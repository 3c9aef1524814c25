#include "tokenize/vllm_messages.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <vector>

namespace sluice::tokenize {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kBillingHeader = "x-anthropic-billing-header";

tl::unexpected<Error> Wrong(std::string message, std::string param = "messages") {
  return Fail(Code::kInvalidArgument, std::move(message), std::move(param));
}

bool IsString(const Json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && at->is_string();
}

// The text of a part; nothing: the part is skipped.
Result<std::optional<std::string>> TextOf(const Json& part) {
  if (part.is_string()) return part.get<std::string>();
  if (!part.is_object() || !IsString(part, "type")) return Wrong("a content part has no type");
  const auto& type = part["type"].get_ref<const std::string&>();
  const bool refusal = type == "refusal";
  if (!refusal && type != "text" && type != "input_text" && type != "output_text") {
    return Fail(Code::kUnimplemented, "a content part of type '" + type + "' is the engine's to tokenize");
  }
  const auto text = part.find(refusal ? "refusal" : "text");
  if (text == part.end() || text->is_null()) return std::optional<std::string>();
  if (!text->is_string()) return Wrong("a content part's text is no string");
  return text->get<std::string>();
}

// A header that Claude Code puts first and that differs with each request; vLLM takes the line out.
std::optional<std::string> WithoutBillingHeader(std::string text) {
  if (!text.starts_with(kBillingHeader)) return text;
  const size_t line = text.find('\n');
  if (line == std::string::npos || line + 1 == text.size()) return std::nullopt;
  return text.substr(line + 1);
}

std::string Joined(const std::vector<std::string>& texts) {
  std::string out;
  for (size_t i = 0; i < texts.size(); ++i) out += (i > 0 ? "\n" : "") + texts[i];
  return out;
}

Result<Json> Content(const Json& message, const std::string& role, const MessageForm& form) {
  std::vector<std::string> texts;
  const auto add = [&](std::optional<std::string> text) {
    if (text && role == "system") text = WithoutBillingHeader(std::move(*text));
    if (text) texts.push_back(std::move(*text));
  };
  const auto content = message.find("content");
  if (content != message.end() && content->is_string()) {
    add(content->get<std::string>());
  } else if (content != message.end() && content->is_array()) {
    for (const Json& part : *content) {
      auto text = TextOf(part);
      if (!text) return tl::unexpected(text.error());
      add(std::move(*text));
    }
  } else if (content != message.end() && !content->is_null()) {
    return Wrong("a message's content is neither text nor a list");
  }
  if (!form.parts || role == "tool") return Json(Joined(texts));
  Json parts = Json::array();
  for (std::string& text : texts) parts.push_back({{"type", "text"}, {"text", std::move(text)}});
  return parts;
}

// With the fields in the order of vLLM's types, and no others.
Result<Json> ToolCall(const Json& call) {
  const auto function = call.is_object() ? call.find("function") : call.end();
  if (!call.is_object() || function == call.end() || !function->is_object() ||
      (call.contains("type") && call["type"] != "function")) {
    return Wrong("a message's tool call is not of the form of a function call");
  }
  Json arguments = Json::object();
  if (const auto given = function->find("arguments"); given != function->end()) {
    Json parsed = given->is_string() ? Json::parse(given->get_ref<const std::string&>(), nullptr, false) : *given;
    if (parsed.is_object()) arguments = std::move(parsed);
  }
  if (!PrintsAsPython(arguments)) {
    return Fail(Code::kUnimplemented, "a tool call's arguments have a number that Python prints otherwise");
  }
  Json out = Json::object();
  if (call.contains("id")) out["id"] = call["id"];
  out["function"]["arguments"] = std::move(arguments);
  if (function->contains("name")) out["function"]["name"] = (*function)["name"];
  out["type"] = "function";
  return out;
}

Result<Json> Message(const Json& message, const MessageForm& form) {
  if (!message.is_object() || !IsString(message, "role")) return Wrong("a message has no role");
  const auto role = message["role"].get<std::string>();
  auto content = Content(message, role, form);
  if (!content) return tl::unexpected(content.error());
  Json out = {{"role", role}, {"content", std::move(*content)}};
  if (role == "assistant") {
    const auto calls = message.find("tool_calls");
    if (calls != message.end() && calls->is_array() && !calls->empty()) {
      Json list = Json::array();
      for (const Json& call : *calls) {
        auto one = ToolCall(call);
        if (!one) return tl::unexpected(one.error());
        list.push_back(std::move(*one));
      }
      out["tool_calls"] = std::move(list);
    }
    // A null content selects a form of vLLM's message type that has no reasoning.
    const bool null_content = message.contains("content") && message["content"].is_null();
    if (IsString(message, "reasoning") && !null_content) {
      out["reasoning"] = message["reasoning"];
      out["reasoning_content"] = message["reasoning"];
    }
  } else if (role == "tool" && message.contains("tool_call_id")) {
    out["tool_call_id"] = message["tool_call_id"];
  }
  if (IsString(message, "name")) out["name"] = message["name"];
  if (role == "developer") out["tools"] = message.contains("tools") ? message["tools"] : Json();
  return out;
}

std::string SystemText(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  std::vector<std::string> texts;
  for (const Json& part : content) texts.push_back(part["text"].get<std::string>());
  return Joined(texts);
}

// Developer messages as system ones, and these as one at the front.
Json WithoutDeveloper(Json messages) {
  std::vector<std::string> system;
  Json others = Json::array();
  bool moved = false;
  for (size_t i = 0; i < messages.size(); ++i) {
    Json& message = messages[i];
    if (message["role"] == "developer") {
      message["role"] = "system";
      message.erase("tools");
    }
    if (message["role"] != "system") {
      others.push_back(message);
      continue;
    }
    moved = moved || i > 0;
    if (std::string text = SystemText(message["content"]); !text.empty()) system.push_back(std::move(text));
  }
  if (!moved) return messages;
  std::string text;
  for (size_t i = 0; i < system.size(); ++i) text += (i > 0 ? "\n\n" : "") + system[i];
  Json out = Json::array();
  out.push_back({{"role", "system"}, {"content", std::move(text)}});
  for (Json& message : others) out.push_back(std::move(message));
  return out;
}

}  // namespace

Result<Json> VllmMessages(const Json& body, const MessageForm& form) {
  const auto messages = body.find("messages");
  if (messages == body.end() || !messages->is_array() || messages->empty()) return Wrong("the body has no messages");
  Json out = Json::array();
  bool developer = false;
  for (const Json& message : *messages) {
    auto one = Message(message, form);
    if (!one) return tl::unexpected(one.error());
    developer = developer || (*one)["role"] == "developer";
    out.push_back(std::move(*one));
  }
  return developer && !form.developer ? WithoutDeveloper(std::move(out)) : out;
}

Result<Json> VllmTools(const Json& body) {
  const auto tools = body.find("tools");
  if (tools == body.end() || tools->is_null()) return Json();
  if (!tools->is_array()) return Wrong("'tools' is not a list", "tools");
  Json out = Json::array();
  for (const Json& tool : *tools) {
    const auto function = tool.is_object() ? tool.find("function") : tool.end();
    if (!tool.is_object() || function == tool.end() || !function->is_object() || !IsString(*function, "name")) {
      return Wrong("a tool is not a function with a name", "tools");
    }
    if (!PrintsAsPython(*function)) {
      return Fail(Code::kUnimplemented, "a tool has a number that Python prints otherwise");
    }
    Json described = {{"name", (*function)["name"]}};
    for (const char* field : {"description", "parameters"}) {
      described[field] = function->contains(field) ? (*function)[field] : Json();
    }
    const Json deferred = tool.value("defer_loading", Json());
    if (function->contains("strict") && !(*function)["strict"].is_null()) described["strict"] = (*function)["strict"];
    if (const Json own = function->value("defer_loading", deferred); !own.is_null()) described["defer_loading"] = own;
    Json one = {{"type", "function"}, {"function", std::move(described)}};
    if (!deferred.is_null()) one["defer_loading"] = deferred;
    out.push_back(std::move(one));
  }
  return out;
}

bool PrintsAsPython(const Json& value) {
  if (value.is_structured()) {
    return std::all_of(value.begin(), value.end(), [](const Json& item) { return PrintsAsPython(item); });
  }
  if (value.is_number_unsigned()) return value.get<uint64_t>() <= uint64_t{INT64_MAX};
  if (!value.is_number_float()) return true;
  // The engine prints six digits and neither Python's ".0" nor its exponents.
  std::ostringstream printed;
  printed << value.get<double>();
  const std::string text = printed.str();
  return text.find('.') != std::string::npos && text.find('e') == std::string::npos &&
         std::strtod(text.c_str(), nullptr) == value.get<double>();
}

}  // namespace sluice::tokenize
