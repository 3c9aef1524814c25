// TextStream: turns the bytes of generated tokens into text that may be shown: whole UTF-8 only, and nothing that could
// be the beginning of a stop string. Pure.
// Thread rule: one owner. Cost: O(new bytes + longest stop string) a token, times the number of stop strings.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::worker {

class TextStream {
 public:
  // Empty stop strings are ignored. With `include_stop` the matched stop string is part of the text.
  TextStream(std::vector<std::string> stops, bool include_stop);

  struct Piece {
    std::string text;                 // may be shown now
    std::optional<std::string> stop;  // the stop string that matched; nothing may be appended after it
  };
  // Adds a token's bytes. `may_stop` false (min_tokens is not reached): stop strings that end here are plain text.
  Piece Append(std::string_view bytes, bool may_stop = true);
  // What was held back, at the end. An incomplete character becomes U+FFFD.
  std::string Finish();

 private:
  std::optional<Piece> Match();
  size_t HeldForStop() const;

  std::vector<std::string> stops_;
  bool include_stop_;
  std::string held_;     // bytes not shown yet, whole UTF-8
  std::string partial_;  // the bytes of an incomplete character
};

// Appends `bytes` to `out` as UTF-8: what is no character becomes U+FFFD (one for each maximal invalid part, as
// Python's "replace"). Returns how many bytes at the end are the beginning of a character; they are not appended.
size_t AppendUtf8(std::string_view bytes, std::string& out);

}  // namespace sluice::worker
