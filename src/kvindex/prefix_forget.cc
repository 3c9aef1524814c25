// Forgetting an endpoint, or what own history says of one: a walk over all shards in small steps. What is void is said
// first (ShardContext::leaving, history_void); a pass over the index erases for all that were void when it began.
#include <algorithm>
#include <bit>

#include "kvindex/prefix_index_impl.h"

namespace sluice::kvindex {

namespace {

using cells::Record;
using cells::Word;

constexpr uint32_t kBucketsAtOnce = 128;  // under a shard's lock: some microseconds

}  // namespace

uint32_t Shard::Purge(uint32_t begin, uint32_t buckets) {
  const cells::Table at = Cells();
  // A table that was replaced since the step before was purged as a whole.
  const uint32_t end = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{begin} + buckets, at.Buckets()));
  for (uint32_t b = begin; b < end; ++b) {
    for (int i = 0; i < cells::kCells; ++i) PurgeCell({at.At(b), i});
  }
  return end >= at.Buckets() ? 0 : end;
}

void Shard::PurgeCell(Cell cell) {
  if (context_->purges.load(std::memory_order_relaxed) == 0) return;
  const Word word = cell.word().load(std::memory_order_relaxed);
  if (word == 0) return;
  if (cells::IsRecord(word)) {
    if (!RecordOf(word).IsList()) return PurgeSets(cell);
    // Taking one away may replace the record: looked at again from the start.
    for (bool again = true; again;) {
      again = false;
      const Word now = cell.word().load(std::memory_order_relaxed);
      if (now == 0 || !cells::IsRecord(now)) break;
      Record& record = RecordOf(now);
      for (uint32_t k = 0; k < record.capacity; ++k) {
        const Word holder = record.Words()[k].load(std::memory_order_relaxed);
        if (holder == 0 || (cells::SetOf(holder) & context_->Void(cells::SlotOf(holder))) == 0) continue;
        RemoveFromRecord(cell, cells::SlotOf(holder), context_->Void(cells::SlotOf(holder)));
        again = true;
        break;
      }
    }
    if (const Word left = cell.word().load(std::memory_order_relaxed); left == 0 || cells::IsRecord(left)) return;
    return PurgeCell(cell);
  }
  const uint8_t set = cells::SetOf(word);
  const auto left = static_cast<uint8_t>(set & ~context_->Void(cells::SlotOf(word)));
  if (left == set) return;
  if (left != 0) {
    cell.word().store(cells::HolderWord(cells::SlotOf(word), left, cells::StampOf(word)));
    return;
  }
  cell.word().store(0);
  --live_;
  context_->holders[cells::SlotOf(word)].fetch_sub(1, std::memory_order_relaxed);
}

void Shard::PurgeSets(Cell cell) {
  const Word name = cell.word().load(std::memory_order_relaxed);
  Record* record = &RecordOf(name);
  for (uint32_t w = 0; w < record->row; ++w) {
    uint64_t any = 0;
    for (uint32_t left = record->holdings; left != 0; left &= left - 1) {
      const int holding = std::countr_zero(left);
      uint64_t gone = context_->leaving[w].load();
      if (holding == kHistory) gone |= context_->history_void[w].load();
      any |= record->Plane(holding)[w].load(std::memory_order_relaxed) & gone;
    }
    for (; any != 0; any &= any - 1) {
      const uint32_t slot = w * 64 + static_cast<uint32_t>(std::countr_zero(any));
      RemoveFromRecord(cell, slot, context_->Void(slot));
      // It may have become smaller, or a cell.
      if (cell.word().load(std::memory_order_relaxed) != name || &RecordOf(name) != record) return PurgeCell(cell);
    }
  }
}

void PrefixIndex::HideEndpoint(model::EndpointId endpoint) {
  // A scheduler that found the slot before this presumes under the same lock, or finds nobody.
  const std::lock_guard lock(impl_->speculations_mutex);
  if (const Slot slot = impl_->SlotOf(endpoint); slot != Speculations::kNoSlot) impl_->Hide(slot);
}

