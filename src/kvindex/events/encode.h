// EncodeBatch: one EventBatch in the bytes that vLLM 0.32 puts in the third frame of a KV event message: a msgpack
// array [ts, [events], data_parallel_rank], every event a map with vLLM's keys in vLLM's order. Thread rule: pure.
// Cost: about 3 bytes and 20 ns a token; one allocation.
#pragma once

#include <cstdint>
#include <string>

#include "kvindex/events/event.h"

namespace sluice::kvindex {

// vLLM's VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES: 1 (its default) publishes the digest's low 64 bits, 0 the whole digest.
enum class HashForm : uint8_t { kLow64, kDigest };

std::string EncodeBatch(const EventBatch& batch, HashForm form);

}  // namespace sluice::kvindex
