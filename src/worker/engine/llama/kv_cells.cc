#include "worker/engine/llama/kv_cells.h"

#include <llama.h>

#include "base/check.h"

namespace sluice::worker {

int KvCells::SequencesMax() { return static_cast<int>(llama_max_parallel_sequences()); }
int KvCells::HoldersFor(int max_num_seqs) { return SequencesMax() - max_num_seqs; }

KvCells::KvCells(llama_context* context, int num_blocks, int block_size, int max_num_seqs)
    : context_(context), block_size_(block_size), max_num_seqs_(max_num_seqs), holders_(HoldersFor(max_num_seqs)) {
  for (int s = max_num_seqs - 1; s >= 0; --s) free_sequences_.push_back(s);
  taken_.resize(static_cast<size_t>(holders_));
  places_.resize(static_cast<size_t>(num_blocks));
}

int KvCells::AcquireSequence() {
  SLUICE_CHECK(!free_sequences_.empty(), "no more requests run than there are sequences");
  const int s = free_sequences_.back();
  free_sequences_.pop_back();
  return s;
}

void KvCells::ReleaseSequence(int sequence) {
  llama_memory_seq_rm(llama_get_memory(context_), sequence, -1, -1);
  free_sequences_.push_back(sequence);
}

void KvCells::Share(std::span<const BlockId> blocks, int sequence) {
  for (size_t i = 0; i < blocks.size();) {
    const int holder = places_[blocks[i]].holder;
    SLUICE_CHECK(holder >= 0 && places_[blocks[i]].depth == static_cast<int>(i), "a cached block has its place");
    size_t end = i + 1;
    while (end < blocks.size() && places_[blocks[end]].holder == holder) ++end;
    llama_memory_seq_cp(llama_get_memory(context_), max_num_seqs_ + holder, sequence, static_cast<int>(i) * block_size_,
                        static_cast<int>(end) * block_size_);
    i = end;
  }
}

// First holder with `count` free places from `depth` on; -1: none.
int KvCells::FindHolder(int depth, int count) const {
  for (int h = 0; h < holders_; ++h) {
    bool is_free = true;
    for (int d = depth; d < depth + count && is_free; ++d) {
      is_free = static_cast<size_t>(d) >= taken_[h].size() || !taken_[h][d];
    }
    if (is_free) return h;
  }
  return -1;
}

void KvCells::Keep(int sequence, int depth, std::span<const BlockId> blocks) {
  if (blocks.empty()) return;
  const int count = static_cast<int>(blocks.size());
  const int holder = FindHolder(depth, count);
  if (holder < 0) {  // no holder for the whole run: halve it
    SLUICE_CHECK(count > 1, "the pool caches no more blocks at a depth than there are holders");
    Keep(sequence, depth, blocks.first(count / 2));
    Keep(sequence, depth + count / 2, blocks.subspan(count / 2));
    return;
  }
  if (taken_[holder].size() < static_cast<size_t>(depth + count)) taken_[holder].resize(depth + count);
  for (int i = 0; i < count; ++i) {
    taken_[holder][depth + i] = true;
    SLUICE_CHECK(places_[blocks[i]].holder < 0, "a block is kept once");
    places_[blocks[i]] = {holder, depth + i};
  }
  llama_memory_seq_cp(llama_get_memory(context_), sequence, max_num_seqs_ + holder, depth * block_size_,
                      (depth + count) * block_size_);
}

void KvCells::Drop(BlockId block) {
  Place& p = places_[block];
  if (p.holder < 0) return;
  llama_memory_seq_rm(llama_get_memory(context_), max_num_seqs_ + p.holder, p.depth * block_size_,
                      (p.depth + 1) * block_size_);
  taken_[p.holder][p.depth] = false;
  p = {};
}

void KvCells::Clear() {
  llama_memory_clear(llama_get_memory(context_), false);
  for (auto& t : taken_) t.clear();
  for (auto& p : places_) p = {};
}

}  // namespace sluice::worker
