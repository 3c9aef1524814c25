#include "openai/chat_request.h"

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "codec/json/dom.h"
#include "openai/error_body.h"
#include "openai/field_reader.h"
#include "openai/request_body.h"

namespace sluice::openai {
namespace {

constexpr size_t kMessagesMax = 10'000;
constexpr size_t kToolsMax = 1024;
constexpr size_t kUnknownShown = 16;

tl::unexpected<Error> Refuse(std::string message, std::string param = {}) {
  return Fail(Code::kInvalidArgument, std::move(message), std::move(param));
}

// The text of a list of content parts, joined by line ends. Fails on parts that are not text.
Result<std::string> JoinParts(const Json& parts, std::string_view location, std::string_view model,
                              FormFaults& faults) {
  std::string text;
  size_t index = 0;
  for (const Json& part : parts) {
    const std::string at = std::string(location) + "." + std::to_string(index++);
    if (part.is_string()) {
      text += (index > 1 ? "\n" : "") + part.get<std::string>();
      continue;
    }
    const auto type = part.is_object() ? part.find("type") : part.end();
    if (!part.is_object() || type == part.end() || !type->is_string()) {
      faults.Add("missing", at + ".type", "Field required", ShowInput(part));
      return std::string();
    }
    const auto& name = type->get_ref<const std::string&>();
    if (name != "text" && name != "input_text" && name != "output_text" && name != "refusal") {
      return Refuse(std::string(model) + " is not a multimodal model");
    }
    const auto value = part.find(name == "refusal" ? "refusal" : "text");
    if (value == part.end() || !value->is_string()) {
      faults.Add("missing", at + "." + (name == "refusal" ? "refusal" : "text"), "Field required", ShowInput(part));
      return std::string();
    }
    text += (index > 1 ? "\n" : "") + value->get<std::string>();
  }
  return text;
}

void CheckToolCalls(const Json& calls, const std::string& location, FormFaults& faults) {
  if (!calls.is_array()) {
    faults.Add("list_type", location, "Input should be a valid list", ShowInput(calls));
    return;
  }
  size_t index = 0;
  for (const Json& call : calls) {
    const std::string at = location + "." + std::to_string(index++) + ".function";
    const auto function = call.is_object() ? call.find("function") : call.end();
    if (!call.is_object() || function == call.end() || !function->is_object()) {
      faults.Add("missing", at, "Field required", ShowInput(call));
      continue;
    }
    for (const char* field : {"name", "arguments"}) {
      const auto value = function->find(field);
      if (value == function->end()) {
        faults.Add("missing", at + "." + field, "Field required", ShowInput(*function));
      } else if (!value->is_string() && !(std::string_view(field) == "arguments" && value->is_object())) {
        faults.Add("string_type", at + "." + field, "Input should be a valid string", ShowInput(*value));
      }
    }
  }
}

// One message in the form that templates take: content is a string or null.
Result<Json> NormalMessage(const Json& message, const std::string& at, std::string_view model, FormFaults& faults) {
  if (!message.is_object()) {
    faults.Add("dict_type", at, "Input should be a valid dictionary", ShowInput(message));
    return Json();
  }
  const auto role = message.find("role");
  if (role == message.end()) {
    faults.Add("missing", at + ".role", "Field required", ShowInput(message));
    return Json();
  }
  if (!role->is_string()) {
    faults.Add("string_type", at + ".role", "Input should be a valid string", ShowInput(*role));
    return Json();
  }
  Json normal = message;
  const auto content = message.find("content");
  const bool assistant = *role == "assistant";
  if (content == message.end() || content->is_null()) {
    if (!assistant && *role != "tool" && *role != "function") {
      faults.Add("missing", at + ".content", "Field required", ShowInput(message));
    }
    normal["content"] = assistant ? Json() : Json("");
  } else if (content->is_array()) {
    auto text = JoinParts(*content, at + ".content", model, faults);
    if (!text) return tl::unexpected<Error>(std::move(text.error()));
    normal["content"] = std::move(*text);
  } else if (!content->is_string()) {
    faults.Add("string_type", at + ".content", "Input should be a valid string", ShowInput(*content));
  }
  if (const auto calls = message.find("tool_calls"); calls != message.end() && !calls->is_null()) {
    CheckToolCalls(*calls, at + ".tool_calls", faults);
    if (calls->is_array() && calls->empty()) normal.erase("tool_calls");
  }
  return normal;
}

Status ReadMessages(FieldReader& fields, std::string_view model, Conversation& out, ChatRequest* chat) {
  if (fields.Any("messages") == nullptr) {
    fields.Missing("messages");
    return {};
  }
  const Json* messages = fields.Array("messages");
  if (messages == nullptr) return {};
  if (messages->empty()) {
    return Refuse("Cannot apply chat template to an empty conversation. Provide at least one message.");
  }
  if (messages->size() > kMessagesMax) {
    return Refuse("messages has " + std::to_string(messages->size()) + " items; at most " +
                      std::to_string(kMessagesMax) + " are accepted.",
                  "messages");
  }
  Json normal = Json::array();
  for (const Json& message : *messages) {
    auto one =
        NormalMessage(message, fields.At("messages") + "." + std::to_string(normal.size()), model, fields.Faults());
    if (!one) return tl::unexpected<Error>(std::move(one.error()));
    normal.push_back(std::move(*one));
  }
  if (chat != nullptr && fields.Faults().Empty()) {
    chat->last_role = normal.back()["role"].get<std::string>();
    if (normal.back()["content"].is_string()) chat->last_message = normal.back()["content"].get<std::string>();
  }
  out.messages = codec::Dump(normal);
  return {};
}

std::vector<Tool> ReadToolList(const Json& list, const std::string& location, FormFaults& faults) {
  std::vector<Tool> tools;
  size_t index = 0;
  for (const Json& item : list) {
    const std::string at = location + "." + std::to_string(index++) + ".function";
    const auto function = item.is_object() ? item.find("function") : item.end();
    if (!item.is_object() || function == item.end() || !function->is_object()) {
      faults.Add("missing", at, "Field required", ShowInput(item));
      continue;
    }
    FieldReader reader(*function, at, faults);
    Tool tool;
    if (reader.Any("name") == nullptr) reader.Missing("name");
    tool.name = reader.String("name").value_or("");
    tool.description = reader.String("description").value_or("");
    if (const Json* parameters = reader.Object("parameters")) tool.parameters = codec::Dump(*parameters);
    tools.push_back(std::move(tool));
  }
  return tools;
}

constexpr std::string_view kToolChoiceUsage =
    "Correct usage: `{\"type\": \"function\", \"function\": {\"name\": \"my_function\"}}`";

Status ReadNamedChoice(const Json& choice, const std::vector<Tool>& tools, ChatRequest& out) {
  const auto function = choice.find("function");
  if (function == choice.end() || !function->is_object()) {
    return Refuse("Expected field `function` in `tool_choice`! " + std::string(kToolChoiceUsage), "tool_choice");
  }
  const auto name = function->find("name");
  if (name == function->end() || !name->is_string() || name->get_ref<const std::string&>().empty()) {
    return Refuse("Expected field `name` in `function` in `tool_choice`! " + std::string(kToolChoiceUsage),
                  "tool_choice");
  }
  out.tool_name = name->get<std::string>();
  out.tool_choice = ToolChoice::kNamed;
  std::vector<std::string> known;
  for (const Tool& tool : tools) {
    if (tool.name == out.tool_name) return {};
    known.push_back(tool.name);
  }
  return Refuse("The tool specified in `tool_choice` does not match any of the specified `tools`" +
                    DidYouMean(out.tool_name, known),
                "tool_choice");
}

Status ReadToolChoice(FieldReader& fields, ChatRequest& out) {
  const Json* choice = fields.Any("tool_choice");
  if (choice == nullptr) {
    out.tool_choice = out.tools.empty() ? ToolChoice::kNone : ToolChoice::kAuto;
    return {};
  }
  if (*choice == "none") return {};
  if (!fields.Has("tools")) return Refuse("When using `tool_choice`, `tools` must be set.", "tool_choice");
  if (out.tools.empty()) return {};  // an empty list of tools: as without tools
  if (*choice == "auto") {
    out.tool_choice = ToolChoice::kAuto;
    return {};
  }
  if (*choice == "required") {
    out.tool_choice = ToolChoice::kRequired;
    return {};
  }
  if (choice->is_object()) return ReadNamedChoice(*choice, out.tools, out);
  return Refuse("Invalid value for `tool_choice`: " + ShowInput(*choice) +
                    "! Only named tools, \"none\", \"auto\" or \"required\" are supported.",
                "tool_choice");
}

Status ReadLogprobs(FieldReader& fields, ChatRequest& out) {
  const bool wanted = fields.Bool("logprobs").value_or(false);
  const auto top = fields.Integer("top_logprobs");
  if (top && *top != 0 && !wanted) {
    return tl::unexpected<Error>(
        ParameterError("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs"));
  }
  if (top && *top < 0) {
    return tl::unexpected<Error>(
        ParameterError("`top_logprobs` must be a positive value.", "top_logprobs", std::to_string(*top)));
  }
  if (wanted) out.generation.logprobs = static_cast<int>(std::min<int64_t>(top.value_or(0), INT32_MAX));
  return {};
}

// What only the chat route reads, after the conversation.
Status ReadRest(FieldReader& fields, const ModelLimits& limits, ChatRequest& out) {
  if (Status status = ReadGeneration(fields, limits, out.generation); !status) return status;
  if (Status status = ReadLogprobs(fields, out); !status) return status;
  auto max_tokens = fields.Integer("max_completion_tokens");
  const auto old_max_tokens = fields.Integer("max_tokens");
  if (!max_tokens) max_tokens = old_max_tokens;
  if (max_tokens) out.generation.max_tokens = static_cast<int>(std::clamp<int64_t>(*max_tokens, INT32_MIN, INT32_MAX));
  out.parallel_tool_calls = fields.Bool("parallel_tool_calls").value_or(true);
  out.echo = fields.Bool("echo").value_or(false);
  for (const char* inert : {"documents", "modalities", "prediction", "verbosity", "function_call", "functions"})
    fields.Any(inert);
  return {};
}

}  // namespace

Result<Conversation> ReadConversation(FieldReader& fields, std::string_view model, ChatRequest* chat) {
  Conversation out;
  if (Status status = ReadMessages(fields, model, out, chat); !status)
    return tl::unexpected<Error>(std::move(status.error()));
  ChatRequest scratch;
  ChatRequest& request = chat != nullptr ? *chat : scratch;
  if (const Json* list = fields.Array("tools")) {
    if (list->size() > kToolsMax) {
      return Refuse("tools has " + std::to_string(list->size()) + " items; at most " + std::to_string(kToolsMax) +
                        " are accepted.",
                    "tools");
    }
    request.tools = ReadToolList(*list, fields.At("tools"), fields.Faults());
    if (!list->empty()) out.tools = codec::Dump(*list);
  }
  if (Status status = ReadToolChoice(fields, request); !status) return tl::unexpected<Error>(std::move(status.error()));
  if (request.tool_choice == ToolChoice::kNone) out.tools.clear();
  if (fields.Any("chat_template") != nullptr) {
    return Refuse(
        "Chat template is passed with request, but this server does not trust the templates of requests; start it "
        "with --chat-template instead.",
        "chat_template");
  }
  if (const Json* kwargs = fields.Object("chat_template_kwargs")) {
    for (const auto& [name, value] : kwargs->items()) out.template_kwargs[name] = codec::Dump(value);
  }
  out.add_generation_prompt = fields.Bool("add_generation_prompt").value_or(true);
  out.continue_final_message = fields.Bool("continue_final_message").value_or(false);
  out.add_special_tokens = fields.Bool("add_special_tokens").value_or(false);
  if (out.continue_final_message && out.add_generation_prompt) {
    return Refuse("Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
                  "continue_final_message");
  }
  return out;
}

Result<ChatRequest> ParseChatRequest(std::string_view body, const ModelLimits& limits) {
  auto tree = ParseBody(body);
  if (!tree) return tl::unexpected<Error>(std::move(tree.error()));
  FormFaults faults;
  FieldReader fields(*tree, "body", faults);
  ChatRequest out;
  const auto model = fields.String("model");
  // vLLM looks at the form of all fields first, then at the model, then at meanings; a client that sends several faults
  // sees them in that order.
  const Status rest = ReadRest(fields, limits, out);
  auto conversation = ReadConversation(fields, model.value_or(limits.names.front()), &out);
  if (!faults.Empty()) return tl::unexpected<Error>(faults.ToError());
  auto served = CheckModel(model, limits);
  if (!served) return tl::unexpected<Error>(std::move(served.error()));
  if (!rest) return tl::unexpected<Error>(rest.error());
  if (!conversation) return tl::unexpected<Error>(std::move(conversation.error()));
  if (Status status = CheckGeneration(out.generation, limits); !status) {
    return tl::unexpected<Error>(std::move(status.error()));
  }
  out.model = std::move(*served);
  out.conversation = std::move(*conversation);
  out.unknown_fields = fields.Unread(kUnknownShown);
  return out;
}

}  // namespace sluice::openai
