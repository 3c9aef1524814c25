// PrefixCache: tokenizes a text whose beginning was tokenized before without doing that part again: turn n + 1 of a
// conversation costs its new messages only.
// Exact: the text is cut only behind tokens that cut it for the tokenizer too (Tokenizer::CutTokens: special tokens
// that overlap no other), and each piece is tokenized together with the cutting token before it, so that what a
// tokenizer does at a text's beginning (a blank put first) or behind a special token (blanks taken away) is done as in
// the whole text. Pieces are remembered by the whole text before them, compared byte by byte, so equal ids never rest
// on a hash. Thread rule: any thread; one lock, held while pieces are looked up and copied, never while something is
// tokenized. Ownership: borrows the tokenizer. Limit: bytes_max of texts, ids and bookkeeping; the least recently used
// leave first. Cost: about 20 us for 10,000 remembered tokens.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenize/tokenizer.h"

namespace sluice::tokenize {

class PrefixCache {
 public:
  static constexpr size_t kPieceBytes = 128;  // a piece is at least that long: shorter ones cost more than they save

  PrefixCache(const Tokenizer& tokenizer, size_t bytes_max);

  struct Encoded {
    std::vector<TokenId> tokens;
    size_t bytes_reused = 0;  // of the text
  };
  // tokenizer.Encode(text, add_special, parse_special = true).
  Encoded Encode(std::string_view text, bool add_special);

  size_t Bytes() const;    // held
  size_t Entries() const;  // pieces

 private:
  struct Piece {
    uint64_t id;      // never given twice, so what hangs on one that left is never found
    uint64_t before;  // id of the piece before; 0: the text's beginning
    size_t hash;
    std::string text;
    std::vector<TokenId> tokens;
  };
  using Order = std::list<Piece>;  // most recently used first

  std::vector<size_t> Cuts(std::string_view text) const;
  size_t CutTokenAt(std::string_view text, size_t at) const;
  Order::iterator Find(uint64_t before, size_t hash, std::string_view text);
  std::vector<TokenId> Tokenize(std::string_view text, size_t begin, size_t end, size_t cut_token) const;
  void Remember(uint64_t before, std::string_view text, std::vector<TokenId> tokens, uint64_t& id);
  void Evict();
  static size_t SizeOf(const Piece& piece);
  void LearnAffixes();

  const Tokenizer& tokenizer_;
  const size_t bytes_max_;
  std::vector<std::string> cut_tokens_;   // sorted; none is the beginning of another
  bool first_bytes_[256] = {};            // of cut_tokens_
  bool exact_with_special_ = false;       // prefix_ + tokens + suffix_ is what add_special gives
  std::vector<TokenId> prefix_, suffix_;  // what add_special puts around

  mutable std::mutex mutex_;
  Order order_;
  std::unordered_multimap<size_t, Order::iterator> by_hash_;
  uint64_t next_id_ = 1;
  size_t bytes_ = 0;
};

}  // namespace sluice::tokenize
