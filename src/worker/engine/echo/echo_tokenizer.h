// EchoTokenizer: text to tokens without a vocabulary file: a token is one to three bytes, cut before spaces, and its id
// is made of those bytes, so that every text comes back as it was. The marks that the echo chat template writes
// (<|user|>, <|end|>, …) are special tokens.
// Thread rule: immutable. Cost: O(text).
#pragma once

#include <array>
#include <string_view>

#include "tokenize/tokenizer.h"

namespace sluice::worker {

class EchoTokenizer final : public tokenize::Tokenizer {
 public:
  static constexpr std::array<std::string_view, 6> kSpecial = {"<|eos|>",       "<|system|>", "<|user|>",
                                                               "<|assistant|>", "<|tool|>",   "<|end|>"};
  enum Special : tokenize::TokenId { kEos = 0, kSystem, kUser, kAssistant, kTool, kEnd };

  std::vector<tokenize::TokenId> Encode(std::string_view text, bool add_special, bool parse_special) const override;
  std::string Decode(const std::vector<tokenize::TokenId>& tokens, bool skip_special) const override;
  std::string Piece(tokenize::TokenId token, bool special) const override;
  int VocabSize() const override;
  bool IsSpecial(tokenize::TokenId token) const override;
};

// The chat template that goes with it (Jinja).
extern const std::string_view kEchoChatTemplate;

}  // namespace sluice::worker
