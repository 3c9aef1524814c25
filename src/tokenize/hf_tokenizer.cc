#include "tokenize/hf_tokenizer.h"

#include <algorithm>
#include <cstring>

#include "tokenize/cut_tokens.h"
#include "tokenize/hf_tokenizers_c.h"

namespace sluice::tokenize {

#if SLUICE_HF_TOKENIZERS

const bool kHfTokenizersBuilt = true;

namespace {

const uint8_t* Bytes(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

std::string Take(SluiceHfBytes list) {
  std::string out(reinterpret_cast<const char*>(list.data), list.size);
  sluice_hf_free_bytes(list);
  return out;
}

// The bytes of a well-formed UTF-8 character at the front, or 0.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t size = lead >= 0xC2 && lead <= 0xDF   ? 2
                      : (lead & 0xF0) == 0xE0        ? 3
                      : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                     : 0;
  if (size == 0 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const bool overlong = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xF0 && byte(1) < 0x90);
  const bool beyond = (lead == 0xED && byte(1) > 0x9F) || (lead == 0xF4 && byte(1) > 0x8F);
  return overlong || beyond ? 0 : size;
}

std::string Repaired(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t size = CharacterBytes(text);
    size == 0 ? out.append("\xEF\xBF\xBD") : out.append(text.substr(0, size));
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<HfTokenizer>> HfTokenizer::Open(std::string_view json) {
  SluiceHfBytes error{};
  SluiceHfHandle* handle = sluice_hf_open(Bytes(json), json.size(), &error);
  if (handle == nullptr) return Fail(Code::kInvalidArgument, "tokenizer.json cannot be read: " + Take(error));
  return std::unique_ptr<HfTokenizer>(new HfTokenizer(handle));
}

HfTokenizer::HfTokenizer(SluiceHfHandle* handle)
    : handle_(handle), vocab_size_(static_cast<int>(sluice_hf_vocab_size(handle))) {
  SluiceHfBytes list{};
  sluice_hf_added(handle_, &list);
  const std::string records = Take(list);
  for (size_t at = 0; at < records.size();) {
    uint32_t head[3];
    std::memcpy(head, records.data() + at, sizeof head);
    at += sizeof head;
    added_.push_back({static_cast<TokenId>(head[0]), head[1], records.substr(at, head[2])});
    at += head[2];
  }
  std::sort(added_.begin(), added_.end(), [](const Added& a, const Added& b) { return a.id < b.id; });
}

HfTokenizer::~HfTokenizer() { sluice_hf_close(handle_); }

std::vector<TokenId> HfTokenizer::Encode(std::string_view text, bool add_special, bool parse_special) const {
  SluiceHfIds ids{};
  SluiceHfBytes error{};
  if (!sluice_hf_encode(handle_, Bytes(text), text.size(), add_special, parse_special, &ids, &error)) {
    sluice_hf_free_bytes(error);
    const std::string repaired = Repaired(text);
    error = {};
    if (!sluice_hf_encode(handle_, Bytes(repaired), repaired.size(), add_special, parse_special, &ids, &error)) {
      sluice_hf_free_bytes(error);
      return {};
    }
  }
  std::vector<TokenId> out(ids.size);
  if (ids.size > 0) std::memcpy(out.data(), ids.data, ids.size * sizeof(TokenId));
  sluice_hf_free_ids(ids);
  return out;
}

std::string HfTokenizer::Decode(const std::vector<TokenId>& tokens, bool skip_special) const {
  const std::vector<uint32_t> ids(tokens.begin(), tokens.end());
  SluiceHfBytes out{}, error{};
  if (sluice_hf_decode(handle_, ids.data(), ids.size(), skip_special, &out, &error)) return Take(out);
  sluice_hf_free_bytes(error);
  return {};
}

std::string HfTokenizer::Piece(TokenId token, bool special) const {
  if (token < 0 || (!special && IsSpecial(token))) return {};
  return Decode({token}, /*skip_special=*/false);
}

bool HfTokenizer::IsSpecial(TokenId token) const {
  const auto at = std::lower_bound(added_.begin(), added_.end(), token,
                                   [](const Added& added, TokenId id) { return added.id < id; });
  return at != added_.end() && at->id == token && (at->flags & kSluiceHfSpecial) != 0;
}

// Normalized ones are searched last, within what the others left: they cannot take bytes from those.
std::vector<std::string> HfTokenizer::CutTokens() const {
  std::vector<std::string> wanted, all;
  for (const Added& added : added_) {
    if ((added.flags & kSluiceHfNormalized) != 0) continue;
    all.push_back(added.text);
    if ((added.flags & kSluiceHfSpecial) != 0 && (added.flags & kSluiceHfSingleWord) == 0) wanted.push_back(added.text);
  }
  return WithoutOverlaps(std::move(wanted), all);
}

#else

const bool kHfTokenizersBuilt = false;

Result<std::unique_ptr<HfTokenizer>> HfTokenizer::Open(std::string_view) {
  return Fail(Code::kUnavailable,
              "this program was built without Hugging Face tokenizers, for want of cargo: install Rust and run `make "
              "setup` and `make`, or give a .gguf file, or have the engine tokenize (token-producer's `vllm`)");
}
HfTokenizer::HfTokenizer(SluiceHfHandle* handle) : handle_(handle) {}
HfTokenizer::~HfTokenizer() = default;
std::vector<TokenId> HfTokenizer::Encode(std::string_view, bool, bool) const { return {}; }
std::string HfTokenizer::Decode(const std::vector<TokenId>&, bool) const { return {}; }
std::string HfTokenizer::Piece(TokenId, bool) const { return {}; }
bool HfTokenizer::IsSpecial(TokenId) const { return false; }
std::vector<std::string> HfTokenizer::CutTokens() const { return {}; }

#endif

}  // namespace sluice::tokenize
