// The hash is compiled in, so that short inputs of known shape cost no call.
#define XXH_INLINE_ALL
#include "kvindex/block_keys.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/text.h"
#include "codec/cbor/cbor_writer.h"

namespace sluice::kvindex {
namespace {

static_assert(std::endian::native == std::endian::little, "keys hash little-endian words as they lie in memory");

constexpr std::string_view kCborFnv = "cbor-fnv";
constexpr std::string_view kXxh64 = "xxh64";
constexpr size_t kStackBytes = 2048;  // a block of 504 tokens; longer ones stream

uint64_t Fnv1a64(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

std::string& Scratch() {
  thread_local std::string scratch;
  scratch.clear();
  return scratch;
}

uint64_t CborFnvNext(uint64_t parent, std::span<const uint32_t> tokens, std::span<const std::string_view> extras) {
  std::string& preimage = Scratch();
  codec::CborWriter writer(preimage);
  writer.Array(3);
  writer.Unsigned(parent);
  writer.Array(tokens.size());
  for (const uint32_t token : tokens) writer.Unsigned(token);
  if (extras.empty()) {
    writer.Null();
  } else {
    writer.Array(extras.size());
    for (const std::string_view extra : extras) {
      writer.Map(1);
      writer.Text("Hash");
      writer.Text(extra);
    }
  }
  return Fnv1a64(preimage);
}

void Update(XXH64_state_t& state, const void* bytes, size_t size) {
  // A null pointer is refused even with nothing to read.
  if (size > 0) XXH64_update(&state, bytes, size);
}

uint64_t Xxh64Next(uint64_t parent, std::span<const uint32_t> tokens, std::span<const std::string_view> extras) {
  const size_t bytes = sizeof(parent) + tokens.size_bytes();
  if (extras.empty() && bytes <= kStackBytes) {
    char preimage[kStackBytes];
    std::memcpy(preimage, &parent, sizeof(parent));
    if (!tokens.empty()) std::memcpy(preimage + sizeof(parent), tokens.data(), tokens.size_bytes());
    return XXH64(preimage, bytes, 0);
  }
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  Update(state, &parent, sizeof(parent));
  Update(state, tokens.data(), tokens.size_bytes());
  for (const std::string_view extra : extras) {
    const uint64_t length = extra.size();
    Update(state, &length, sizeof(length));
    Update(state, extra.data(), extra.size());
  }
  return XXH64_digest(&state);
}

}  // namespace

Result<KeyAlgorithm> ParseKeyAlgorithm(std::string_view name) {
  if (name.empty() || name == kCborFnv) return KeyAlgorithm::kCborFnv;
  if (name == kXxh64) return KeyAlgorithm::kXxh64;
  const std::string_view known[] = {kCborFnv, kXxh64};
  return Fail(Code::kInvalidArgument,
              "hashAlgorithm '" + std::string(name) + "': use cbor-fnv or xxh64" + DidYouMean(name, known),
              "hashAlgorithm");
}

std::string_view Name(KeyAlgorithm algorithm) { return algorithm == KeyAlgorithm::kCborFnv ? kCborFnv : kXxh64; }

BlockKeys::BlockKeys(Options options) : options_(std::move(options)) {
  SLUICE_CHECK(options_.block_size_tokens > 0, "a block holds at least one token");
  const std::string& seed = options_.hash_seed;
  init_ = options_.algorithm == KeyAlgorithm::kCborFnv ? Fnv1a64(seed) : XXH64(seed.data(), seed.size(), 0);
}

uint64_t BlockKeys::Root(std::string_view model) const {
  std::string& preimage = Scratch();
  if (options_.algorithm == KeyAlgorithm::kCborFnv) {
    codec::CborWriter writer(preimage);
    writer.Array(3);
    writer.Unsigned(init_);
    writer.Null();
    writer.Text(model);
    return Fnv1a64(preimage);
  }
  const uint64_t words[] = {init_, model.size()};
  preimage.append(reinterpret_cast<const char*>(words), sizeof(words));
  preimage.append(model);
  return XXH64(preimage.data(), preimage.size(), 0);
}

uint64_t BlockKeys::Next(uint64_t parent, std::span<const uint32_t> tokens,
                         std::span<const std::string_view> extras) const {
  return options_.algorithm == KeyAlgorithm::kCborFnv ? CborFnvNext(parent, tokens, extras)
                                                      : Xxh64Next(parent, tokens, extras);
}

void BlockKeys::AppendChain(std::string_view model, std::span<const uint32_t> tokens, const PromptExtras& extras,
                            size_t blocks_max, std::vector<uint64_t>& out) const {
  const size_t size = options_.block_size_tokens;
  const size_t blocks = std::min(tokens.size() / size, blocks_max);
  out.reserve(out.size() + blocks);
  uint64_t parent = Root(model);
  std::vector<std::string_view> of_block;
  size_t first_item = 0;  // items before it end before the block
  for (size_t i = 0; i < blocks; ++i) {
    of_block.clear();
    const size_t begin = i * size;
    const size_t end = begin + size;
    const auto ends = [&](const MultimodalSpan& item) { return size_t{item.offset} + item.length; };
    while (first_item < extras.items.size() && ends(extras.items[first_item]) <= begin) ++first_item;
    for (size_t k = first_item; k < extras.items.size() && extras.items[k].offset < end; ++k) {
      if (ends(extras.items[k]) > begin) of_block.push_back(extras.items[k].hash);
    }
    if (i == 0 && !extras.cache_salt.empty()) of_block.push_back(extras.cache_salt);
    parent = Next(parent, tokens.subspan(begin, size), of_block);
    out.push_back(parent);
  }
}

}  // namespace sluice::kvindex
