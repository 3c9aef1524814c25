// ByteBlock: 32 bytes of a text looked at together, for scans over every byte of every answer: about half an
// instruction a byte where a loop over characters takes four. Vectors of the compiler, no processor's own functions.
// Thread rule: pure functions.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace sluice {

inline constexpr size_t kByteBlock = 32;
using ByteBlock = uint8_t __attribute__((ext_vector_type(kByteBlock)));

// The kByteBlock bytes from `at` on, which must all be readable.
inline ByteBlock LoadBlock(const char* at) {
  ByteBlock block;
  std::memcpy(&block, at, sizeof block);
  return block;
}

// The same of a text's first bytes, with zeros behind its end.
inline ByteBlock LoadBlock(std::string_view text) {
  if (text.size() >= kByteBlock) return LoadBlock(text.data());
  ByteBlock block{};
  std::memcpy(&block, text.data(), text.size());
  return block;
}

// What comparisons of blocks say, as one number: bit i for byte i.
template <class Comparison>
uint32_t BitsOf(Comparison comparison) {
  using Bits = bool __attribute__((ext_vector_type(kByteBlock)));
  return std::bit_cast<uint32_t>(__builtin_convertvector(comparison, Bits));
}

// Where the first byte is that `matches`, or text.size(). It is asked about blocks:
//   FindByte(text, [](ByteBlock c) { return (c == '"') | (c < 0x20); })
template <class Matches>
size_t FindByte(std::string_view text, Matches matches) {
  size_t n = 0;
  for (; n + kByteBlock <= text.size(); n += kByteBlock) {
    const uint32_t bits = BitsOf(matches(LoadBlock(text.data() + n)));
    if (bits != 0) return n + static_cast<size_t>(std::countr_zero(bits));
  }
  const size_t rest = text.size() - n;
  if (rest == 0) return n;
  uint32_t bits = 0;
  if (n > 0) {  // as the end of the text's last block
    bits = BitsOf(matches(LoadBlock(text.data() + text.size() - kByteBlock))) >> (kByteBlock - rest);
  } else {
    bits = BitsOf(matches(LoadBlock(text))) & ((uint32_t{1} << rest) - 1);
  }
  return bits != 0 ? n + static_cast<size_t>(std::countr_zero(bits)) : text.size();
}

}  // namespace sluice
