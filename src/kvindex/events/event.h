// KV events: what an engine says about its prefix cache, as values. Encoding to vLLM's msgpack is in encode.h, sending
// in publisher.h. Thread rule: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "kvindex/engine_hash.h"

namespace sluice::kvindex {

// Full blocks entered the cache, in chain order. token_ids holds block_size ids a hash.
struct BlockStored {
  std::vector<BlockDigest> block_hashes;
  std::optional<BlockDigest> parent_block_hash;  // none for a chain's first block
  std::vector<int32_t> token_ids;
  int block_size = 16;
  int lora_id = 0;         // the engine's own number for the adapter, from 1; 0: none
  std::string lora_name;   // empty: none
  std::string cache_salt;  // published as an extra key of a prompt's first block (no parent); empty: none
  std::string session_id;  // the request's; empty: none
};
struct BlockRemoved {
  std::vector<BlockDigest> block_hashes;
};
struct AllBlocksCleared {};

using KvEvent = std::variant<BlockStored, BlockRemoved, AllBlocksCleared>;

// One engine step's events. An empty batch is never sent.
struct EventBatch {
  double unix_seconds = 0;
  std::vector<KvEvent> events;
};

}  // namespace sluice::kvindex