void PrefixIndex::Impl::Hide(Slot slot) {
  const uint64_t id = endpoints[slot].id.exchange(kNobody);
  if (id == kNobody) return;
  auto& place = by_pool_slot[static_cast<uint32_t>(id)];
  if (place.load() == slot + 1) place.store(0);
}

void PrefixIndex::RemoveEndpoint(Slot slot) {
  {
    const std::lock_guard lock(impl_->speculations_mutex);
    impl_->Hide(slot);
    impl_->speculations.Drop(slot, [&](uint64_t key) { Remove(slot, 1u << kSpeculative, key); });
  }
  const std::lock_guard lock(impl_->forget_mutex);
  if (HoldersOf(slot) == 0) {
    impl_->Release(slot);
    return;
  }
  impl_->forget_next.push_back({slot, false});
  impl_->context.leaving[slot / 64].fetch_or(uint64_t{1} << slot % 64);
  impl_->context.purges.fetch_add(1);
}

void PrefixIndex::ForgetHistory(model::EndpointId endpoint) {
  const std::lock_guard speculations(impl_->speculations_mutex);
  const Slot slot = impl_->SlotOf(endpoint);
  if (slot == Speculations::kNoSlot || HoldersOf(slot) == 0) return;
  const std::lock_guard lock(impl_->forget_mutex);
  impl_->forget_next.push_back({slot, true});
  impl_->context.history_void[slot / 64].fetch_or(uint64_t{1} << slot % 64);
  impl_->context.purges.fetch_add(1);
}

// The slot's blocks are gone; it is free when no lookup is under way that may have met them.
void PrefixIndex::Impl::Release(Slot slot) { released.push_back({slot, context.epoch.fetch_add(1)}); }

void PrefixIndex::Impl::FreeSlots() {
  if (released.empty()) return;
  const uint64_t oldest = context.OldestReader();
  const std::lock_guard lock(endpoints_mutex);
  std::erase_if(released, [&](const Released& one) {
    if (one.epoch >= oldest) return false;
    free_slots.push_back(one.slot);
    return true;
  });
}

void PrefixIndex::Impl::EndPass() {
  for (const Forget& done : forget_now) {
    const uint64_t bit = uint64_t{1} << done.slot % 64;
    context.purges.fetch_sub(1);
    if (!done.history) {
      context.leaving[done.slot / 64].fetch_and(~bit);
      Release(done.slot);
    } else if (std::ranges::none_of(forget_next, [&](const Forget& f) { return f.history && f.slot == done.slot; })) {
      context.history_void[done.slot / 64].fetch_and(~bit);
    }
  }
  forget_now.clear();
}

bool PrefixIndex::ForgetSome(size_t buckets) {
  const std::unique_lock lock(impl_->forget_mutex, std::try_to_lock);
  if (!lock.owns_lock()) return false;
  Impl& impl = *impl_;
  while (buckets > 0) {
    if (impl.forget_now.empty()) {
      if (impl.forget_next.empty()) break;
      impl.forget_now.swap(impl.forget_next);
      impl.forget_shard = impl.forget_bucket = 0;
    }
    const auto some = static_cast<uint32_t>(std::min<size_t>(buckets, kBucketsAtOnce));
    Shard& shard = impl.shards[impl.forget_shard];
    {
      const std::lock_guard shard_lock(shard.mutex);
      impl.forget_bucket = shard.Purge(impl.forget_bucket, some);
    }
    buckets -= some;
    if (impl.forget_bucket == 0 && ++impl.forget_shard == cells::kShards) impl.EndPass();
  }
  impl.FreeSlots();
  return !impl.forget_now.empty() || !impl.forget_next.empty();
}

}  // namespace sluice::kvindex
