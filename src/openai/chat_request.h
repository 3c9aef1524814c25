// POST /v1/chat/completions (and its /render, and the messages form of /tokenize): the body, checked.
// Thread rule: pure. Cost: one tree of the body, then linear.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "openai/generation.h"

namespace sluice::openai {

struct Tool {
  std::string name;
  std::string description;
  std::string parameters;  // JSON schema as text; empty when the tool states none
};

enum class ToolChoice : uint8_t { kNone, kAuto, kRequired, kNamed };

// What a chat template is given.
struct Conversation {
  std::string messages;  // JSON array of messages. Text parts are joined to one string (with '\n', as vLLM does)
  std::string tools;     // JSON array as the client sent it; empty: none, or tool_choice "none"
  std::map<std::string, std::string> template_kwargs;  // name -> JSON text
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  bool add_special_tokens = false;  // templates write their own BOS
};

struct ChatRequest {
  std::string model;  // as served: an alias or adapter of ModelLimits::names
  Conversation conversation;
  std::vector<Tool> tools;
  ToolChoice tool_choice = ToolChoice::kNone;
  std::string tool_name;  // with kNamed
  bool parallel_tool_calls = true;
  bool echo = false;         // the last message's text comes first in the answer
  std::string last_message;  // its text, with echo
  std::string last_role;
  Generation generation;
  std::vector<std::string> unknown_fields;  // ignored, as vLLM does; for the caller's log
};

Result<ChatRequest> ParseChatRequest(std::string_view body, const ModelLimits& limits);

// The conversation alone, for /tokenize. Internal to openai/.
class FieldReader;
class FormFaults;
Result<Conversation> ReadConversation(FieldReader& fields, std::string_view model, ChatRequest* chat);

}  // namespace sluice::openai
