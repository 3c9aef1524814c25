#include "tokenize/chat_template.h"

#include <chat.h>

#include <nlohmann/json.hpp>

#include "tokenize/gguf_tokenizer.h"
#include "tokenize/tool_format.h"

namespace sluice::tokenize {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kDepthMax = 64;                    // of JSON given by a client: the renderers recurse
constexpr size_t kRenderedBytesMax = 16U << 20;  // a template may multiply its input

// Nesting is bounded while parsing, before anything recurses over the result.
Result<Json> ParseArray(const std::string& text, const char* param) {
  bool too_deep = false;
  const auto guard = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kDepthMax) too_deep = true;
    return !too_deep;
  };
  Json j = Json::parse(text, guard, /*allow_exceptions=*/false);
  if (too_deep) return Fail(Code::kInvalidArgument, std::string("'") + param + "' is nested too deeply", param);
  if (!j.is_array()) return Fail(Code::kInvalidArgument, std::string("'") + param + "' must be a JSON array", param);
  return j;
}

std::string TextOf(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (content.is_object()) return content.dump();  // some clients send a tool's result unencoded
  std::string out;
  if (content.is_array()) {
    for (const auto& part : content) {
      if (part.is_object() && part.contains("text") && part["text"].is_string()) out += part["text"].get<std::string>();
    }
  }
  return out;
}

std::string GenericToolPrompt(const Json& tools, bool parallel) {
  std::string out = "You may call functions to answer. These are the functions, one JSON schema a line:\n<tools>\n";
  for (const auto& tool : tools) {
    out += (tool.is_object() && tool.contains("function") ? tool["function"] : tool).dump() + "\n";
  }
  out += "</tools>\nTo call a function, answer with its name and arguments as a JSON object between tags:\n";
  out += std::string(kToolCallBegin) + "\n{\"name\": \"<function name>\", \"arguments\": {<arguments>}}\n" +
         std::string(kToolCallEnd) + "\n";
  out += parallel ? "Repeat the tags to call several functions." : "Call at most one function.";
  return out;
}

// A call in an earlier assistant message, as text.
std::string CallText(const Json& call) {
  const Json& f = call.contains("function") ? call["function"] : call;
  Json arguments = f.value("arguments", Json::object());
  if (arguments.is_string()) {
    Json parsed = Json::parse(arguments.get<std::string>(), nullptr, false);
    if (!parsed.is_discarded()) arguments = std::move(parsed);
  }
  Json body = {{"name", f.value("name", "")}, {"arguments", std::move(arguments)}};
  return std::string(kToolCallBegin) + "\n" + body.dump() + "\n" + std::string(kToolCallEnd);
}

// Rewrites a conversation with tools into one that any template can render.
Json WithoutTools(const Json& messages, const std::string& tool_prompt) {
  Json out = Json::array();
  for (const auto& m : messages) {
    if (!m.is_object()) {
      out.push_back(m);
      continue;
    }
    const std::string role = m.value("role", "");
    if (role == "tool") {
      const std::string text = std::string(kToolResponseBegin) + "\n" +
                               TextOf(m.contains("content") ? m["content"] : Json()) + "\n" +
                               std::string(kToolResponseEnd);
      // Results of parallel calls share one turn.
      if (!out.empty() && out.back().is_object() && out.back().contains("results")) {
        out.back()["content"] = out.back()["content"].get<std::string>() + "\n" + text;
      } else {
        out.push_back({{"role", "user"}, {"content", text}, {"results", true}});
      }
      continue;
    }
    Json copy = m;
    if (m.contains("tool_calls") && m["tool_calls"].is_array() && !m["tool_calls"].empty()) {
      std::string text = TextOf(m.contains("content") ? m["content"] : Json());
      for (const auto& call : m["tool_calls"]) {
        if (!call.is_object()) continue;
        if (!text.empty()) text += "\n";
        text += CallText(call);
      }
      copy["content"] = text;
    }
    copy.erase("tool_calls");
    out.push_back(std::move(copy));
  }
  for (auto& m : out) {
    if (m.is_object()) m.erase("results");
  }
  if (tool_prompt.empty()) return out;
  if (!out.empty() && out[0].is_object()) {
    const std::string role = out[0].value("role", "");
    if (role == "system" || role == "developer") {
      out[0]["content"] = TextOf(out[0].contains("content") ? out[0]["content"] : Json()) + "\n\n" + tool_prompt;
      return out;
    }
  }
  out.insert(out.begin(), Json{{"role", "system"}, {"content", tool_prompt}});
  return out;
}

