#include "tokenize/cut_tokens.h"

#include <algorithm>
#include <string_view>

namespace sluice::tokenize {
namespace {

// Some end of `a` is a beginning of `b`; both whole counts only when they differ.
bool Chains(std::string_view a, std::string_view b) {
  const size_t longest = std::min(a.size(), b.size());
  for (size_t n = 1; n <= longest; ++n) {
    if (n == a.size() && n == b.size()) break;
    if (a.substr(a.size() - n) == b.substr(0, n)) return true;
  }
  return false;
}

bool Overlap(std::string_view a, std::string_view b) {
  if (Chains(a, b) || Chains(b, a)) return true;
  return a != b && (a.find(b) != std::string_view::npos || b.find(a) != std::string_view::npos);
}

}  // namespace

std::vector<std::string> WithoutOverlaps(std::vector<std::string> wanted, const std::vector<std::string>& all) {
  std::sort(wanted.begin(), wanted.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  wanted.resize(std::min(wanted.size(), kCutTokensMax));
  std::erase_if(wanted, [&](const std::string& token) {
    if (token.empty()) return true;
    return std::any_of(all.begin(), all.end(),
                       [&](const std::string& other) { return !other.empty() && Overlap(token, other); });
  });
  std::sort(wanted.begin(), wanted.end());
  return wanted;
}

}  // namespace sluice::tokenize
