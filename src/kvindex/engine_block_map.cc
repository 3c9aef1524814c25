#include "kvindex/engine_block_map.h"

#include <utility>

namespace sluice::kvindex {
namespace {

constexpr size_t kCellsMin = 16;

}  // namespace

size_t EngineBlockMap::IndexOf(uint64_t hash) const {
  if (size_ == 0) return kNowhere;
  for (size_t at = Home(hash);; at = After(at)) {
    if (cells_[at].hash == hash) return at;
    if (cells_[at].hash == 0) return kNowhere;
  }
}

std::optional<uint64_t> EngineBlockMap::Find(uint64_t hash) const {
  const size_t at = IndexOf(Real(hash));
  if (at == kNowhere) return std::nullopt;
  return cells_[at].key;
}

void EngineBlockMap::Insert(uint64_t hash, uint64_t key) {
  size_t at = Home(hash);
  while (cells_[at].hash != 0 && cells_[at].hash != hash) at = After(at);
  if (cells_[at].hash == 0) ++used_;
  cells_[at] = {hash, key};
}

void EngineBlockMap::EraseAt(size_t at) {
  // Entries after it move back, unless that would put them before their home.
  size_t hole = at;
  for (size_t next = After(at); cells_[next].hash != 0; next = After(next)) {
    const size_t home = Home(cells_[next].hash);
    const bool stays = hole < next ? home > hole && home <= next : home > hole || home <= next;
    if (stays) continue;
    cells_[hole] = cells_[next];
    hole = next;
  }
  cells_[hole] = {};
  --used_;
}

void EngineBlockMap::Erase(uint64_t hash) {
  if (const size_t at = IndexOf(Real(hash)); at != kNowhere) EraseAt(at);
}

bool EngineBlockMap::Grow() {
  const size_t size = size_ == 0 ? kCellsMin : size_ + size_ / 8;
  const size_t bytes = size * sizeof(Cell);
  const size_t limit = bytes > share_ ? budget_.Max() / 100 * 85 : budget_.Max();
  if (!budget_.Take(bytes, limit)) return false;
  std::unique_ptr<Cell[]> old = std::exchange(cells_, std::make_unique<Cell[]>(size));
  const size_t old_size = std::exchange(size_, size);
  used_ = 0;
  for (size_t i = 0; i < old_size; ++i) {
    if (old[i].hash != 0) Insert(old[i].hash, old[i].key);
  }
  budget_.Give(old_size * sizeof(Cell));
  return true;
}

void EngineBlockMap::Clear() {
  cells_.reset();
  budget_.Give(size_ * sizeof(Cell));
  size_ = 0;
  used_ = 0;
}

}  // namespace sluice::kvindex