bool UsesTools(const Json& messages) {
  for (const auto& m : messages) {
    if (m.is_object() && (m.contains("tool_calls") || (m.contains("role") && m["role"] == "tool"))) return true;
  }
  return false;
}

// Hermes' format and not another one inside the same markers (Qwen3-Coder writes XML there).
bool WritesOurFormat(const std::string& source) {
  return source.find(kToolCallBegin) != std::string::npos && source.find("<function=") == std::string::npos &&
         source.find("<arg_key>") == std::string::npos;
}

Error Refused(const std::exception& e) {
  return {Code::kInvalidArgument, std::string("the chat template cannot render these messages: ") + e.what(),
          "messages"};
}

}  // namespace

struct ChatTemplate::Impl {
  common_chat_templates_ptr templates;
};

ChatTemplate::ChatTemplate() : impl_(std::make_unique<Impl>()) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::Load(std::string source, std::string bos, std::string eos) {
  InitLlama();
  if (source.empty()) {
    return Fail(Code::kInvalidArgument, "the model has no chat template; give one with --chat-template",
                "chat_template");
  }
  auto out = std::unique_ptr<ChatTemplate>(new ChatTemplate());
  out->source_ = std::move(source);
  try {
    out->impl_->templates = common_chat_templates_init(nullptr, out->source_, bos, eos);
    const auto caps = common_chat_templates_get_caps(out->impl_->templates.get());
    const auto tools = caps.find("supports_tools");
    out->native_tools_ = tools != caps.end() && tools->second && WritesOurFormat(out->source_);
  } catch (const std::exception& e) {
    return Fail(Code::kInvalidArgument, std::string("the chat template cannot be parsed: ") + e.what(),
                "chat_template");
  }
  ChatInput probe;
  probe.messages_json = R"([{"role":"user","content":"Hello"}])";
  if (auto rendered = out->Render(probe); !rendered) {
    return Fail(Code::kInvalidArgument, "the chat template fails on a plain conversation: " + rendered.error().message,
                "chat_template");
  }
  return out;
}

Result<std::string> ChatTemplate::Render(const ChatInput& input) const {
  auto messages = ParseArray(input.messages_json, "messages");
  if (!messages) return tl::unexpected(messages.error());
  if (messages->empty()) return Fail(Code::kInvalidArgument, "'messages' must have at least one message", "messages");
  Json tools;
  if (!input.tools_json.empty()) {
    auto parsed = ParseArray(input.tools_json, "tools");
    if (!parsed) return tl::unexpected(parsed.error());
    tools = std::move(*parsed);
  }
  try {
    const bool has_tools = tools.is_array() && !tools.empty();
    if (!native_tools_ && (has_tools || UsesTools(*messages))) {
      *messages =
          WithoutTools(*messages, has_tools ? GenericToolPrompt(tools, input.parallel_tool_calls) : std::string());
    }
    common_chat_templates_inputs in;
    in.messages = common_chat_msgs_parse_oaicompat(common_json::parse(messages->dump()));
    if (has_tools && native_tools_) in.tools = common_chat_tools_parse_oaicompat(common_json::parse(tools.dump()));
    in.add_generation_prompt = input.add_generation_prompt && !input.continue_final_message;
    in.force_pure_content = true;  // only the prompt is wanted, not llama.cpp's own tool parser
    in.chat_template_kwargs = input.template_kwargs;
    if (const auto it = input.template_kwargs.find("enable_thinking"); it != input.template_kwargs.end()) {
      in.enable_thinking = it->second != "false";
    }
    std::string tail;
    if (input.continue_final_message) {
      tail = TextOf(messages->back().is_object() && messages->back().contains("content") ? messages->back()["content"]
                                                                                         : Json());
    }
    std::string prompt = common_chat_templates_apply(impl_->templates.get(), in).prompt;
    if (prompt.size() > kRenderedBytesMax) {
      return Fail(Code::kTooLarge, "the rendered prompt is larger than 16 MiB", "messages");
    }
    if (input.continue_final_message) {  // cut after the last message's own text, as transformers does
      while (!tail.empty() && std::isspace(static_cast<unsigned char>(tail.back()))) tail.pop_back();
      const size_t at = prompt.rfind(tail);
      if (tail.empty() || at == std::string::npos) {
        return Fail(Code::kInvalidArgument,
                    "continue_final_message needs a last message whose text the chat template keeps as it is",
                    "continue_final_message");
      }
      prompt.resize(at + tail.size());
    }
    return prompt;
  } catch (const std::exception& e) {
    return tl::unexpected(Refused(e));
  }
}

}  // namespace sluice::tokenize
