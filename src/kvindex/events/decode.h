// DecodeBatch: KV event batches as engines put them on the wire, read into values. Takes every form in the field:
// events as positional arrays (vLLM up to 0.23, SGLang), as maps (vLLM since, newest SGLang) and packed once more into
// a bin (llm-d's storage publisher); batches as arrays or maps; short and long arrays, unknown keys, any key order,
// integers of any width. A hash becomes 64 bits: an unsigned integer as it is, a signed one by its bits, of bytes the
// last eight. An event that is unknown or malformed costs only itself, as long as its end can be found; then it costs
// the rest of the batch. Thread rule: a BatchDecoder has one owner. Ownership: a DecodedEvent lives until the sink
// returns. Bounded by the input: nothing is allocated that is larger than a small multiple of it; nothing at all once
// buffers have grown. Cost: about 5 ns a token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "codec/msgpack/msgpack_reader.h"

namespace sluice::kvindex {

enum class EngineType : uint8_t { kVllm, kSglang };

// One entry of a block's extra keys: a string (adapter, salt, a bare media identifier), or a media item and its offset
// in the block, which is negative when it began before, or bytes (a digest of prompt embeddings).
struct DecodedExtra {
  std::string_view text;
  std::optional<int64_t> offset;
  bool bytes = false;
};

struct DecodedEvent {
  enum class Type : uint8_t { kStored, kRemoved, kCleared };
  Type type = Type::kCleared;
  std::span<const uint64_t> hashes;
  std::optional<uint64_t> parent;  // nil and 0 both mean none
  std::span<const uint32_t> tokens;
  int64_t block_size = 0;
  std::string_view medium;  // empty: GPU
  std::string_view lora_name;
  std::string_view spec_kind;   // empty: not said
  std::string_view locality;    // "LOCAL", "REMOTE" or empty
  std::string_view cache_salt;  // SGLang's; vLLM's is among the extras
  std::optional<uint32_t> group;
  std::span<const DecodedExtra> extras;       // of all blocks, in order
  std::span<const uint32_t> extras_of_block;  // how many of them are each block's; empty: none has any
};

class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnEvent(const DecodedEvent& event) = 0;
};

struct DecodeResult {
  uint32_t events = 0;     // handed to the sink
  uint32_t unknown = 0;    // of a type that is not known
  uint32_t malformed = 0;  // not usable, or lost because the batch breaks off before them
  bool broken = false;     // not a batch, or it breaks off
  std::optional<int64_t> data_parallel_rank;
};

class BatchDecoder {
 public:
  explicit BatchDecoder(EngineType engine = EngineType::kVllm) : engine_(engine) {}
  DecodeResult Decode(std::string_view payload, EventSink& sink);

 private:
  using Reader = codec::MsgpackReader;
  using Item = codec::MsgpackItem;
  enum class Outcome : uint8_t { kGood, kUnknown, kMalformed };

  void Events(Reader& reader, const Item& head, DecodeResult& result, EventSink& sink);
  Outcome Event(Reader& reader, const Item& head, bool wrapped, EventSink& sink);
  bool Array(Reader& reader, uint32_t count);
  bool Map(Reader& reader, uint32_t pairs);
  bool Field(Reader& reader, std::string_view name, const Item& item);
  bool Hashes(Reader& reader, const Item& item);
  bool Tokens(Reader& reader, const Item& item);
  bool Extras(Reader& reader, const Item& item);
  bool Extra(Reader& reader, const Item& item);
  bool TypeOf(std::string_view name);

  const EngineType engine_;
  DecodedEvent event_;
  bool type_known_ = false;
  uint32_t seen_ = 0;  // fields of the event that were there, one bit each
  std::vector<uint64_t> hashes_;
  std::vector<uint32_t> tokens_;
  std::vector<DecodedExtra> extras_;
  std::vector<uint32_t> extras_of_block_;
};

}  // namespace sluice::kvindex
