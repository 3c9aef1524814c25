// GrammarConstraint: llama.cpp's grammar as a Constraint. A lazy one lets text pass until a trigger has been written
// and holds what follows, the trigger included. llama.cpp aborts or throws on misuse; this keeps it away from both.
// Thread rule: one owner. Cost: Check is linear in the tokens asked about, about 0.2 us each; free before the trigger.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "worker/engine/sampler.h"

struct llama_sampler;
struct llama_vocab;

namespace sluice::worker {

class GrammarConstraint final : public Constraint {
 public:
  // kInvalidArgument when the grammar cannot be parsed. Without triggers it holds from the first token.
  static Result<std::unique_ptr<GrammarConstraint>> Create(const llama_vocab* vocab, std::string grammar, bool lazy,
                                                           std::vector<std::string> triggers);
  ~GrammarConstraint() override;

  void Check(std::span<const TokenId> tokens, std::vector<bool>& allowed) override;
  Status Accept(TokenId token) override;

 private:
  GrammarConstraint(const llama_vocab* vocab, std::string grammar, std::vector<std::string> triggers);
  void Trigger(size_t at);

  const llama_vocab* vocab_;
  std::string grammar_;
  std::vector<std::string> triggers_;  // empty: not lazy
  llama_sampler* sampler_ = nullptr;   // null while waiting for a trigger
  // The last tokens written, enough to hold a trigger: their text and where each ends.
  std::string recent_;
  std::vector<std::pair<TokenId, size_t>> recent_tokens_;
};

}  // namespace sluice::worker
