// HfTokenizer: the tokenizer of a Hugging Face tokenizer.json, by the `tokenizers` crate: what engines that load such
// models use themselves, so the ids are theirs.
// Built only where a Rust toolchain was at setup (kHfTokenizersBuilt says it); elsewhere Open() answers kUnavailable
// with what to do, and a .gguf file or an engine's /render gives the tokens.
// Thread rule: immutable after Open, any thread. Cost: Open 50 to 500 ms, growing with the vocabulary, and 10 to 100
// MB; Encode is the crate's, about 3 million tokens a second for short texts.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenize/tokenizer.h"

struct SluiceHfHandle;

namespace sluice::tokenize {

extern const bool kHfTokenizersBuilt;

class HfTokenizer final : public Tokenizer {
 public:
  static constexpr size_t kFileBytesMax = size_t{128} << 20;

  // From the bytes of a tokenizer.json. kInvalidArgument with the crate's words; kUnavailable when it is not built in.
  static Result<std::unique_ptr<HfTokenizer>> Open(std::string_view json);
  ~HfTokenizer() override;

  // Text that is not UTF-8 is read with U+FFFD for what is wrong.
  std::vector<TokenId> Encode(std::string_view text, bool add_special, bool parse_special) const override;
  std::string Decode(const std::vector<TokenId>& tokens, bool skip_special) const override;
  std::string Piece(TokenId token, bool special) const override;
  int VocabSize() const override { return vocab_size_; }
  bool IsSpecial(TokenId token) const override;
  std::vector<std::string> CutTokens() const override;

 private:
  explicit HfTokenizer(SluiceHfHandle* handle);

  struct Added {
    TokenId id;
    uint32_t flags;
    std::string text;
  };

  [[maybe_unused]] SluiceHfHandle* handle_;  // a build without the crate has none
  int vocab_size_ = 0;
  std::vector<Added> added_;  // by id
};

}  // namespace sluice::tokenize
