// Which of a vocabulary's special tokens cut a text wherever they stand (Tokenizer::CutTokens).
// Thread rule: pure. Cost: about 50 ns for each pair of tokens, at load.
#pragma once

#include <string>
#include <vector>

namespace sluice::tokenize {

// Those of `wanted` that share no bytes with an occurrence of another of `all` (which holds `wanted` too): none of
// `all` contains one, is contained in one, or begins with the end of one or the other way round. Then a search for the
// text finds exactly the places where the tokenizer takes the token, whatever rule it has for overlaps. At most
// kCutTokensMax, shortest first; sorted.
inline constexpr size_t kCutTokensMax = 4096;
std::vector<std::string> WithoutOverlaps(std::vector<std::string> wanted, const std::vector<std::string>& all);

}  // namespace sluice::tokenize
