// BlockKeys: the router's own names of prompt blocks, computed from token ids by upstream's two algorithms, so that an
// index shared with upstream agrees. Each full block has a 64-bit key that depends on everything before it; the
// trailing partial block has none. Engine hashes are other numbers for the same blocks (engine_hash.h); events map them
// to these keys (events/endpoint_blocks.h). Both sides must use one model name, byte for byte, or nothing ever matches.
// Formats: cbor-fnv  root = FNV1a64(CBOR [FNV1a64(seed), null, model]), key = FNV1a64(CBOR [parent, [tokens], extras]);
//          xxh64     root = XXH64(LE64(XXH64(seed)) ‖ LE64(|model|) ‖ model),
//                    key = XXH64(LE64(parent) ‖ LE32 tokens ‖ for each extra LE64(length) ‖ bytes).
// Thread rule: immutable after construction; any thread. Ownership: values. Cost: xxh64 about 20 ns a block of 16
// tokens, cbor-fnv about 100 ns; AppendChain allocates only what `out` grows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::kvindex {

enum class KeyAlgorithm : uint8_t { kCborFnv, kXxh64 };
// "" and "cbor-fnv", or "xxh64"; anything else is an error that names these.
Result<KeyAlgorithm> ParseKeyAlgorithm(std::string_view name);
std::string_view Name(KeyAlgorithm algorithm);

// A multimodal item: its placeholder covers tokens [offset, offset + length).
struct MultimodalSpan {
  std::string_view hash;
  uint32_t offset = 0;
  uint32_t length = 0;
};

// What is hashed beside a prompt's tokens. An adapter is not an extra: its name stands in for the model's.
struct PromptExtras {
  std::string_view cache_salt;                 // the first block's last extra; empty: none
  std::span<const MultimodalSpan> items = {};  // by ascending offset; each is an extra of every block it overlaps
};

class BlockKeys {
 public:
  struct Options {
    KeyAlgorithm algorithm = KeyAlgorithm::kCborFnv;
    std::string hash_seed;
    uint32_t block_size_tokens = 16;  // at least 1
  };
  explicit BlockKeys(Options options);

  uint32_t BlockSize() const { return options_.block_size_tokens; }
  const Options& options() const { return options_; }
  // The parent of a chain's first block.
  uint64_t Root(std::string_view model) const;
  // The key of one block behind `parent`.
  uint64_t Next(uint64_t parent, std::span<const uint32_t> tokens, std::span<const std::string_view> extras) const;
  // Appends the keys of the full blocks of a prompt, at most `blocks_max`.
  void AppendChain(std::string_view model, std::span<const uint32_t> tokens, const PromptExtras& extras,
                   size_t blocks_max, std::vector<uint64_t>& out) const;

 private:
  Options options_;
  uint64_t init_;
};

}  // namespace sluice::kvindex
