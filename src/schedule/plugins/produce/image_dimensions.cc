#include "schedule/plugins/produce/image_dimensions.h"

#include <array>
#include <cstddef>

namespace sluice::schedule {
namespace {

constexpr std::array<int8_t, 256> MakeSextets() {
  std::array<int8_t, 256> table{};
  table.fill(-1);
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kAlphabet.size(); ++i) table[static_cast<uint8_t>(kAlphabet[i])] = static_cast<int8_t>(i);
  return table;
}
constexpr std::array<int8_t, 256> kSextets = MakeSextets();

// The bytes behind base64 text, decoded where they are asked for. Reading beyond the end or into anything that is not
// base64 gives 0 and makes it bad.
class Bytes {
 public:
  explicit Bytes(std::string_view base64) : base64_(base64) {}

  uint32_t At(size_t i) {
    const size_t first = i / 3 * 4 + i % 3;  // byte i is made of the characters first and first + 1
    const int high = Sextet(first), low = Sextet(first + 1);
    if (high < 0 || low < 0) {
      bad_ = true;
      return 0;
    }
    const unsigned shift = 2 + 2 * static_cast<unsigned>(i % 3);
    return (static_cast<unsigned>(high) << shift | static_cast<unsigned>(low) >> (6 - shift)) & 0xFF;
  }
  uint32_t Big16(size_t i) { return At(i) << 8 | At(i + 1); }
  uint32_t Big32(size_t i) { return Big16(i) << 16 | Big16(i + 2); }
  uint32_t Little16(size_t i) { return At(i) | At(i + 1) << 8; }
  uint32_t Little24(size_t i) { return Little16(i) | At(i + 2) << 16; }
  bool Is(size_t i, std::string_view text) {
    for (size_t k = 0; k < text.size(); ++k) {
      if (At(i + k) != static_cast<uint8_t>(text[k])) return false;
    }
    return !bad_;
  }
  bool bad() const { return bad_; }

 private:
  int Sextet(size_t i) const { return i < base64_.size() ? kSextets[static_cast<uint8_t>(base64_[i])] : -1; }
  std::string_view base64_;
  bool bad_ = false;
};

// Segment by segment to the frame header (SOF0 to SOF15 without DHT, JPG and DAC).
ImageDimensions Jpeg(Bytes& bytes) {
  constexpr int kSegmentsMax = 1000;
  size_t at = 2;
  for (int segments = 0; segments < kSegmentsMax && !bytes.bad(); ++segments) {
    if (bytes.At(at) != 0xFF) return {};
    const uint32_t marker = bytes.At(at + 1);
    if (marker == 0xFF) {  // padding
      ++at;
      continue;
    }
    if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
      return {bytes.Big16(at + 7), bytes.Big16(at + 5)};
    }
    if (marker == 0xD9 || marker == 0xDA) return {};  // the picture itself, without a frame header
    at += 2;
    if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) continue;  // markers without a length
    const uint32_t length = bytes.Big16(at);
    if (length < 2) return {};
    at += length;
  }
  return {};
}

ImageDimensions WebP(Bytes& bytes) {
  if (bytes.Is(12, "VP8X")) return {bytes.Little24(24) + 1, bytes.Little24(27) + 1};
  if (bytes.Is(12, "VP8L") && bytes.At(20) == 0x2F) {
    const uint32_t packed = bytes.Little24(21) | bytes.At(24) << 24;
    return {(packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1};
  }
  if (bytes.Is(12, "VP8 ") && bytes.Little24(23) == 0x2A019D) {
    return {bytes.Little16(26) & 0x3FFF, bytes.Little16(28) & 0x3FFF};
  }
  return {};
}

ImageDimensions Read(Bytes& bytes) {
  if (bytes.Is(0, "\x89PNG\r\n\x1A\n") && bytes.Is(12, "IHDR")) return {bytes.Big32(16), bytes.Big32(20)};
  if (bytes.Is(0, "GIF87a") || bytes.Is(0, "GIF89a")) return {bytes.Little16(6), bytes.Little16(8)};
  if (bytes.Is(0, "RIFF") && bytes.Is(8, "WEBP")) return WebP(bytes);
  if (bytes.At(0) == 0xFF && bytes.At(1) == 0xD8) return Jpeg(bytes);
  return {};
}

// The base64 text within `content`; empty when there is none.
std::string_view Payload(std::string_view content) {
  if (content.starts_with("data:image/")) {
    constexpr std::string_view kMark = "base64,";
    const size_t mark = content.find(kMark);
    return mark == std::string_view::npos ? std::string_view{} : content.substr(mark + kMark.size());
  }
  return content.find(':') == std::string_view::npos ? content : std::string_view{};  // no base64 text has a colon
}

}  // namespace

std::optional<ImageDimensions> DimensionsOf(std::string_view content) {
  Bytes bytes(Payload(content));
  const ImageDimensions found = Read(bytes);
  if (bytes.bad() || found.width == 0 || found.height == 0) return std::nullopt;
  return found;
}

}  // namespace sluice::schedule
