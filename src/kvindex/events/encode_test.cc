// The yardstick is test/golden/vllm: block hashes must come out of the recorded token ids, and each recorded payload,
// read into values and encoded again, must come out byte for byte.
#include "kvindex/events/encode.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>

#include "codec/msgpack/msgpack_reader.h"

namespace sluice::kvindex {
namespace {

using codec::MsgpackItem;
using codec::MsgpackReader;
using codec::MsgpackType;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// Reads recorded payloads in order, and turns each published hash back into the digest computed from the tokens.
class Recording {
 public:
  Recording(std::string folder, HashAlgorithm algorithm, std::optional<std::string> seed)
      : folder_(std::string(SLUICE_SOURCE_DIR "/test/golden/vllm/") + std::move(folder)),
        hash_(algorithm, std::move(seed)) {}

  std::string Payload(int message) const {
    char name[32];
    std::snprintf(name, sizeof(name), "/msg-%03d.bin", message);
    return ReadFile(folder_ + name);
  }

  EventBatch Read(std::string_view payload) {
    MsgpackReader reader(payload);
    reader_ = &reader;
    EventBatch batch;
    EXPECT_EQ(Next().count, 3u);
    batch.unix_seconds = Next().real;
    const uint32_t events = Next().count;
    for (uint32_t i = 0; i < events; ++i) batch.events.push_back(ReadEvent());
    EXPECT_EQ(Next().number, 0u) << "data_parallel_rank";
    EXPECT_TRUE(reader.AtEnd());
    return batch;
  }

  int HashesChecked() const { return hashes_checked_; }

 private:
  MsgpackItem Next() {
    MsgpackItem item;
    EXPECT_TRUE(reader_->Next(item)) << (reader_->Fault() != nullptr ? reader_->Fault() : "ended early");
    return item;
  }

  static std::string Published(const MsgpackItem& item) {
    return item.type == MsgpackType::kBin ? std::string(item.bytes) : std::to_string(item.number);
  }
  static std::string Published(const BlockDigest& digest, bool as_bytes) {
    return as_bytes ? std::string(digest.View()) : std::to_string(digest.Low64());
  }

  BlockDigest Known(const std::string& published) {
    const auto it = known_.find(published);
    EXPECT_NE(it, known_.end()) << "no computed digest has the published hash " << published;
    return it == known_.end() ? BlockDigest{.size = 32} : it->second;
  }

  KvEvent ReadEvent() {
    const uint32_t pairs = Next().count;
    EXPECT_EQ(Next().bytes, "type");
    const std::string type(Next().bytes);
    if (type == "AllBlocksCleared") return AllBlocksCleared{};
    std::vector<std::string> published;
    bool as_bytes = false;
    BlockStored stored;
    for (uint32_t i = 1; i < pairs; ++i) {
      const std::string key(Next().bytes);
      if (key == "block_hashes") {
        for (uint32_t n = Next().count; n > 0; --n) {
          const MsgpackItem item = Next();
          as_bytes = item.type == MsgpackType::kBin;
          published.push_back(Published(item));
        }
      } else {
        ReadField(key, stored);
      }
    }
    if (type == "BlockRemoved") {
      BlockRemoved removed;
      for (const std::string& hash : published) removed.block_hashes.push_back(Known(hash));
      return removed;
    }
    EXPECT_EQ(type, "BlockStored");
    Recompute(published, as_bytes, stored);
    return stored;
  }

  void ReadField(const std::string& key, BlockStored& stored) {
    const MsgpackItem item = Next();
    if (key == "parent_block_hash" && item.type != MsgpackType::kNil) stored.parent_block_hash = Known(Published(item));
    if (key == "block_size") stored.block_size = static_cast<int>(item.number);
    if (key == "session_id") stored.session_id = item.bytes;
    if (key == "token_ids") {
      for (uint32_t n = item.count; n > 0; --n) stored.token_ids.push_back(static_cast<int32_t>(Next().number));
    }
    if (key == "extra_keys") {
      for (uint32_t n = item.count; n > 0; --n) {
        for (uint32_t k = Next().count; k > 0; --k) stored.cache_salt = Next().bytes;
      }
    }
  }

