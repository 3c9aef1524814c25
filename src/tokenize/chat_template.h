// ChatTemplate: a model's Jinja template, rendered by llama.cpp's Jinja engine. Templates that do not know tools (or
// know them in a format of their own) get a generic description of the tools in the system message, so that every model
// answers in the format of tool_format.h.
// Thread rule: immutable after Load, any thread. Cost: Load parses and tries the template (a few ms); Render about 1
// ms.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::tokenize {

struct ChatInput {
  std::string messages_json;  // OpenAI's "messages": an array
  std::string tools_json;     // OpenAI's "tools": an array; empty: none
  bool add_generation_prompt = true;
  bool continue_final_message = false;                 // the last message is the beginning of the answer
  bool parallel_tool_calls = true;                     // said in the generic tool prompt
  std::map<std::string, std::string> template_kwargs;  // name -> JSON text
};

class ChatTemplate {
 public:
  // `bos` and `eos` are the texts that the template may write. kInvalidArgument when the template cannot be parsed or
  // fails on a plain conversation.
  static Result<std::unique_ptr<ChatTemplate>> Load(std::string source, std::string bos, std::string eos);
  ~ChatTemplate();

  // The prompt's text. Encode it with add_special = false and parse_special = true: the template writes BOS itself.
  // kInvalidArgument when messages or tools have a wrong shape, or the template refuses them (its own words are in the
  // message).
  Result<std::string> Render(const ChatInput& input) const;

  // True when the template itself describes tools in the format of tool_format.h.
  bool NativeTools() const { return native_tools_; }
  const std::string& Source() const { return source_; }

 private:
  struct Impl;
  ChatTemplate();
  std::unique_ptr<Impl> impl_;
  std::string source_;
  bool native_tools_ = false;
};

}  // namespace sluice::tokenize
