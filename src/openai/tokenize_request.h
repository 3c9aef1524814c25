// POST /tokenize (text or messages) and /detokenize: bodies, checked. Thread rule: pure. Cost: linear in the body.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "openai/chat_request.h"

namespace sluice::openai {

struct TokenizeRequest {
  std::string prompt;                        // without a conversation
  std::optional<Conversation> conversation;  // the messages form
  bool add_special_tokens = true;
  bool return_token_strs = false;
};

struct DetokenizeRequest {
  std::vector<TokenId> tokens;
};

Result<TokenizeRequest> ParseTokenizeRequest(std::string_view body, const ModelLimits& limits);
Result<DetokenizeRequest> ParseDetokenizeRequest(std::string_view body, const ModelLimits& limits);

}  // namespace sluice::openai
