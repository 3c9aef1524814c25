#include "worker/engine/text_stream.h"

#include <algorithm>

namespace sluice::worker {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the character that `lead` begins and the range allowed for its second byte; 0: not a lead byte. The table
// is RFC 3629's.
struct Shape {
  int length;
  unsigned char low = 0x80, high = 0xBF;
};
Shape ShapeOf(unsigned char lead) {
  if (lead < 0x80) return {1};
  if (lead >= 0xC2 && lead <= 0xDF) return {2};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

}  // namespace

size_t AppendUtf8(std::string_view bytes, std::string& out) {
  size_t i = 0;
  while (i < bytes.size()) {
    const Shape shape = ShapeOf(static_cast<unsigned char>(bytes[i]));
    size_t n = 1;
    while (n < static_cast<size_t>(shape.length) && i + n < bytes.size()) {
      const auto c = static_cast<unsigned char>(bytes[i + n]);
      const bool good = n == 1 ? (c >= shape.low && c <= shape.high) : (c >= 0x80 && c <= 0xBF);
      if (!good) break;
      ++n;
    }
    if (shape.length != 0 && n == static_cast<size_t>(shape.length)) {
      out.append(bytes.substr(i, n));
    } else if (shape.length != 0 && i + n == bytes.size()) {
      return n;  // cut off: more may come
    } else {
      out.append(kReplacement);
    }
    i += n;
  }
  return 0;
}

TextStream::TextStream(std::vector<std::string> stops, bool include_stop)
    : stops_(std::move(stops)), include_stop_(include_stop) {
  std::erase_if(stops_, [](const std::string& s) { return s.empty(); });
}

// The stop string that begins first; among those, the one named first.
std::optional<TextStream::Piece> TextStream::Match() {
  size_t best = std::string::npos;
  const std::string* stop = nullptr;
  for (const std::string& s : stops_) {
    const size_t at = held_.find(s);
    if (at < best) {
      best = at;
      stop = &s;
    }
  }
  if (stop == nullptr) return std::nullopt;
  Piece piece{held_.substr(0, best + (include_stop_ ? stop->size() : 0)), *stop};
  held_.clear();
  partial_.clear();
  return piece;
}

// Bytes at the end of held_ that a stop string could begin with.
size_t TextStream::HeldForStop() const {
  size_t hold = 0;
  for (const std::string& s : stops_) {
    for (size_t n = std::min(s.size() - 1, held_.size()); n > hold; --n) {
      if (held_.compare(held_.size() - n, n, s, 0, n) == 0) {
        hold = n;
        break;
      }
    }
  }
  return hold;
}

TextStream::Piece TextStream::Append(std::string_view bytes, bool may_stop) {
  partial_.append(bytes);
  const size_t rest = AppendUtf8(partial_, held_);
  partial_.erase(0, partial_.size() - rest);
  if (!may_stop) {
    Piece piece{std::move(held_), std::nullopt};
    held_.clear();
    return piece;
  }
  if (auto matched = Match()) return std::move(*matched);
  const size_t show = held_.size() - HeldForStop();
  Piece piece{held_.substr(0, show), std::nullopt};
  held_.erase(0, show);
  return piece;
}

std::string TextStream::Finish() {
  if (!partial_.empty()) held_.append(kReplacement);
  partial_.clear();
  std::string out;
  out.swap(held_);
  return out;
}

}  // namespace sluice::worker
