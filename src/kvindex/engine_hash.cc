#include "kvindex/engine_hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <memory>

#include "base/check.h"
#include "base/rng.h"
#include "base/text.h"
#include "codec/cbor/cbor_writer.h"

namespace sluice::kvindex {
namespace {

constexpr std::string_view kSha256Cbor = "sha256_cbor";
constexpr std::string_view kXxhashCbor = "xxhash_cbor";
constexpr std::string_view kNoSeed = "vllm-none-hash";

BlockDigest Sha256(std::string_view bytes) {
  // Fetched once: a lookup by name costs more than the digest of a block.
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA2-256", nullptr);
  SLUICE_CHECK(algorithm != nullptr, "libcrypto has no SHA-256");
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  thread_local const std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  BlockDigest digest{.size = 32};
  const bool ok = context != nullptr && EVP_DigestInit_ex2(context.get(), algorithm, nullptr) == 1 &&
                  EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1 &&
                  EVP_DigestFinal_ex(context.get(), digest.bytes.data(), nullptr) == 1;
  SLUICE_CHECK(ok, "SHA-256 failed");
  return digest;
}

BlockDigest Xxh3(std::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  BlockDigest digest{.size = sizeof(canonical.digest)};
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), digest.bytes.begin());
  return digest;
}

BlockDigest Digest(HashAlgorithm algorithm, std::string_view bytes) {
  return algorithm == HashAlgorithm::kSha256Cbor ? Sha256(bytes) : Xxh3(bytes);
}

// What vLLM takes without PYTHONHASHSEED: a constant for the sha256 kinds; for the xxhash kinds, which an outsider
// could collide, a value of this process.
std::string SeedOfOurOwn(HashAlgorithm algorithm) {
  if (algorithm == HashAlgorithm::kSha256Cbor) return std::string(kNoSeed);
  Rng rng(EntropySeed());
  return MakeUuid(rng);
}

}  // namespace

Result<HashAlgorithm> ParseHashAlgorithm(std::string_view name) {
  if (name == kSha256Cbor) return HashAlgorithm::kSha256Cbor;
  if (name == kXxhashCbor) return HashAlgorithm::kXxhashCbor;
  const std::string_view known[] = {kSha256Cbor, kXxhashCbor};
  std::string message = "prefix caching hash algorithm '" + std::string(name) + "': use sha256_cbor or xxhash_cbor";
  // vLLM's own default kinds hash Python pickles, which only Python can be held to.
  if (name == "sha256" || name == "xxhash") {
    message += " ('" + std::string(name) + "' hashes Python's pickle format)";
  } else {
    message += DidYouMean(name, known);
  }
  return Fail(Code::kInvalidArgument, std::move(message), "prefix_caching_hash_algo");
}

std::string_view Name(HashAlgorithm algorithm) {
  return algorithm == HashAlgorithm::kSha256Cbor ? kSha256Cbor : kXxhashCbor;
}

uint64_t BlockDigest::Low64() const {
  SLUICE_CHECK(size >= 8 && size <= bytes.size(), "not a digest");
  uint64_t value = 0;
  for (size_t i = size - 8u; i < size; ++i) value = value << 8 | bytes[i];
  return value;
}

EngineHash::EngineHash(HashAlgorithm algorithm, std::optional<std::string> seed) : algorithm_(algorithm) {
  std::string preimage;
  codec::CborWriter(preimage).Text(seed.has_value() ? *seed : SeedOfOurOwn(algorithm));
  root_ = Digest(algorithm, preimage);
}

BlockDigest EngineHash::Next(const BlockDigest& parent, std::span<const int32_t> tokens, const ExtraKeys& extra) const {
  std::string preimage;
  preimage.reserve(64 + tokens.size() * 5 + extra.cache_salt.size() + extra.lora_name.size() + extra.lora_path.size());
  codec::CborWriter writer(preimage);
  writer.Array(3);
  writer.Bytes(parent.View());
  writer.Array(tokens.size());
  for (const int32_t token : tokens) writer.Int(token);
  const bool lora = !extra.lora_name.empty();
  const bool salt = !extra.cache_salt.empty();
  if (!lora && !salt) {
    writer.Null();
    return Digest(algorithm_, preimage);
  }
  // vLLM 0.32 tags each extra key, so that a salt cannot be taken for an adapter's name.
  writer.Array(static_cast<uint64_t>(lora) + static_cast<uint64_t>(salt));
  if (lora) {
    writer.Array(3);
    writer.Text("lora");
    writer.Text(extra.lora_name);
    writer.Text(extra.lora_path);
  }
  if (salt) {
    writer.Array(2);
    writer.Text("cache_salt");
    writer.Text(extra.cache_salt);
  }
  return Digest(algorithm_, preimage);
}

}  // namespace sluice::kvindex
