#include "worker/engine/echo/echo_tokenizer.h"

#include <algorithm>

namespace sluice::worker {

using tokenize::TokenId;

namespace {

constexpr TokenId kOneByte = static_cast<TokenId>(EchoTokenizer::kSpecial.size());
constexpr TokenId kTwoBytes = kOneByte + 256;
constexpr TokenId kThreeBytes = kTwoBytes + 256 * 256;
constexpr TokenId kVocabSize = kThreeBytes + 256 * 256 * 256;

TokenId FromBytes(std::string_view bytes) {
  TokenId value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value + (bytes.size() == 1 ? kOneByte : bytes.size() == 2 ? kTwoBytes : kThreeBytes);
}

void EncodePlain(std::string_view text, std::vector<TokenId>& out) {
  while (!text.empty()) {
    size_t length = 1;
    while (length < 3 && length < text.size() && text[length] != ' ' && text[length] != '\n') ++length;
    out.push_back(FromBytes(text.substr(0, length)));
    text.remove_prefix(length);
  }
}

}  // namespace

const std::string_view kEchoChatTemplate =
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + (message['content'] or '') + '<|end|>' }}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

std::vector<TokenId> EchoTokenizer::Encode(std::string_view text, bool /*add_special*/, bool parse_special) const {
  std::vector<TokenId> out;
  while (parse_special) {
    size_t first = std::string_view::npos;
    size_t which = 0;
    for (size_t i = 0; i < kSpecial.size(); ++i) {
      const size_t at = text.find(kSpecial[i]);
      if (at < first) {
        first = at;
        which = i;
      }
    }
    if (first == std::string_view::npos) break;
    EncodePlain(text.substr(0, first), out);
    out.push_back(static_cast<TokenId>(which));
    text.remove_prefix(first + kSpecial[which].size());
  }
  EncodePlain(text, out);
  return out;
}

std::string EchoTokenizer::Piece(TokenId token, bool special) const {
  if (token < 0 || token >= kVocabSize) return {};
  if (IsSpecial(token)) return special ? std::string(kSpecial[static_cast<size_t>(token)]) : std::string();
  const int length = token >= kThreeBytes ? 3 : token >= kTwoBytes ? 2 : 1;
  const TokenId value = token - (length == 3 ? kThreeBytes : length == 2 ? kTwoBytes : kOneByte);
  std::string bytes;
  for (int shift = 8 * (length - 1); shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 255);
  return bytes;
}

std::string EchoTokenizer::Decode(const std::vector<TokenId>& tokens, bool skip_special) const {
  std::string text;
  for (const TokenId token : tokens) text += Piece(token, !skip_special);
  return text;
}

int EchoTokenizer::VocabSize() const { return kVocabSize; }

bool EchoTokenizer::IsSpecial(TokenId token) const { return token >= 0 && token < kOneByte; }

}  // namespace sluice::worker
