#include "worker/engine/llama/grammar_constraint.h"

#include <llama.h>

#include <algorithm>
#include <cmath>
#include <exception>

#include "tokenize/gguf_tokenizer.h"

namespace sluice::worker {

namespace {

llama_sampler* Build(const llama_vocab* vocab, const std::string& grammar, const char* pattern) {
  try {
    if (pattern == nullptr) return llama_sampler_init_grammar(vocab, grammar.c_str(), "root");
    return llama_sampler_init_grammar_lazy_patterns(vocab, grammar.c_str(), "root", &pattern, 1, nullptr, 0);
  } catch (const std::exception&) {
    return nullptr;
  }
}

std::string Piece(const llama_vocab* vocab, TokenId token) {
  std::string out(64, '\0');
  int32_t n = llama_token_to_piece(vocab, token, out.data(), static_cast<int32_t>(out.size()), 0, true);
  if (n < 0) {
    out.resize(static_cast<size_t>(-n));
    n = llama_token_to_piece(vocab, token, out.data(), static_cast<int32_t>(out.size()), 0, true);
  }
  out.resize(static_cast<size_t>(std::max(n, 0)));
  return out;
}

std::string EscapeRegex(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (std::string_view("\\^$.|?*+()[]{}-/").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

GrammarConstraint::GrammarConstraint(const llama_vocab* vocab, std::string grammar, std::vector<std::string> triggers)
    : vocab_(vocab), grammar_(std::move(grammar)), triggers_(std::move(triggers)) {}

GrammarConstraint::~GrammarConstraint() {
  if (sampler_ != nullptr) llama_sampler_free(sampler_);
}

Result<std::unique_ptr<GrammarConstraint>> GrammarConstraint::Create(const llama_vocab* vocab, std::string grammar,
                                                                     bool lazy, std::vector<std::string> triggers) {
  std::erase_if(triggers, [](const std::string& t) { return t.empty(); });
  if (lazy && triggers.empty()) {
    return Fail(Code::kInvalidArgument, "a lazy grammar needs at least one trigger", "grammar_triggers");
  }
  llama_sampler* sampler = grammar.empty() ? nullptr : Build(vocab, grammar, nullptr);
  if (sampler == nullptr) {
    return Fail(Code::kInvalidArgument, "the grammar cannot be parsed (GBNF with a rule 'root' is expected)",
                "grammar");
  }
  if (!lazy) triggers.clear();
  auto out = std::unique_ptr<GrammarConstraint>(new GrammarConstraint(vocab, std::move(grammar), std::move(triggers)));
  if (lazy) {
    llama_sampler_free(sampler);  // it was only parsed to know that it can be
  } else {
    out->sampler_ = sampler;
  }
  return out;
}

void GrammarConstraint::Check(std::span<const TokenId> tokens, std::vector<bool>& allowed) {
  allowed.assign(tokens.size(), true);
  if (sampler_ == nullptr) return;
  std::vector<llama_token_data> data;
  data.reserve(tokens.size());
  for (TokenId t : tokens) data.push_back({t, 0.0F, 0.0F});
  llama_token_data_array array{data.data(), data.size(), -1, false};
  llama_sampler_apply(sampler_, &array);
  for (size_t i = 0; i < tokens.size(); ++i) allowed[i] = !std::isinf(data[i].logit);
}

// A trigger was written; it starts at byte `at` of recent_. A fresh lazy grammar is shown just the tokens from there:
// llama.cpp then finds the trigger at once and feeds the grammar the text from it on.
void GrammarConstraint::Trigger(size_t at) {
  std::string pattern;
  for (const auto& t : triggers_) pattern += (pattern.empty() ? "(" : "|") + EscapeRegex(t);
  pattern += ")";
  llama_sampler* sampler = Build(vocab_, grammar_, pattern.c_str());
  if (sampler == nullptr) return;  // Create() parsed it, so only memory can be short
  try {
    for (const auto& [token, end] : recent_tokens_) {
      if (end > at) llama_sampler_accept(sampler, token);
    }
    sampler_ = sampler;
  } catch (const std::exception&) {
    // The token that ended the trigger carries text that the grammar cannot begin with: the text stays free.
    llama_sampler_free(sampler);
  }
  recent_.clear();
  recent_tokens_.clear();
}

Status GrammarConstraint::Accept(TokenId token) {
  if (llama_vocab_is_eog(vocab_, token)) return {};  // llama.cpp aborts when the grammar is not at its end
  if (sampler_ != nullptr) {
    try {
      llama_sampler_accept(sampler_, token);
    } catch (const std::exception& e) {
      return Fail(Code::kInternal, std::string("the grammar cannot follow a token that it allowed: ") + e.what());
    }
    return {};
  }
  size_t longest = 0;
  for (const auto& t : triggers_) longest = std::max(longest, t.size());
  recent_ += Piece(vocab_, token);
  recent_tokens_.emplace_back(token, recent_.size());
  size_t at = std::string::npos;
  for (const auto& t : triggers_) at = std::min(at, recent_.find(t));
  if (at != std::string::npos) {
    Trigger(at);
    return {};
  }
  // Keep the tokens that a trigger could begin in.
  while (recent_tokens_.size() > 1 && recent_.size() - recent_tokens_.front().second >= longest) {
    const size_t cut = recent_tokens_.front().second;
    recent_.erase(0, cut);
    recent_tokens_.erase(recent_tokens_.begin());
    for (auto& entry : recent_tokens_) entry.second -= cut;
  }
  return {};
}

}  // namespace sluice::worker
