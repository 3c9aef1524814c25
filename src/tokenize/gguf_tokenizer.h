// GgufTokenizer: the tokenizer that a GGUF file carries, through llama.cpp. Over a loaded model's vocabulary (the
// engine's) or over a file of which only the vocabulary is read (a gateway's).
// Thread rule: immutable after construction, any thread. Ownership: Open() owns what it loaded; the other constructor
// borrows the vocabulary. Cost: Open reads the file's metadata; Encode is O(text).
#pragma once

#include <memory>

#include "base/result.h"
#include "tokenize/tokenizer.h"

struct llama_model;
struct llama_vocab;

namespace sluice::tokenize {

class GgufTokenizer final : public Tokenizer {
 public:
  // Reads the vocabulary of a GGUF file. kNotFound, or kInvalidArgument when it is not one.
  static Result<std::unique_ptr<GgufTokenizer>> Open(const std::string& path);
  explicit GgufTokenizer(const llama_vocab* vocab);
  ~GgufTokenizer() override;

  std::vector<TokenId> Encode(std::string_view text, bool add_special, bool parse_special) const override;
  std::string Decode(const std::vector<TokenId>& tokens, bool skip_special) const override;
  std::string Piece(TokenId token, bool special) const override;
  int VocabSize() const override;
  bool IsSpecial(TokenId token) const override;
  std::vector<std::string> CutTokens() const override;

  // Tokens that end an answer (EOS, end of turn and the like).
  const std::vector<TokenId>& EndTokens() const { return end_tokens_; }
  TokenId Eos() const;  // -1: none
  TokenId Bos() const;  // -1: none
  // As text, for chat templates; empty when the model has none.
  std::string BosText() const;
  std::string EosText() const;
  // The chat template of a model that Open() loaded; empty when it has none.
  const std::string& FileChatTemplate() const { return chat_template_; }

 private:
  const llama_vocab* vocab_;
  llama_model* owned_ = nullptr;
  std::vector<TokenId> end_tokens_;
  std::string chat_template_;
};

// llama.cpp's own log. By default its errors go to standard error and the rest is dropped; every loader in Sluice calls
// this first. `sink` gets whole lines without the newline; may be called from any thread. Level 2 = warning, 3 = error.
using LlamaLogSink = void (*)(int level, std::string_view line);
void SetLlamaLog(LlamaLogSink sink);
void InitLlama();  // idempotent: backend, and the default log unless SetLlamaLog was called

}  // namespace sluice::tokenize
