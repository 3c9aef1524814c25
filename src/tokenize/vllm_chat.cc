#include "tokenize/vllm_chat.h"

#include <jinja/lexer.h>
#include <jinja/parser.h>
#include <jinja/runtime.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "tokenize/vllm_messages.h"

namespace sluice::tokenize {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDepthMax = 64;                    // of JSON given by a client: conversions recurse
constexpr size_t kRenderedBytesMax = 16U << 20;  // a template may multiply its input
constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";

Result<Json> ParseBody(std::string_view body) {
  bool too_deep = false;
  const auto guard = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kDepthMax) too_deep = true;
    return !too_deep;
  };
  Json json = Json::parse(body, guard, /*allow_exceptions=*/false);
  if (too_deep) return Fail(Code::kUnimplemented, "the body is nested more than 64 deep");
  if (!json.is_object()) return Fail(Code::kInvalidArgument, "the body is not a JSON object");
  return json;
}

jinja::value ToValue(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return jinja::mk_val<jinja::value_bool>(json.get<bool>());
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return jinja::mk_val<jinja::value_int>(json.get<int64_t>());
    case Json::value_t::number_float:
      return jinja::mk_val<jinja::value_float>(json.get<double>());
    case Json::value_t::string:
      return jinja::mk_val<jinja::value_string>(json.get_ref<const std::string&>());
    case Json::value_t::array: {
      auto list = jinja::mk_val<jinja::value_array>();
      for (const Json& item : json) list->push_back(ToValue(item));
      return list;
    }
    case Json::value_t::object: {
      auto object = jinja::mk_val<jinja::value_object>();
      for (const auto& [key, value] : json.items()) object->insert(key, ToValue(value));
      return object;
    }
    default:
      return jinja::mk_val<jinja::value_none>();
  }
}

bool Truthy(const Json& object, const char* name, bool fallback) {
  const auto at = object.find(name);
  return at != object.end() && at->is_boolean() ? at->get<bool>() : fallback;
}

const Json* Present(const Json& object, const char* name) {
  const auto at = object.find(name);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

tl::unexpected<Error> NotKnown(std::string what) { return Fail(Code::kUnimplemented, std::move(what)); }

// Appends the tag to the last message's text. As transformers does.
Status MarkFinalMessage(Json& messages, std::string& text) {
  Json& content = messages.back()["content"];
  if (content.is_string()) {
    text = content.get<std::string>();
    content = text + std::string(kContinueTag);
    return {};
  }
  if (content.is_array()) {
    for (auto part = content.rbegin(); part != content.rend(); ++part) {
      if (!part->is_object() || !part->contains("text")) continue;
      text = (*part)["text"].get<std::string>();
      (*part)["text"] = text + std::string(kContinueTag);
      return {};
    }
  }
  return Fail(Code::kInvalidArgument, "continue_final_message needs a last message with text",
              "continue_final_message");
}

// Cuts at the tag; a template that trims content has cut the tag's blank off too, and then so does this.
Status CutAtTag(std::string& prompt) {
  const std::string_view bare = kContinueTag.substr(0, kContinueTag.size() - 1);
  const size_t at = prompt.rfind(bare);
  if (at == std::string::npos) {
    return Fail(Code::kInvalidArgument, "the chat template does not print the last message, so it cannot be continued",
                "continue_final_message");
  }
  const bool kept = prompt.compare(at, kContinueTag.size(), kContinueTag) == 0;
  prompt.resize(at);
  while (!kept && !prompt.empty() && std::isspace(static_cast<unsigned char>(prompt.back())) != 0) prompt.pop_back();
  return {};
}

// The variables of the request, later ones winning, as vLLM merges them.
Status SetVariables(const Json& body, bool add_generation_prompt, bool continue_final, jinja::context& context) {
  const Json* kwargs = Present(body, "chat_template_kwargs");
  if (kwargs != nullptr) {
    if (!kwargs->is_object()) {
      return Fail(Code::kInvalidArgument, "'chat_template_kwargs' must be an object", "chat_template_kwargs");
    }
    static constexpr std::array<std::string_view, 6> kTaken = {"messages", "conversation",  "tools",
                                                               "tokenize", "chat_template", "documents"};
    for (const auto& [name, value] : kwargs->items()) {
      if (std::find(kTaken.begin(), kTaken.end(), name) != kTaken.end()) {
        return NotKnown("chat_template_kwargs sets '" + name + "'");
      }
      if (!PrintsAsPython(value)) return NotKnown("chat_template_kwargs has a number that Python prints otherwise");
      context.set_val(name, ToValue(value));
    }
  }
  context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(add_generation_prompt));
  context.set_val("continue_final_message", jinja::mk_val<jinja::value_bool>(continue_final));
  if (const Json* effort = Present(body, "reasoning_effort")) {
    context.set_val("reasoning_effort", ToValue(*effort));
    if (kwargs == nullptr || !kwargs->contains("enable_thinking")) {
      context.set_val("enable_thinking", jinja::mk_val<jinja::value_bool>(*effort != "none"));
    }
  }
  const Json* documents = Present(body, "documents");
  context.set_val("documents", documents == nullptr ? ToValue(Json()) : ToValue(*documents));
  return {};
}

}  // namespace