  void Recompute(const std::vector<std::string>& published, bool as_bytes, BlockStored& stored) {
    BlockDigest parent = stored.parent_block_hash.value_or(hash_.Root());
    const auto size = static_cast<size_t>(stored.block_size);
    ASSERT_EQ(stored.token_ids.size(), published.size() * size);
    for (size_t i = 0; i < published.size(); ++i) {
      ExtraKeys extra;
      if (i == 0 && !stored.parent_block_hash.has_value()) extra.cache_salt = stored.cache_salt;
      parent = hash_.Next(parent, std::span(stored.token_ids).subspan(i * size, size), extra);
      EXPECT_EQ(Published(parent, as_bytes), published[i]) << "block " << i;
      known_[Published(parent, as_bytes)] = parent;
      stored.block_hashes.push_back(parent);
      ++hashes_checked_;
    }
  }

  std::string folder_;
  EngineHash hash_;
  std::map<std::string, BlockDigest> known_;
  MsgpackReader* reader_ = nullptr;
  int hashes_checked_ = 0;
};

TEST(EncodeBatch, EqualsEveryPayloadOfARealEngine) {
  Recording recording("kv-sha256_cbor", HashAlgorithm::kSha256Cbor, "0");
  for (int message = 0; message < 15; ++message) {
    const std::string payload = recording.Payload(message);
    const EventBatch batch = recording.Read(payload);
    EXPECT_TRUE(EncodeBatch(batch, HashForm::kLow64) == payload) << "message " << message;
  }
  EXPECT_GT(recording.HashesChecked(), 90);
}

TEST(EncodeBatch, EqualsARealEngineWithWholeDigestsAndNoSeed) {
  Recording recording("kv-sha256_cbor-bytes-noseed", HashAlgorithm::kSha256Cbor, std::nullopt);
  for (const int message : {0, 1, 6}) {
    const std::string payload = recording.Payload(message);
    EXPECT_TRUE(EncodeBatch(recording.Read(payload), HashForm::kDigest) == payload) << "message " << message;
  }
  EXPECT_EQ(recording.HashesChecked(), 7);
}

TEST(EncodeBatch, EqualsARealEngineWithXxhash) {
  Recording recording("kv-xxhash_cbor", HashAlgorithm::kXxhashCbor, "0");
  for (const int message : {0, 1, 6}) {
    const std::string payload = recording.Payload(message);
    EXPECT_TRUE(EncodeBatch(recording.Read(payload), HashForm::kLow64) == payload) << "message " << message;
  }
  EXPECT_EQ(recording.HashesChecked(), 7);
}

// llm-d's decoder takes a hash only as a 64-bit integer or bytes, so that a small one must not be shortened.
TEST(EncodeBatch, ASmallHashStillTakesNineBytes) {
  BlockDigest small{.size = 32};
  small.bytes[31] = 5;
  const std::string bytes = EncodeBatch({.events = {BlockRemoved{{small}}}}, HashForm::kLow64);
  EXPECT_NE(bytes.find(std::string("block_hashes\x91\xcf\0\0\0\0\0\0\0\5", 22)), std::string::npos);
}

TEST(EncodeBatch, TheAdapterIsOnEveryBlockAndTheSaltOnlyOnAPromptsFirst) {
  BlockDigest digest{.size = 32};
  BlockStored stored{.block_hashes = {digest, digest},
                     .token_ids = {1, 2},
                     .block_size = 1,
                     .lora_id = 3,
                     .lora_name = "lora-a",
                     .cache_salt = "tenant-1"};
  const std::string first = EncodeBatch({.unix_seconds = 1, .events = {stored}}, HashForm::kLow64);
  EXPECT_NE(first.find("\xaa"
                       "extra_keys\x92\x92\xa6lora-a\xa8tenant-1\x91\xa6lora-a"),
            std::string::npos);
  EXPECT_NE(first.find("\xa7lora_id\x03\xa6medium"), std::string::npos);
  EXPECT_NE(first.find("\xa9lora_name\xa6lora-a"), std::string::npos);
  stored.parent_block_hash = digest;
  const std::string later = EncodeBatch({.unix_seconds = 1, .events = {stored}}, HashForm::kLow64);
  EXPECT_EQ(later.find("tenant-1"), std::string::npos);
}

}  // namespace
}  // namespace sluice::kvindex
