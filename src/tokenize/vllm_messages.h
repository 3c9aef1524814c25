// The messages and tools of a chat completion's body in the form that vLLM 0.32 gives to a chat template. Internal to
// tokenize/.
// Thread rule: pure. Cost: one copy of the messages.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace sluice::tokenize {

struct MessageForm {
  bool parts = false;      // content as a list of parts; else as one text
  bool developer = false;  // the template knows developer messages
};

// An array. kInvalidArgument: vLLM would refuse them; kUnimplemented: media, or something else that is the engine's to
// tokenize.
Result<nlohmann::ordered_json> VllmMessages(const nlohmann::ordered_json& body, const MessageForm& form);

// An array, or null without tools.
Result<nlohmann::ordered_json> VllmTools(const nlohmann::ordered_json& body);

// Every number in it looks the same when llama.cpp's Jinja engine prints it and when Python does.
bool PrintsAsPython(const nlohmann::ordered_json& value);

}  // namespace sluice::tokenize
