// EngineHash: the block hashes that vLLM computes, so that a worker's KV events name blocks as a vLLM engine's would.
// Formats: specs of vLLM 0.32 `--prefix-caching-hash-algo`: a digest of (parent digest, token ids, extra keys),
// serialised as canonical CBOR. The chain's root is the digest of the seed. Thread rule: immutable after construction.
// Cost: one SHA-256 or XXH3 over about 3 bytes a token.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::kvindex {

enum class HashAlgorithm : uint8_t { kSha256Cbor, kXxhashCbor };
// "sha256_cbor", "xxhash_cbor"; anything else is an error that names these.
Result<HashAlgorithm> ParseHashAlgorithm(std::string_view name);
std::string_view Name(HashAlgorithm algorithm);

struct BlockDigest {
  std::array<uint8_t, 32> bytes{};
  uint8_t size = 0;  // 32 for SHA-256, 16 for XXH3-128
  // What vLLM publishes as an integer hash: the low 64 bits of the digest.
  uint64_t Low64() const;
  std::string_view View() const { return {reinterpret_cast<const char*>(bytes.data()), size}; }
  bool operator==(const BlockDigest&) const = default;
};

// What is hashed beside the tokens: the cache salt (only for a prompt's first block) and the adapter.
struct ExtraKeys {
  std::string cache_salt;
  std::string lora_name;
  std::string lora_path;
};

class EngineHash {
 public:
  // `seed`: vLLM's PYTHONHASHSEED. Without it sha256 kinds use the constant "vllm-none-hash", so that replicas agree,
  // and xxhash kinds a value drawn here, so that nobody outside can make blocks collide.
  EngineHash(HashAlgorithm algorithm, std::optional<std::string> seed);
  const BlockDigest& Root() const { return root_; }
  // The digest of one full block behind `parent` (Root() for a prompt's first). The caller sets extra.cache_salt for a
  // first block only.
  BlockDigest Next(const BlockDigest& parent, std::span<const int32_t> tokens, const ExtraKeys& extra) const;

 private:
  HashAlgorithm algorithm_;
  BlockDigest root_;
};

}  // namespace sluice::kvindex
