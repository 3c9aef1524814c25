#include "kvindex/approx_prefix_index.h"

#define XXH_STATIC_LINKING_ONLY  // the state on the stack
#include <xxhash.h>

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace sluice::kvindex {

static_assert(std::endian::native == std::endian::little, "block hashes are taken over little-endian tokens in memory");

void AppendBlockChain(std::string_view model, std::string_view salt, std::span<const uint32_t> tokens,
                      uint32_t block_size, size_t blocks_max, std::vector<uint64_t>& out) {
  SLUICE_CHECK(block_size > 0, "a block has tokens");
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  XXH64_update(&state, model.data(), model.size());
  XXH64_update(&state, salt.data(), salt.size());
  uint64_t parent = XXH64_digest(&state);
  for (size_t blocks = 0; !tokens.empty() && blocks < blocks_max; ++blocks) {
    const auto block = tokens.first(std::min<size_t>(block_size, tokens.size()));
    const uint64_t pair[2] = {XXH64(block.data(), block.size_bytes(), 0), parent};
    parent = XXH64(pair, sizeof pair, 0);
    out.push_back(parent);
    tokens = tokens.subspan(block.size());
  }
}

uint64_t ContentHash(std::string_view content) { return XXH64(content.data(), content.size(), 0); }

void ApproxMatches::Clear() {
  for (const model::EndpointId id : touched) blocks_by_slot[id.slot] = 0;
  touched.clear();
}

template <class KeyOf>
void ApproxPrefixIndex::Table::Insert(uint64_t key, uint32_t node, KeyOf&& key_of) {
  if ((count_ + 1) * 4 > cells_.size() * 3) {
    std::vector<uint32_t> old = std::move(cells_);
    cells_.assign(std::max<size_t>(64, old.size() * 2), kNone);
    mask_ = cells_.size() - 1;
    for (const uint32_t moved : old) {
      if (moved == kNone) continue;
      size_t at = key_of(moved) & mask_;
      while (cells_[at] != kNone) at = (at + 1) & mask_;
      cells_[at] = moved;
    }
  }
  size_t at = key & mask_;
  while (cells_[at] != kNone) at = (at + 1) & mask_;
  cells_[at] = node;
  ++count_;
}

size_t ApproxPrefixIndex::Table::Locate(uint64_t key, uint32_t node) const {
  size_t at = key & mask_;
  while (cells_[at] != node) {
    SLUICE_CHECK(cells_[at] != kNone, "a node that is in use is in its table");
    at = (at + 1) & mask_;
  }
  return at;
}

void ApproxPrefixIndex::Table::Replace(uint64_t key, uint32_t node, uint32_t with) { cells_[Locate(key, node)] = with; }

template <class KeyOf>
void ApproxPrefixIndex::Table::Erase(uint64_t key, uint32_t node, KeyOf&& key_of) {
  size_t hole = Locate(key, node);
  for (size_t at = (hole + 1) & mask_; cells_[at] != kNone; at = (at + 1) & mask_) {
    const size_t home = key_of(cells_[at]) & mask_;
    if (((at - home) & mask_) >= ((at - hole) & mask_)) {  // its home is not between the hole and here
      cells_[hole] = cells_[at];
      hole = at;
    }
  }
  cells_[hole] = kNone;
  --count_;
}

ApproxPrefixIndex::ApproxPrefixIndex(Options options) : options_(options) {
  SLUICE_CHECK(options_.entries_max > 0 && options_.entries_max < kNone, "a limit that node numbers can express");
}

uint32_t ApproxPrefixIndex::FirstHolder(uint64_t hash) const {
  return by_hash_.Find(hash, [&](uint32_t node) { return nodes_[node].hash == hash; });
}

ApproxPrefixIndex::Server& ApproxPrefixIndex::ServerOf(model::EndpointId endpoint) {
  if (endpoint.slot >= servers_.size()) servers_.resize(endpoint.slot + 1);
  Server& server = servers_[endpoint.slot];
  if (server.generation != endpoint.generation) {
    Remove({endpoint.slot, server.generation});  // the slot has a new tenant
    server.generation = endpoint.generation;
  }
  return server;
}

uint32_t ApproxPrefixIndex::Allocate() {
  ++entries_;
  if (free_ != kNone) {
    const uint32_t node = free_;
    free_ = nodes_[node].older;
    nodes_[node] = Node{};
    return node;
  }
  nodes_.emplace_back();
  return static_cast<uint32_t>(nodes_.size() - 1);
}

void ApproxPrefixIndex::LinkNewest(Server& server, uint32_t node) {
  nodes_[node].newer = kNone;
  nodes_[node].older = server.newest;
  if (server.newest != kNone) nodes_[server.newest].newer = node;
  server.newest = node;
  if (server.oldest == kNone) server.oldest = node;
}

void ApproxPrefixIndex::UnlinkRecency(Server& server, uint32_t node) {
  const Node& n = nodes_[node];
  (n.newer != kNone ? nodes_[n.newer].older : server.newest) = n.older;
  (n.older != kNone ? nodes_[n.older].newer : server.oldest) = n.newer;
}

void ApproxPrefixIndex::Touch(Server& server, uint32_t node) {
  if (server.newest == node) return;
  UnlinkRecency(server, node);
  LinkNewest(server, node);
}

void ApproxPrefixIndex::Evict(Server& server, uint32_t node) {
  UnlinkRecency(server, node);
  --server.count;
  const uint64_t hash = nodes_[node].hash;
  by_pair_.Erase(PairKeyOf(node), node, [&](uint32_t n) { return PairKeyOf(n); });
  const uint32_t prev = nodes_[node].holder_prev, next = nodes_[node].holder_next;
  if (next != kNone) nodes_[next].holder_prev = prev;
  if (prev != kNone) {
    nodes_[prev].holder_next = next;
  } else if (next != kNone) {
    by_hash_.Replace(hash, node, next);
  } else {
    by_hash_.Erase(hash, node, [&](uint32_t n) { return nodes_[n].hash; });
  }
  nodes_[node].older = free_;
  free_ = node;
  --entries_;
}

void ApproxPrefixIndex::MakeRoom(Server& server) {
  if (server.count > 0) {
    Evict(server, server.oldest);
    return;
  }
  Server& largest = *std::max_element(servers_.begin(), servers_.end(),
                                      [](const Server& a, const Server& b) { return a.count < b.count; });
  Evict(largest, largest.oldest);
}

void ApproxPrefixIndex::Insert(model::EndpointId endpoint, std::span<const uint64_t> chain, size_t capacity) {
  Server& server = ServerOf(endpoint);
  capacity = std::clamp<size_t>(capacity, 1, options_.entries_max);
  chain = chain.first(std::min(chain.size(), capacity));
  for (size_t i = chain.size(); i-- > 0;) {
    const uint64_t hash = chain[i];
    const uint32_t held = by_pair_.Find(PairKey(hash, endpoint.slot), [&](uint32_t node) {
      return nodes_[node].hash == hash && nodes_[node].slot == endpoint.slot;
    });
    if (held != kNone) {
      Touch(server, held);
      continue;
    }
    if (server.count >= capacity) {
      Evict(server, server.oldest);
    } else if (entries_ >= options_.entries_max) {
      MakeRoom(server);
    }
    const uint32_t node = Allocate();
    nodes_[node].hash = hash;
    nodes_[node].slot = endpoint.slot;
    if (const uint32_t first = FirstHolder(hash); first != kNone) {
      nodes_[node].holder_prev = first;  // second in the list: the table keeps pointing at the first
      nodes_[node].holder_next = nodes_[first].holder_next;
      if (nodes_[first].holder_next != kNone) nodes_[nodes_[first].holder_next].holder_prev = node;
      nodes_[first].holder_next = node;
    } else {
      by_hash_.Insert(hash, node, [&](uint32_t n) { return nodes_[n].hash; });
    }
    by_pair_.Insert(PairKeyOf(node), node, [&](uint32_t n) { return PairKeyOf(n); });
    LinkNewest(server, node);
    ++server.count;
  }
  while (server.count > capacity) Evict(server, server.oldest);
}

void ApproxPrefixIndex::Lookup(std::span<const uint64_t> chain, ApproxMatches& out) const {
  if (out.blocks_by_slot.size() < servers_.size()) out.blocks_by_slot.resize(servers_.size());
  for (const uint64_t hash : chain) {
    uint32_t node = FirstHolder(hash);
    if (node == kNone) return;
    for (; node != kNone; node = nodes_[node].holder_next) {
      const uint32_t slot = nodes_[node].slot;
      if (out.blocks_by_slot[slot]++ == 0) out.touched.push_back({slot, servers_[slot].generation});
    }
  }
}

void ApproxPrefixIndex::Remove(model::EndpointId endpoint) {
  if (endpoint.slot >= servers_.size()) return;
  Server& server = servers_[endpoint.slot];
  if (server.generation != endpoint.generation) return;
  while (server.count > 0) Evict(server, server.oldest);
}

size_t ApproxPrefixIndex::EntriesOf(model::EndpointId endpoint) const {
  if (endpoint.slot >= servers_.size() || servers_[endpoint.slot].generation != endpoint.generation) return 0;
  return servers_[endpoint.slot].count;
}

size_t ApproxPrefixIndex::ByteSize() const {
  return nodes_.capacity() * sizeof(Node) + servers_.capacity() * sizeof(Server) + by_hash_.ByteSize() +
         by_pair_.ByteSize();
}

}  // namespace sluice::kvindex
