#include "tokenize/prefix_cache.h"

#include <algorithm>
#include <functional>

namespace sluice::tokenize {
namespace {

constexpr size_t kPieceOverhead = 160;  // of list and index

size_t HashOf(uint64_t before, std::string_view text) {
  return std::hash<std::string_view>{}(text) ^ (before * 0x9E3779B97F4A7C15ULL);
}

}  // namespace

PrefixCache::PrefixCache(const Tokenizer& tokenizer, size_t bytes_max)
    : tokenizer_(tokenizer), bytes_max_(bytes_max), cut_tokens_(tokenizer.CutTokens()) {
  for (const std::string& token : cut_tokens_) first_bytes_[static_cast<unsigned char>(token[0])] = true;
  LearnAffixes();
}

// What add_special puts before and behind, found by trying: the same for every text, or it is not used.
void PrefixCache::LearnAffixes() {
  const auto empty = tokenizer_.Encode("", true, true);
  const auto bare = tokenizer_.Encode("a b", false, true);
  const auto whole = tokenizer_.Encode("a b", true, true);
  if (whole.size() != bare.size() + empty.size()) return;
  for (size_t n = 0; n <= empty.size(); ++n) {
    const bool fits = std::equal(empty.begin(), empty.begin() + static_cast<ptrdiff_t>(n), whole.begin()) &&
                      std::equal(bare.begin(), bare.end(), whole.begin() + static_cast<ptrdiff_t>(n)) &&
                      std::equal(empty.begin() + static_cast<ptrdiff_t>(n), empty.end(),
                                 whole.begin() + static_cast<ptrdiff_t>(n + bare.size()));
    if (!fits) continue;
    prefix_.assign(empty.begin(), empty.begin() + static_cast<ptrdiff_t>(n));
    suffix_.assign(empty.begin() + static_cast<ptrdiff_t>(n), empty.end());
    exact_with_special_ = true;
    return;
  }
}

// The bytes of the cutting token that stands at `at`, or 0. Since none is the beginning of another, only the last one
// that is not greater than the rest of the text can be it.
size_t PrefixCache::CutTokenAt(std::string_view text, size_t at) const {
  if (!first_bytes_[static_cast<unsigned char>(text[at])]) return 0;
  const std::string_view rest = text.substr(at);
  const auto next = std::upper_bound(cut_tokens_.begin(), cut_tokens_.end(), rest,
                                     [](std::string_view a, const std::string& b) { return a < b; });
  if (next == cut_tokens_.begin()) return 0;
  const std::string& token = *std::prev(next);
  return rest.starts_with(token) ? token.size() : 0;
}

// Where pieces end, each with the bytes of the token it ends with: pairs, flat. Depends on what is before only, so
// equal beginnings have equal cuts.
std::vector<size_t> PrefixCache::Cuts(std::string_view text) const {
  std::vector<size_t> cuts;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t token = CutTokenAt(text, at);
    at += token == 0 ? 1 : token;
    if (token == 0 || at - begin < kPieceBytes) continue;
    cuts.push_back(at);
    cuts.push_back(token);
    begin = at;
  }
  return cuts;
}

// Of [begin, end), the cutting token before it taken along and its id left out again.
std::vector<TokenId> PrefixCache::Tokenize(std::string_view text, size_t begin, size_t end, size_t cut_token) const {
  auto tokens = tokenizer_.Encode(text.substr(begin - cut_token, end - begin + cut_token), false, true);
  if (cut_token > 0 && !tokens.empty()) tokens.erase(tokens.begin());
  return tokens;
}

PrefixCache::Order::iterator PrefixCache::Find(uint64_t before, size_t hash, std::string_view text) {
  const auto [from, to] = by_hash_.equal_range(hash);
  for (auto at = from; at != to; ++at) {
    if (at->second->before == before && at->second->text == text) return at->second;
  }
  return order_.end();
}

PrefixCache::Encoded PrefixCache::Encode(std::string_view text, bool add_special) {
  Encoded out;
  if (add_special && !exact_with_special_) {
    out.tokens = tokenizer_.Encode(text, true, true);
    return out;
  }
  if (add_special) out.tokens = prefix_;
  const std::vector<size_t> cuts = Cuts(text);
  uint64_t before = 0;
  size_t begin = 0, cut_token = 0, next = 0;
  {
    const std::lock_guard lock(mutex_);
    std::vector<Order::iterator> hits;
    for (; next < cuts.size(); next += 2) {
      const std::string_view piece = text.substr(begin, cuts[next] - begin);
      const auto hit = Find(before, HashOf(before, piece), piece);
      if (hit == order_.end()) break;
      out.tokens.insert(out.tokens.end(), hit->tokens.begin(), hit->tokens.end());
      hits.push_back(hit);
      before = hit->id;
      begin = cuts[next];
      cut_token = cuts[next + 1];
    }
    // The first of the chain ends up most recent: what hangs on others leaves before them.
    for (auto hit = hits.rbegin(); hit != hits.rend(); ++hit) order_.splice(order_.begin(), order_, *hit);
  }
  out.bytes_reused = begin;
  std::vector<std::pair<std::string_view, std::vector<TokenId>>> fresh;
  for (; next < cuts.size(); next += 2) {
    fresh.emplace_back(text.substr(begin, cuts[next] - begin), Tokenize(text, begin, cuts[next], cut_token));
    out.tokens.insert(out.tokens.end(), fresh.back().second.begin(), fresh.back().second.end());
    begin = cuts[next];
    cut_token = cuts[next + 1];
  }
  if (begin < text.size()) {
    const auto rest = Tokenize(text, begin, text.size(), cut_token);
    out.tokens.insert(out.tokens.end(), rest.begin(), rest.end());
  }
  if (add_special) out.tokens.insert(out.tokens.end(), suffix_.begin(), suffix_.end());
  if (!fresh.empty()) {
    const std::lock_guard lock(mutex_);
    for (auto& [piece, tokens] : fresh) Remember(before, piece, std::move(tokens), before);
    Evict();
  }
  return out;
}

size_t PrefixCache::SizeOf(const Piece& piece) {
  return piece.text.size() + piece.tokens.size() * sizeof(TokenId) + kPieceOverhead;
}

// Another thread may have been first; then that one is kept. Inserted from the front of the chain, so the end of a
// chain is more recent than its beginning until it is used again; a chain that loses its beginning first is only of no
// use.
void PrefixCache::Remember(uint64_t before, std::string_view text, std::vector<TokenId> tokens, uint64_t& id) {
  const size_t hash = HashOf(before, text);
  if (const auto there = Find(before, hash, text); there != order_.end()) {
    id = there->id;
    return;
  }
  order_.push_front({next_id_++, before, hash, std::string(text), std::move(tokens)});
  by_hash_.emplace(hash, order_.begin());
  bytes_ += SizeOf(order_.front());
  id = order_.front().id;
}

void PrefixCache::Evict() {
  while (bytes_ > bytes_max_ && !order_.empty()) {
    const auto last = std::prev(order_.end());
    const auto [from, to] = by_hash_.equal_range(last->hash);
    for (auto at = from; at != to; ++at) {
      if (at->second != last) continue;
      by_hash_.erase(at);
      break;
    }
    bytes_ -= SizeOf(*last);
    order_.erase(last);
  }
}

size_t PrefixCache::Bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

size_t PrefixCache::Entries() const {
  const std::lock_guard lock(mutex_);
  return order_.size();
}

}  // namespace sluice::tokenize
