// The pieces of text and media that messages are made of.
#include "parse/body_readers.h"
#include "parse/json_edit.h"

namespace sluice::parse {

using codec::JsonValue;
using model::Media;

namespace {

std::string_view StringField(const JsonValue& object, std::string_view name) {
  const auto field = object.Find(name);
  return field ? field->String().value_or(std::string_view()) : std::string_view();
}

void AppendMedia(Media::Kind kind, std::string_view content, model::Prompt& prompt) {
  if (content.empty()) return;
  prompt.media.push_back({kind, content, static_cast<uint32_t>(prompt.text.size())});
}

// OpenAI's: {"type":"image_url","image_url":{"url":…}}, {"type":"input_image","image_url":…},
// {"type":"input_audio","input_audio":{"data":…}} and their like.
bool AppendOpenAiMedia(const JsonValue& block, model::Prompt& prompt) {
  struct Row {
    std::string_view field, inner;
    Media::Kind kind;
  };
  static constexpr Row kRows[] = {{"image_url", "url", Media::Kind::kImage},
                                  {"video_url", "url", Media::Kind::kVideo},
                                  {"audio_url", "url", Media::Kind::kAudio},
                                  {"input_audio", "data", Media::Kind::kAudio}};
  for (const Row& row : kRows) {
    const auto field = block.Find(row.field);
    if (!field) continue;
    AppendMedia(row.kind, field->IsObject() ? StringField(*field, row.inner) : field->String().value_or(""), prompt);
    return true;
  }
  return false;
}

// Anthropic's: {"type":"image","source":{"type":"base64","data":…}}, a document of plain text.
void AppendAnthropicSource(const JsonValue& block, const JsonValue& source, model::Prompt& prompt) {
  const std::string_view data = StringField(source, "data");
  if (StringField(block, "type") == "image") {
    AppendMedia(Media::Kind::kImage, data.empty() ? StringField(source, "url") : data, prompt);
  } else if (StringField(source, "type") == "text") {
    prompt.text.push_back(data);
  }
}

void AppendBlock(const JsonValue& block, int depth, model::Prompt& prompt) {
  if (const auto text = block.String()) {
    prompt.text.push_back(*text);
    return;
  }
  if (!block.IsObject() || AppendOpenAiMedia(block, prompt)) return;
  for (const std::string_view field : {"text", "thinking", "refusal"}) {
    const auto text = block.Find(field);
    if (!text || !text->String()) continue;
    prompt.text.push_back(*text->String());
    return;
  }
  const std::string_view type = StringField(block, "type");
  if (const auto source = block.Find("source")) {
    AppendAnthropicSource(block, *source, prompt);
  } else if (type == "tool_use") {
    prompt.text.push_back(StringField(block, "name"));
    if (const auto input = block.Find("input")) AppendStrings(*input, 0, prompt);
  } else if (type == "tool_result") {
    if (const auto content = block.Find("content")) AppendContent(*content, depth + 1, prompt);
  }
}

// A chat message's calls: their names and arguments are text to the model.
void AppendToolCalls(const JsonValue& message, model::Prompt& prompt) {
  const auto calls = message.Find("tool_calls");
  if (!calls) return;
  calls->ForEachElement([&](JsonValue call) {
    if (const auto function = call.Find("function")) {
      for (const std::string_view field : {"name", "arguments"}) {
        if (const std::string_view text = StringField(*function, field); !text.empty()) prompt.text.push_back(text);
      }
    }
    return true;
  });
}

void AppendMessage(const JsonValue& message, model::Prompt& prompt) {
  if (const std::string_view role = StringField(message, "role"); !role.empty()) prompt.text.push_back(role);
  if (const auto content = message.Find("content")) AppendContent(*content, 0, prompt);
  AppendToolCalls(message, prompt);
}

// Items of the Responses API: messages, and calls and their outputs, which are strings throughout.
void AppendItems(const JsonValue& items, model::Prompt& prompt) {
  items.ForEachElement([&](JsonValue item) {
    if (item.IsObject() && item.Find("content"))
      AppendMessage(item, prompt);
    else
      AppendStrings(item, 0, prompt);
    return true;
  });
}

// How many elements a list of objects has; 0 when it is no list, or of something else.
size_t ObjectsIn(const std::optional<JsonValue>& value) {
  if (!value) return 0;
  size_t count = 0;
  bool objects = true;
  value->ForEachElement([&](JsonValue element) {
    ++count;
    return objects = element.IsObject();
  });
  return objects ? count : 0;
}

// A prompt that has room for what most messages have: a role and one text.
model::Prompt& NewPrompt(size_t messages, model::Request& request) {
  constexpr size_t kMax = 1024;  // there may be as many as a body has bytes
  model::Prompt& prompt = request.prompts.emplace_back();
  prompt.text.reserve(2 * std::min(messages, kMax) + 1);
  return prompt;
}

// Claude Code's first system text carries a hash that differs with each request.
bool IsBillingHeader(std::string_view text) { return text.starts_with("x-anthropic-billing-header"); }

void AppendSystem(const JsonValue& system, model::Prompt& prompt) {
  const size_t role_at = prompt.text.size();
  prompt.text.emplace_back("system");
  const auto append = [&](const JsonValue& block) {
    const auto bare = block.String();
    const std::string_view text = bare ? *bare : StringField(block, "text");
    if (!IsBillingHeader(text)) AppendBlock(block, 0, prompt);
    return true;
  };
  if (system.IsArray())
    system.ForEachElement(append);
  else
    append(system);
  if (prompt.text.size() == role_at + 1) prompt.text.pop_back();  // nothing was left of it
}

}  // namespace

void AppendStrings(const JsonValue& value, int depth, model::Prompt& prompt) {
  if (depth > kDepthMax) return;
  if (const auto text = value.String()) {
    prompt.text.push_back(*text);
  } else if (value.IsArray()) {
    value.ForEachElement([&](JsonValue element) {
      AppendStrings(element, depth + 1, prompt);
      return true;
    });
  } else if (value.IsObject()) {
    value.ForEachMember([&](std::string_view key, JsonValue member) {
      prompt.text.push_back(key);
      AppendStrings(member, depth + 1, prompt);
      return true;
    });
  }
}

void AppendContent(const JsonValue& content, int depth, model::Prompt& prompt) {
  if (depth > kDepthMax) return;
  if (!content.IsArray()) {
    AppendBlock(content, depth, prompt);
    return;
  }
  content.ForEachElement([&](JsonValue block) {
    AppendBlock(block, depth, prompt);
    return true;
  });
}

void AppendTools(const JsonBody& body, model::Prompt& prompt) {
  const auto tools = body.root.Find("tools");
  if (!tools || tools->type() == JsonValue::Type::kNull) return;
  if (const auto raw = RawMember(body.text, "tools")) prompt.text.push_back(*raw);
}

Status ReadChat(const JsonBody& body, model::Request& request) {
  const auto messages = body.root.Find("messages");
  const size_t count = ObjectsIn(messages);
  if (count == 0) {
    return Invalid("invalid chat completions request: must have valid messages field", "messages");
  }
  model::Prompt& prompt = NewPrompt(count, request);
  AppendTools(body, prompt);
  messages->ForEachElement([&](JsonValue message) {
    AppendMessage(message, prompt);
    return true;
  });
  request.output_tokens_max = Limit(body.root, {"max_completion_tokens", "max_tokens"});
  return {};
}

Status ReadMessages(const JsonBody& body, model::Request& request) {
  const auto messages = body.root.Find("messages");
  const size_t count = ObjectsIn(messages);
  if (count == 0) {
    return Invalid("invalid messages request: must have at least one message", "messages");
  }
  model::Prompt& prompt = NewPrompt(count, request);
  AppendTools(body, prompt);
  if (const auto system = body.root.Find("system")) AppendSystem(*system, prompt);
  messages->ForEachElement([&](JsonValue message) {
    AppendMessage(message, prompt);
    return true;
  });
  request.output_tokens_max = Limit(body.root, {"max_tokens"});
  return {};
}

Status ReadResponses(const JsonBody& body, model::Request& request) {
  const auto input = body.root.Find("input");
  if (!input || (!input->String() && !input->IsArray())) {
    return Invalid("invalid responses request: must have input field", "input");
  }
  model::Prompt& prompt = request.prompts.emplace_back();
  if (const std::string_view text = StringField(body.root, "instructions"); !text.empty()) prompt.text.push_back(text);
  AppendTools(body, prompt);
  if (const auto text = input->String())
    prompt.text.push_back(*text);
  else
    AppendItems(*input, prompt);
  request.output_tokens_max = Limit(body.root, {"max_output_tokens"});
  return {};
}

Status ReadConversations(const JsonBody& body, model::Request& request) {
  const auto items = body.root.Find("items");
  if (!items || !items->IsArray()) {
    return Invalid("invalid conversations request: must have items field", "items");
  }
  AppendItems(*items, request.prompts.emplace_back());
  return {};
}

}  // namespace sluice::parse
