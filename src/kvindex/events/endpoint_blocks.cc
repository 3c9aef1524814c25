#include "kvindex/events/endpoint_blocks.h"

#include <algorithm>

namespace sluice::kvindex {
namespace {

constexpr size_t kOpsAhead = 16;      // keys computed, and their memory sent for, before they are stored
constexpr size_t kCopyBytes = 64;     // a node of copies_ and its share of the buckets
constexpr uint32_t kPartsMax = 4096;  // of ours in one engine block

bool PrefixKind(std::string_view kind) {
  return kind == "full_attention" || kind == "mla_attention" || kind == "sink_full_attention";
}

}  // namespace

EndpointBlocks::EndpointBlocks(PrefixIndex& index, PrefixIndex::Slot slot, const BlockKeys& keys, size_t map_share)
    : index_(index), slot_(slot), keys_(keys), map_(index.Budget(), map_share) {}

void EndpointBlocks::OnEvent(const DecodedEvent& event) {
  switch (event.type) {
    case DecodedEvent::Type::kStored:
      Stored(event);
      break;
    case DecodedEvent::Type::kRemoved:
      Removed(event);
      break;
    case DecodedEvent::Type::kCleared:
      Clear();
      ++counters_.cleared;
      break;
  }
}

void EndpointBlocks::Clear() {
  map_.ForEach([&](uint64_t, uint64_t key) { index_.Remove(slot_, kEventHoldings, key); });
  map_.Clear();
  index_.Budget().Give(copies_.size() * kCopyBytes);
  copies_.clear();
  tails_.clear();
}

// Whether the event's group tells about prefixes. What a group is, its stores say; another group's removal must never
// take a block away, as the groups of one engine share hashes.
bool EndpointBlocks::Indexed(const DecodedEvent& event, bool store) {
  bool indexed = event.spec_kind.empty() || PrefixKind(event.spec_kind);
  if (event.group.has_value()) {
    if (*event.group >= kGroupsMax) {
      indexed = false;
    } else {
      Group& group = groups_[*event.group];
      if (store && (!event.spec_kind.empty() || group == Group::kUnknown)) {
        group = indexed ? Group::kIndexed : Group::kOther;
      }
      indexed = group == Group::kIndexed;
    }
  }
  if (!indexed) {
    ++counters_.other_groups;
    counters_.limited_reuse = true;
  }
  return indexed;
}

void EndpointBlocks::Stored(const DecodedEvent& event) {
  if (event.locality == "REMOTE") {
    ++counters_.remote;
    return;
  }
  if (!Indexed(event, true)) return;
  const Holding holding = index_.Tier(event.medium);
  if (event.tokens.empty()) return UpdateTier(event, holding);
  const uint64_t size = keys_.BlockSize();
  const auto engine_size = static_cast<uint64_t>(event.block_size);
  if (event.block_size <= 0 || event.tokens.size() % engine_size != 0 ||
      event.tokens.size() / engine_size != event.hashes.size() ||
      (!event.extras_of_block.empty() && event.extras_of_block.size() != event.hashes.size())) {
    ++counters_.not_dense;
    return;
  }
  if ((engine_size % size != 0 && size % engine_size != 0) || engine_size / size > kPartsMax) {
    ++counters_.block_size_unfit;
    return;
  }
  Tail tail;
  if (!Resolve(event, tail)) return;
  if (engine_size >= size) {
    if (!tail.tokens.empty()) {
      ++counters_.unaligned;
      return;
    }
    StoreWhole(event, tail.parent, holding);
  } else {
    StoreParts(event, std::move(tail), holding);
  }
}

// Where the event's first token is: behind a block of ours, or inside one that began earlier.
bool EndpointBlocks::Resolve(const DecodedEvent& event, Tail& tail) {
  if (!event.parent.has_value()) {
    tail.parent = keys_.Root(event.lora_name.empty() ? std::string_view(model_) : event.lora_name);
    return true;
  }
  if (const auto key = map_.Find(*event.parent)) {
    tail.parent = *key;
    return true;
  }
  const auto it =
      std::find_if(tails_.begin(), tails_.end(), [&](const Tail& t) { return t.end_hash == *event.parent; });
  if (it != tails_.end()) {
    tail = *it;
    return true;
  }
  if (inners_ && map_.Find(InnerName(*event.parent)).has_value()) {
    ++counters_.unaligned;
  } else {
    ++counters_.lost_parents;
  }
  return false;
}

// The extras of one of our blocks: part `part` of an engine block. An adapter's name is the chain's root already. A
// media item counts from the part in which it begins; where it ends is not said, so it counts to the engine block's
// end.
void EndpointBlocks::ExtrasOf(const DecodedEvent& event, std::span<const DecodedExtra> of_block, bool first_block,
                              uint32_t part, std::vector<std::string_view>& out) const {
  out.clear();
  for (size_t i = 0; i < of_block.size(); ++i) {
    const DecodedExtra& extra = of_block[i];
    if (i == 0 && !event.lora_name.empty() && extra.text == event.lora_name && !extra.offset.has_value()) continue;
    if (extra.offset.has_value()) {
      if (*extra.offset >= (int64_t{part} + 1) * keys_.BlockSize()) continue;
    } else if (part > 0 && first_block && !extra.bytes && i + 1 == of_block.size()) {
      continue;  // the salt: only on a prompt's first block
    }
    out.push_back(extra.text);
  }
  if (first_block && part == 0 && !event.cache_salt.empty()) out.push_back(event.cache_salt);
}

void EndpointBlocks::StoreWhole(const DecodedEvent& event, uint64_t parent, Holding holding) {
  const size_t size = keys_.BlockSize();
  const auto parts = static_cast<uint32_t>(static_cast<size_t>(event.block_size) / size);
  if (parts > 1) parts_ = true;
  size_t extra = 0;
  for (size_t i = 0; i < event.hashes.size(); ++i) {
    const size_t extras = event.extras_of_block.empty() ? 0 : event.extras_of_block[i];
    const auto of_block = event.extras.subspan(extra, extras);
    extra += extras;
    const bool first = i == 0 && !event.parent.has_value();
    for (uint32_t part = 0; part < parts; ++part) {
      ExtrasOf(event, of_block, first, part, extras_);
      parent = keys_.Next(parent, event.tokens.subspan((i * parts + part) * size, size), extras_);
      // The last part has the hash's own name: chains go on behind it.
      Push(part + 1 == parts ? event.hashes[i] : PartName(event.hashes[i], part + 1), parent, holding);
    }
  }
  Flush(holding);
}

void EndpointBlocks::StoreParts(const DecodedEvent& event, Tail tail, Holding holding) {
  const size_t size = keys_.BlockSize();
  const auto engine_size = static_cast<size_t>(event.block_size);
  inners_ = true;
  size_t next_extra = 0;
  for (size_t i = 0; i < event.hashes.size(); ++i) {
    const size_t extras = event.extras_of_block.empty() ? 0 : event.extras_of_block[i];
    for (size_t k = 0; k < extras; ++k) {
      const DecodedExtra& extra = event.extras[next_extra++];
      if (k == 0 && !event.lora_name.empty() && extra.text == event.lora_name && !extra.offset.has_value()) continue;
      Extra mine{std::string(extra.text), kNoStart};
      // An item that two engine blocks of one of ours name begins at the same place for both.
      if (extra.offset.has_value()) mine.start = *extra.offset + static_cast<int64_t>(tail.tokens.size());
      if (std::find(tail.extras.begin(), tail.extras.end(), mine) == tail.extras.end()) tail.extras.push_back(mine);
    }
    if (i == 0 && !event.parent.has_value() && !event.cache_salt.empty()) {
      tail.extras.push_back({std::string(event.cache_salt), kNoStart});
    }
    const auto tokens = event.tokens.subspan(i * engine_size, engine_size);
    tail.tokens.insert(tail.tokens.end(), tokens.begin(), tokens.end());
    tail.hashes.push_back(event.hashes[i]);
    tail.end_hash = event.hashes[i];
    if (tail.tokens.size() < size) continue;
    if (tail.tokens.size() > size) {  // it began with a block of another size
      ++counters_.unaligned;
      return;
    }
    extras_.clear();
    // The salt stands last, whichever engine block of ours it came with.
    for (const Extra& extra : tail.extras) {
      if (extra.start != kNoStart) extras_.push_back(extra.text);
    }
    for (const Extra& extra : tail.extras) {
      if (extra.start == kNoStart) extras_.push_back(extra.text);
    }
    const uint64_t key = keys_.Next(tail.parent, tail.tokens, extras_);
    // The last engine block stands for ours; the others are names under which it leaves.
    const bool again = Store(tail.end_hash, key, holding);
    for (size_t k = 0; k + 1 < tail.hashes.size(); ++k) {
      SetName(InnerName(tail.hashes[k]), key);
      if (again) CountCopy(InnerName(tail.hashes[k]), holding);
    }
    tail = {.parent = key};
  }
  if (!tail.tokens.empty()) KeepTail(std::move(tail));
}

void EndpointBlocks::KeepTail(Tail tail) {
  std::erase_if(tails_, [&](const Tail& t) { return t.end_hash == tail.end_hash; });
  if (tails_.size() >= kTailsMax) tails_.erase(tails_.begin());
  tails_.push_back(std::move(tail));
}

void EndpointBlocks::Push(uint64_t name, uint64_t key, Holding holding) {
  index_.Prefetch(key);
  map_.Prefetch(name);
  ops_.push_back({name, key});
  if (ops_.size() >= kOpsAhead) Flush(holding);
}

void EndpointBlocks::Flush(Holding holding) {
  for (const Op& op : ops_) Store(op.name, op.key, holding);
  ops_.clear();
}

bool EndpointBlocks::SetName(uint64_t name, uint64_t key) {
  return map_.Put(
      name, key, [&](uint64_t k) { return uint64_t{index_.AgeSeconds(slot_, k).value_or(~0u)}; },
      [&](uint64_t, uint64_t k) {
        index_.Remove(slot_, kEventHoldings, k);
        ++counters_.without_memory;
      });
}

// True when the name stood for this block on this tier already: there is one more copy.
bool EndpointBlocks::Store(uint64_t name, uint64_t key, Holding holding) {
  const auto had = map_.Find(name);
  if (had.has_value() && *had != key) index_.Remove(slot_, kEventHoldings, *had);
  if (!SetName(name, key)) {
    ++counters_.without_memory;
    return false;
  }
  ++counters_.stored;
  const auto stored = index_.Add(slot_, holding, key);
  if (stored == PrefixIndex::Stored::kRefused) ++counters_.without_memory;
  if (stored != PrefixIndex::Stored::kHeldAlready || had != key) return false;
  CountCopy(name, holding);
  return true;
}

void EndpointBlocks::CountCopy(uint64_t name, Holding holding) {
  const auto it = copies_.find(CopyName(name, holding));
  if (it != copies_.end()) {
    ++it->second;
  } else if (index_.Budget().Take(kCopyBytes)) {
    copies_.emplace(CopyName(name, holding), 1);
  }
}

void EndpointBlocks::UpdateTier(const DecodedEvent& event, Holding holding) {
  for (const uint64_t hash : event.hashes) {
    const auto key = map_.Find(hash);
    if (!key.has_value()) continue;
    ++counters_.tier_updates;
    Store(hash, *key, holding);
    for (uint32_t part = 1; parts_ && part < kPartsMax; ++part) {
      const auto of_part = map_.Find(PartName(hash, part));
      if (!of_part.has_value()) break;
      Store(PartName(hash, part), *of_part, holding);
    }
  }
}

// One copy of what `name` stands for left the tier.
EndpointBlocks::Dropped EndpointBlocks::Drop(uint64_t name, Holding holding) {
  const auto key = map_.Find(name);
  if (!key.has_value()) return Dropped::kUnknown;
  if (!copies_.empty()) {
    if (const auto it = copies_.find(CopyName(name, holding)); it != copies_.end()) {
      if (--it->second == 0) {
        copies_.erase(it);
        index_.Budget().Give(kCopyBytes);
      }
      return Dropped::kCopyLeft;
    }
  }
  const uint8_t left = index_.Remove(slot_, static_cast<uint8_t>(1u << holding), *key);
  if ((left & kEventHoldings) == 0) map_.Erase(name);
  return Dropped::kGone;
}

void EndpointBlocks::Removed(const DecodedEvent& event) {
  if (event.locality == "REMOTE") {
    ++counters_.remote;
    return;
  }
  if (!Indexed(event, false)) return;
  const Holding holding = index_.Tier(event.medium);
  for (const uint64_t hash : event.hashes) map_.Prefetch(hash);
  for (const uint64_t hash : event.hashes) {
    const Dropped dropped = Drop(hash, holding);
    bool known = dropped != Dropped::kUnknown;
    counters_.copies_left += dropped == Dropped::kCopyLeft;
    for (uint32_t part = 1; parts_ && part < kPartsMax; ++part) {
      if (Drop(PartName(hash, part), holding) == Dropped::kUnknown) break;
    }
    if (inners_) {
      known = Drop(InnerName(hash), holding) != Dropped::kUnknown || known;
      known = std::erase_if(tails_,
                            [&](const Tail& tail) {
                              return std::find(tail.hashes.begin(), tail.hashes.end(), hash) != tail.hashes.end();
                            }) > 0 ||
              known;
    }
    ++(known ? counters_.removed : counters_.unknown_removed);
  }
}

}  // namespace sluice::kvindex
