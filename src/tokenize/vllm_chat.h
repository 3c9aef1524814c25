// VllmChat: the prompt text that vLLM makes of a chat completion's body, with the chat template of a Hugging Face
// model. Why beside chat_template.h: that one renders as our own worker does (tools described to templates that know
// none); a router's block hashes must be the engine's, so here the body is put in the form that vLLM 0.32 gives to a
// template (content parts joined or kept as the template iterates, tool calls with their fields in vLLM's order,
// arguments as objects, unknown fields of tools dropped, developer messages turned to system ones) and the template is
// taken literally. The Jinja engine is llama.cpp's, as everywhere. What cannot be known here to be equal is refused
// with kUnimplemented and its reason, not guessed: images and other media (their tokens depend on the model's
// processor), a template in the request, truncation, numbers that Python would print in another way. Templates that
// print the date (strftime_now) are equal while both clocks show one day. Thread rule: immutable after Load, any
// thread. Cost: Render parses the body into a tree and runs the template: about 0.3 ms for 10,000 tokens in 50
// messages.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::tokenize {

class VllmChat {
 public:
  struct Source {
    std::string chat_template;
    std::string tool_use_template;                      // used when the request has tools; empty: the other one
    std::map<std::string, std::string> special_tokens;  // "bos_token" -> "<s>" and the like, as templates name them
  };
  // kInvalidArgument when a template cannot be parsed.
  static Result<std::unique_ptr<VllmChat>> Load(Source source);
  ~VllmChat();

  struct Prompt {
    std::string text;
    bool add_special_tokens = false;
  };
  // Of the body of POST /v1/chat/completions. kInvalidArgument: the engine would refuse it. kUnimplemented: see above.
  Result<Prompt> Render(std::string_view body) const;

 private:
  struct Template;
  VllmChat();
  std::unique_ptr<Template> plain_, tool_use_;
  std::map<std::string, std::string> special_tokens_;
};

// Whether the template iterates over a message's content, so that vLLM gives it content as a list of parts.
bool IteratesContent(const std::string& chat_template);

}  // namespace sluice::tokenize
