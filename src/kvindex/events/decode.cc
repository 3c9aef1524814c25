#include "kvindex/events/decode.h"

#include <limits>

namespace sluice::kvindex {
namespace {

using codec::MsgpackItem;
using codec::MsgpackReader;
using codec::MsgpackType;

// Positions in array events, after the type. SGLang's arrays go on differently after the medium.
constexpr std::string_view kStoredFields[] = {
    "block_hashes", "parent_block_hash", "token_ids",  "block_size", "lora_id",
    "medium",       "lora_name",         "extra_keys", "group_idx",  "kv_cache_spec_kind"};
constexpr std::string_view kSglangFields[] = {"block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id",
                                              "medium",       "cache_salt",        "session_id"};
constexpr std::string_view kRemovedFields[] = {"block_hashes", "medium", "group_idx"};

// Fields without which an event says nothing.
constexpr uint32_t kHasHashes = 1, kHasTokens = 2, kHasBlockSize = 4;

bool IsContainer(const MsgpackItem& item) { return item.type == MsgpackType::kArray || item.type == MsgpackType::kMap; }

bool ToHash(const MsgpackItem& item, uint64_t& hash) {
  if (item.type == MsgpackType::kUnsigned || item.type == MsgpackType::kNegative) {
    hash = item.number;
    return true;
  }
  if (item.type != MsgpackType::kBin || item.bytes.empty()) return false;
  hash = 0;
  const size_t begin = item.bytes.size() > 8 ? item.bytes.size() - 8 : 0;
  for (size_t i = begin; i < item.bytes.size(); ++i) hash = hash << 8 | static_cast<uint8_t>(item.bytes[i]);
  return true;
}

bool ToInt(const MsgpackItem& item, int64_t& value) {
  value = static_cast<int64_t>(item.number);
  return item.type == MsgpackType::kNegative || (item.type == MsgpackType::kUnsigned && value >= 0);
}

// Text or nil.
bool ToText(const MsgpackItem& item, std::string_view& text) {
  if (item.type == MsgpackType::kStr) text = item.bytes;
  return item.type == MsgpackType::kStr || item.type == MsgpackType::kNil;
}

}  // namespace

bool BatchDecoder::TypeOf(std::string_view name) {
  type_known_ = true;
  if (name == "BlockStored") {
    event_.type = DecodedEvent::Type::kStored;
  } else if (name == "BlockRemoved") {
    event_.type = DecodedEvent::Type::kRemoved;
  } else if (name == "AllBlocksCleared") {
    event_.type = DecodedEvent::Type::kCleared;
  } else {
    type_known_ = false;
  }
  return type_known_;
}

bool BatchDecoder::Hashes(Reader& reader, const Item& item) {
  if (item.type != MsgpackType::kArray) return false;
  hashes_.clear();
  Item hash;
  for (uint32_t i = 0; i < item.count; ++i) {
    if (!reader.Next(hash) || !ToHash(hash, hashes_.emplace_back())) return false;
  }
  seen_ |= kHasHashes;
  return true;
}

bool BatchDecoder::Tokens(Reader& reader, const Item& item) {
  if (item.type == MsgpackType::kNil) return true;
  if (item.type != MsgpackType::kArray) return false;
  tokens_.clear();
  tokens_.reserve(item.count);
  Item token;
  for (uint32_t i = 0; i < item.count; ++i) {
    if (!reader.Next(token)) return false;
    if (token.type == MsgpackType::kArray && token.count == 2) {
      // SGLang's EAGLE pages list (token, next token).
      Item next;
      if (!reader.Next(token) || !reader.Next(next)) return false;
    }
    if (token.type != MsgpackType::kUnsigned || token.number > std::numeric_limits<uint32_t>::max()) return false;
    tokens_.push_back(static_cast<uint32_t>(token.number));
  }
  seen_ |= kHasTokens;
  return true;
}

bool BatchDecoder::Extra(Reader& reader, const Item& item) {
  if (item.type == MsgpackType::kStr || item.type == MsgpackType::kBin) {
    extras_.push_back({.text = item.bytes, .offset = {}, .bytes = item.type == MsgpackType::kBin});
    return true;
  }
  if (item.type == MsgpackType::kArray && item.count >= 1) {
    Item first;
    if (!reader.Next(first)) return false;
    if (first.type != MsgpackType::kStr) return false;
    DecodedExtra extra{.text = first.bytes};
    for (uint32_t i = 1; i < item.count; ++i) {
      Item more;
      if (!reader.Next(more)) return false;
      int64_t offset = 0;
      if (i == 1 && ToInt(more, offset)) extra.offset = offset;
      if (IsContainer(more) && !reader.SkipContents(more)) return false;
    }
    extras_.push_back(extra);
    return true;
  }
  // A kind that is not known yet: the block differs from one without it, in a way that no request can name.
  return false;
}

bool BatchDecoder::Extras(Reader& reader, const Item& item) {
  if (item.type == MsgpackType::kNil) return true;
  if (item.type != MsgpackType::kArray) return false;
  extras_.clear();
  extras_of_block_.clear();
  Item block;
  for (uint32_t i = 0; i < item.count; ++i) {
    if (!reader.Next(block)) return false;
    const size_t before = extras_.size();
    if (block.type == MsgpackType::kArray) {
      Item extra;
      for (uint32_t k = 0; k < block.count; ++k) {
        if (!reader.Next(extra) || !Extra(reader, extra)) return false;
      }
    } else if (block.type != MsgpackType::kNil) {
      return false;
    }
    extras_of_block_.push_back(static_cast<uint32_t>(extras_.size() - before));
  }
  return true;
}

bool BatchDecoder::Field(Reader& reader, std::string_view name, const Item& item) {
  int64_t number = 0;
  if (name == "block_hashes") return Hashes(reader, item);
  if (name == "token_ids") return Tokens(reader, item);
  if (name == "extra_keys") return Extras(reader, item);
  if (name == "parent_block_hash") {
    event_.parent.reset();
    if (item.type == MsgpackType::kNil) return true;
    uint64_t parent = 0;
    if (!ToHash(item, parent)) return false;
    if (parent != 0) event_.parent = parent;
    return true;
  }
  if (name == "block_size") {
    seen_ |= kHasBlockSize;
    return item.type == MsgpackType::kNil || ToInt(item, event_.block_size);
  }
  if (name == "group_idx") {
    if (item.type == MsgpackType::kNil) return true;
    if (!ToInt(item, number) || number < 0 || number > std::numeric_limits<uint32_t>::max()) return false;
    event_.group = static_cast<uint32_t>(number);
    return true;
  }
  if (name == "medium") return ToText(item, event_.medium);
  if (name == "lora_name") return ToText(item, event_.lora_name);
  if (name == "kv_cache_spec_kind") return ToText(item, event_.spec_kind);
  if (name == "locality") return ToText(item, event_.locality);
  if (name == "cache_salt") return ToText(item, event_.cache_salt);
  // lora_id is the engine's own number; the rest is not known here.
  return !IsContainer(item) || reader.SkipContents(item);
}

bool BatchDecoder::Array(Reader& reader, uint32_t count) {
  Item item;
  if (!reader.Next(item) || item.type != MsgpackType::kStr || !TypeOf(item.bytes)) return false;
  std::span<const std::string_view> fields;
  if (event_.type == DecodedEvent::Type::kStored) {
    fields = engine_ == EngineType::kSglang ? std::span<const std::string_view>(kSglangFields) : kStoredFields;
  } else if (event_.type == DecodedEvent::Type::kRemoved) {
    fields = kRemovedFields;
  }
  for (uint32_t i = 1; i < count; ++i) {
    if (!reader.Next(item)) return false;
    if (!Field(reader, i <= fields.size() ? fields[i - 1] : std::string_view(), item)) return false;
  }
  return true;
}

bool BatchDecoder::Map(Reader& reader, uint32_t pairs) {
  Item name;
  Item item;
  for (uint32_t i = 0; i < pairs; ++i) {
    if (!reader.Next(name) || name.type != MsgpackType::kStr || !reader.Next(item)) return false;
    if (name.bytes == "type") {
      if (item.type != MsgpackType::kStr || !TypeOf(item.bytes)) return false;
    } else if (!Field(reader, name.bytes, item)) {
      return false;
    }
  }
  return true;
}

BatchDecoder::Outcome BatchDecoder::Event(Reader& reader, const Item& head, bool wrapped, EventSink& sink) {
  if (head.type == MsgpackType::kBin && !wrapped) {
    Reader inner(head.bytes);
    Item inside;
    if (!inner.Next(inside)) return Outcome::kMalformed;
    return Event(inner, inside, true, sink);
  }
  event_ = {};
  type_known_ = false;
  seen_ = 0;
  hashes_.clear();
  tokens_.clear();
  extras_.clear();
  extras_of_block_.clear();
  bool read = false;
  bool typed = true;  // as far as it was read
  if (head.type == MsgpackType::kArray && head.count > 0) {
    read = Array(reader, head.count);
    typed = type_known_;
  } else if (head.type == MsgpackType::kMap) {
    read = Map(reader, head.count);
    typed = type_known_;
  }
  if (!read) return typed || reader.Fault() != nullptr ? Outcome::kMalformed : Outcome::kUnknown;
  if (!type_known_) return Outcome::kMalformed;
  const uint32_t needed = event_.type == DecodedEvent::Type::kStored    ? kHasHashes | kHasTokens | kHasBlockSize
                          : event_.type == DecodedEvent::Type::kRemoved ? kHasHashes
                                                                        : 0;
  if ((seen_ & needed) != needed) return Outcome::kMalformed;
  event_.hashes = hashes_;
  event_.tokens = tokens_;
  event_.extras = extras_;
  event_.extras_of_block = extras_of_block_;
  sink.OnEvent(event_);
  return Outcome::kGood;
}

void BatchDecoder::Events(Reader& reader, const Item& head, DecodeResult& result, EventSink& sink) {
  if (head.type != MsgpackType::kArray) {
    result.broken = true;
    return;
  }
  Item item;
  for (uint32_t i = 0; i < head.count; ++i) {
    if (!reader.Next(item)) {
      result.malformed += head.count - i;
      result.broken = true;
      return;
    }
    const Reader at_event = reader;
    const Outcome outcome = Event(reader, item, false, sink);
    if (outcome == Outcome::kGood) {
      ++result.events;
      continue;
    }
    ++(outcome == Outcome::kUnknown ? result.unknown : result.malformed);
    // Back to its head and past it: the next event begins where this one ends, whatever is wrong inside.
    reader = at_event;
    if (IsContainer(item) && !reader.SkipContents(item)) {
      result.malformed += head.count - i - 1;
      result.broken = true;
      return;
    }
  }
}

DecodeResult BatchDecoder::Decode(std::string_view payload, EventSink& sink) {
  DecodeResult result;
  Reader reader(payload);
  Item head;
  if (!reader.Next(head) || !IsContainer(head)) {
    result.broken = true;
    return result;
  }
  bool has_events = false;
  Item item;
  for (uint32_t i = 0; i < head.count && !result.broken; ++i) {
    // Names of the array's positions; further ones are passed over.
    std::string_view name = i == 1 ? "events" : i == 2 ? "data_parallel_rank" : "";
    if (head.type == MsgpackType::kMap) {
      if (!reader.Next(item)) break;
      name = item.type == MsgpackType::kStr ? item.bytes : std::string_view();
      if (IsContainer(item) && !reader.SkipContents(item)) break;
    }
    if (!reader.Next(item)) break;
    if (name == "events" && !has_events) {
      has_events = true;
      Events(reader, item, result, sink);
      continue;
    }
    int64_t rank = 0;
    if (name == "data_parallel_rank" && ToInt(item, rank)) result.data_parallel_rank = rank;
    if (IsContainer(item) && !reader.SkipContents(item)) break;
  }
  if (!has_events || reader.Fault() != nullptr) result.broken = true;
  return result;
}

}  // namespace sluice::kvindex
