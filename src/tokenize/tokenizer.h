// Tokenizer: text to token ids and back, for one model.
// Thread rule: immutable after construction, any thread. Cost: Encode is O(text), about 5 us per 1,000 characters a
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tokenize {

using TokenId = int32_t;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Token ids of `text`. `add_special` adds the model's BOS/EOS where it wants them; `parse_special` recognises special
  // tokens written in the text ("<|im_start|>").
  virtual std::vector<TokenId> Encode(std::string_view text, bool add_special, bool parse_special) const = 0;
  virtual std::string Decode(const std::vector<TokenId>& tokens, bool skip_special) const = 0;
  // The bytes of one token: not necessarily whole UTF-8. `special`: also those of special tokens.
  virtual std::string Piece(TokenId token, bool special) const = 0;
  virtual int VocabSize() const = 0;
  virtual bool IsSpecial(TokenId token) const = 0;
  // Tokens that cut a text: wherever one of these stands in it, it is that token (with parse_special), and what is
  // before and behind is tokenized apart. Tokens that overlap another one are left out. See prefix_cache.h.
  virtual std::vector<std::string> CutTokens() const { return {}; }
};

}  // namespace sluice::tokenize
