#include "openai/routing_view.h"

namespace sluice::openai {
namespace {

using codec::JsonValue;

void AddPart(RoutingView& view, std::string_view role, std::string_view text) {
  view.parts.push_back({role, text});
  view.text_bytes += text.size();
}

void ReadMessage(RoutingView& view, const JsonValue& message) {
  std::string_view role;
  std::optional<JsonValue> content;
  message.ForEachMember([&](std::string_view key, JsonValue value) {
    if (key == "role") role = value.String().value_or("");
    if (key == "content") content = value;
    return true;
  });
  if (!content) return;
  if (const auto text = content->String()) {
    AddPart(view, role, *text);
    return;
  }
  content->ForEachElement([&](JsonValue part) {
    if (const auto text = part.Find("text"); text && text->String()) AddPart(view, role, *text->String());
    return true;
  });
}

void ReadTokens(RoutingView& view, const JsonValue& list) {
  list.ForEachElement([&](JsonValue item) {
    if (const auto id = item.Int(); id && *id >= 0 && *id <= INT32_MAX)
      view.tokens.push_back(static_cast<int32_t>(*id));
    return true;
  });
}

void ReadPrompt(RoutingView& view, const JsonValue& prompt) {
  if (const auto text = prompt.String()) {
    AddPart(view, {}, *text);
    return;
  }
  size_t lists = 0;
  size_t numbers = 0;
  prompt.ForEachElement([&](JsonValue item) {
    if (const auto text = item.String()) {
      AddPart(view, {}, *text);
      ++lists;
    } else if (item.IsArray()) {
      ReadTokens(view, item);
      ++lists;
    } else {
      ++numbers;
    }
    return true;
  });
  if (numbers > 0) ReadTokens(view, prompt);
  if (lists > 1) view.prompts = lists;
}

// One member of the body; later members of the same name replace earlier ones.
void ReadMember(RoutingView& view, std::string_view key, const JsonValue& value,
                std::optional<int64_t>& completion_max) {
  if (key == "model") {
    view.model = value.String();
  } else if (key == "stream") {
    view.stream = value.Bool().value_or(false);
  } else if (key == "messages") {
    view.is_chat = true;
    view.parts.clear();
    view.text_bytes = 0;
    value.ForEachElement([&](JsonValue message) {
      ReadMessage(view, message);
      return true;
    });
  } else if (key == "prompt" || key == "input") {
    if (view.is_chat) return;
    view.parts.clear();
    view.tokens.clear();
    view.text_bytes = 0;
    view.prompts = 1;
    ReadPrompt(view, value);
  } else if (key == "tools") {
    view.has_tools = value.Count() > 0;
  } else if (key == "max_tokens") {
    view.max_tokens = value.Int();
  } else if (key == "max_completion_tokens") {
    completion_max = value.Int();
  } else if (key == "n") {
    view.n = value.Int().value_or(1);
  } else if (key == "priority") {
    view.priority = value.Int().value_or(0);
  } else if (key == "cache_salt") {
    view.cache_salt = value.String().value_or("");
  } else if (key == "session_id") {
    view.session_id = value.String().value_or("");
  } else if (key == "user") {
    view.user = value.String().value_or("");
  } else if (key == "kv_transfer_params") {
    view.has_kv_transfer_params = value.type() != JsonValue::Type::kNull;
  }
}

}  // namespace

Result<RoutingView> RoutingReader::Read(std::string_view body) {
  auto root = reader_.Parse(body);
  if (!root) return tl::unexpected<Error>(std::move(root.error()));
  if (!root->IsObject()) return Fail(Code::kInvalidArgument, "the request body must be a JSON object", "body");
  RoutingView view;
  std::optional<int64_t> completion_max;
  root->ForEachMember([&](std::string_view key, JsonValue value) {
    ReadMember(view, key, value, completion_max);
    return true;
  });
  if (completion_max) view.max_tokens = completion_max;
  return view;
}

}  // namespace sluice::openai