struct VllmChat::Template {
  jinja::program program;
  std::string source;
  MessageForm form;

  static Result<std::unique_ptr<Template>> Parse(const std::string& source) {
    try {
      jinja::lexer lexer;
      const auto tokens = lexer.tokenize(source);
      return std::unique_ptr<Template>(
          new Template{.program = jinja::parse_from_tokens(tokens),
                       .source = tokens.source,
                       .form = {.parts = IteratesContent(source),
                                .developer = source.find("'developer'") != std::string::npos ||
                                             source.find("\"developer\"") != std::string::npos}});
    } catch (const std::exception& e) {
      return Fail(Code::kInvalidArgument, std::string("the chat template cannot be parsed: ") + e.what(),
                  "chat_template");
    }
  }
};

VllmChat::VllmChat() = default;
VllmChat::~VllmChat() = default;

Result<std::unique_ptr<VllmChat>> VllmChat::Load(Source source) {
  auto out = std::unique_ptr<VllmChat>(new VllmChat());
  auto plain = Template::Parse(source.chat_template);
  if (!plain) return tl::unexpected(plain.error());
  out->plain_ = std::move(*plain);
  if (!source.tool_use_template.empty()) {
    auto tool_use = Template::Parse(source.tool_use_template);
    if (!tool_use) return tl::unexpected(tool_use.error());
    out->tool_use_ = std::move(*tool_use);
  }
  out->special_tokens_ = std::move(source.special_tokens);
  return out;
}

Result<VllmChat::Prompt> VllmChat::Render(std::string_view body_text) const {
  auto body = ParseBody(body_text);
  if (!body) return tl::unexpected(body.error());
  for (const char* field : {"chat_template", "truncate_prompt_tokens", "mm_payload"}) {
    if (Present(*body, field) != nullptr) return NotKnown(std::string("the request has '") + field + "'");
  }
  const bool continue_final = Truthy(*body, "continue_final_message", false);
  const bool add_generation_prompt = Truthy(*body, "add_generation_prompt", true);
  if (continue_final && add_generation_prompt) {
    return Fail(Code::kInvalidArgument, "continue_final_message and add_generation_prompt cannot both be true",
                "continue_final_message");
  }
  auto tools = VllmTools(*body);
  if (!tools) return tl::unexpected(tools.error());
  const Template& used = tool_use_ != nullptr && !tools->is_null() ? *tool_use_ : *plain_;
  auto messages = VllmMessages(*body, used.form);
  if (!messages) return tl::unexpected(messages.error());
  std::string final_text;
  if (continue_final) {
    if (const Status marked = MarkFinalMessage(*messages, final_text); !marked) return tl::unexpected(marked.error());
  }
  try {
    jinja::context context(used.source);
    for (const auto& [name, token] : special_tokens_) context.set_val(name, jinja::mk_val<jinja::value_string>(token));
    if (const Status set = SetVariables(*body, add_generation_prompt, continue_final, context); !set) {
      return tl::unexpected(set.error());
    }
    context.set_val("messages", ToValue(*messages));
    context.set_val("tools", ToValue(*tools));
    jinja::runtime runtime(context);
    const jinja::value results = runtime.execute(used.program);
    Prompt prompt{.text = jinja::runtime::gather_string_parts(results)->as_string().str(),
                  .add_special_tokens = Truthy(*body, "add_special_tokens", false)};
    if (prompt.text.size() > kRenderedBytesMax) {
      return Fail(Code::kTooLarge, "the rendered prompt is larger than 16 MiB", "messages");
    }
    if (continue_final) {
      if (const Status cut = CutAtTag(prompt.text); !cut) return tl::unexpected(cut.error());
    }
    return prompt;
  } catch (const std::exception& e) {
    return Fail(Code::kInvalidArgument, std::string("the chat template cannot render these messages: ") + e.what(),
                "messages");
  }
}

}  // namespace sluice::tokenize
