#include "kvindex/events/encode.h"

#include "codec/msgpack/msgpack_writer.h"

namespace sluice::kvindex {
namespace {

constexpr std::string_view kMedium = "GPU";  // what vLLM says on its CPU backend too
constexpr std::string_view kSpecKind = "full_attention";

class Encoder {
 public:
  Encoder(std::string& out, HashForm form) : w_(out), form_(form) {}

  void Batch(const EventBatch& batch) {
    w_.Array(3);
    w_.Double(batch.unix_seconds);
    w_.Array(static_cast<uint32_t>(batch.events.size()));
    for (const KvEvent& event : batch.events) std::visit(*this, event);
    w_.Unsigned(0);  // data_parallel_rank: one engine a process
  }

  void operator()(const BlockStored& event) {
    w_.Map(11 + (event.session_id.empty() ? 0 : 1));
    Type("BlockStored");
    Hashes(event.block_hashes);
    w_.Str("parent_block_hash");
    if (event.parent_block_hash.has_value()) {
      Hash(*event.parent_block_hash);
    } else {
      w_.Nil();
    }
    w_.Str("token_ids");
    w_.Array(static_cast<uint32_t>(event.token_ids.size()));
    for (const int32_t token : event.token_ids) w_.Int(token);
    w_.Str("block_size");
    w_.Int(event.block_size);
    w_.Str("lora_id");
    if (event.lora_id == 0) {
      w_.Nil();
    } else {
      w_.Int(event.lora_id);
    }
    Medium();
    w_.Str("lora_name");
    Optional(event.lora_name);
    ExtraKeys(event);
    Group();
    w_.Str("kv_cache_spec_kind");
    w_.Str(kSpecKind);
    if (!event.session_id.empty()) {
      w_.Str("session_id");
      w_.Str(event.session_id);
    }
  }

  void operator()(const BlockRemoved& event) {
    w_.Map(4);
    Type("BlockRemoved");
    Hashes(event.block_hashes);
    Medium();
    Group();
  }

  void operator()(const AllBlocksCleared&) {
    w_.Map(1);
    Type("AllBlocksCleared");
  }

 private:
  void Type(std::string_view type) {
    w_.Str("type");
    w_.Str(type);
  }
  void Medium() {
    w_.Str("medium");
    w_.Str(kMedium);
  }
  void Group() {
    w_.Str("group_idx");
    w_.Unsigned(0);
  }
  void Optional(std::string_view text) {
    if (text.empty()) {
      w_.Nil();
    } else {
      w_.Str(text);
    }
  }
  void Hash(const BlockDigest& digest) {
    if (form_ == HashForm::kLow64) {
      w_.WideUnsigned(digest.Low64());
    } else {
      w_.Bin(digest.View());
    }
  }
  void Hashes(const std::vector<BlockDigest>& hashes) {
    w_.Str("block_hashes");
    w_.Array(static_cast<uint32_t>(hashes.size()));
    for (const BlockDigest& digest : hashes) Hash(digest);
  }
  // One entry a block: nil, or the adapter's name, then (first block of a prompt only) the salt. Untagged, unlike in
  // the hash.
  void ExtraKeys(const BlockStored& event) {
    w_.Str("extra_keys");
    w_.Array(static_cast<uint32_t>(event.block_hashes.size()));
    const bool lora = !event.lora_name.empty();
    for (size_t i = 0; i < event.block_hashes.size(); ++i) {
      const bool salt = i == 0 && !event.parent_block_hash.has_value() && !event.cache_salt.empty();
      if (!lora && !salt) {
        w_.Nil();
        continue;
      }
      w_.Array(static_cast<uint32_t>(lora) + static_cast<uint32_t>(salt));
      if (lora) w_.Str(event.lora_name);
      if (salt) w_.Str(event.cache_salt);
    }
  }

  codec::MsgpackWriter w_;
  HashForm form_;
};

size_t SizeHint(const EventBatch& batch) {
  size_t bytes = 32;
  for (const KvEvent& event : batch.events) {
    bytes += 96;
    if (const auto* stored = std::get_if<BlockStored>(&event)) {
      bytes += 192 + stored->token_ids.size() * 3 + stored->block_hashes.size() * 35;
    }
  }
  return bytes;
}

}  // namespace

std::string EncodeBatch(const EventBatch& batch, HashForm form) {
  std::string out;
  out.reserve(SizeHint(batch));
  Encoder(out, form).Batch(batch);
  return out;
}

}  // namespace sluice::kvindex
