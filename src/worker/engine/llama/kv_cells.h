// KvCells: where the blocks of the pool are in llama.cpp's unified KV cache. llama.cpp names cells by (sequence,
// position), and a cell may belong to several sequences. Each running request has a sequence of its own. A cached block
// is kept alive by one of the holder sequences; a block at depth d always covers positions [d*B, (d+1)*B), so a holder
// has one place at each depth and may hold blocks of unrelated chains. Giving a request a cached prefix copies no data:
// its sequence is added to the cells (llama_memory_seq_cp). Sequences never meant to be decoded may have gaps.
// Thread rule: the engine's thread. Cost: each call walks llama.cpp's cell table once a run of blocks (about 30 us for
// 8,192 cells).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/block_pool.h"

struct llama_context;

namespace sluice::worker {

class KvCells {
 public:
  // Sequences 0 .. max_num_seqs-1 are for requests, the rest up to llama.cpp's limit are holders.
  KvCells(llama_context* context, int num_blocks, int block_size, int max_num_seqs);
  // Holders for a number of request sequences: how many blocks can be cached at one depth.
  static int HoldersFor(int max_num_seqs);
  static int SequencesMax();

  int AcquireSequence();
  // Forgets what the sequence holds and gives it back. Cells that a holder or another request shares stay.
  void ReleaseSequence(int sequence);
  // Adds the cells of cached blocks (the first ones of a chain) to a request's sequence.
  void Share(std::span<const BlockId> blocks, int sequence);
  // Keeps the cells of `blocks`, which the sequence has at depth, depth+1, ..., alive beyond the request.
  void Keep(int sequence, int depth, std::span<const BlockId> blocks);
  // The pool has forgotten this cached block.
  void Drop(BlockId block);
  void Clear();

 private:
  int FindHolder(int depth, int count) const;

  llama_context* context_;
  int block_size_;
  int max_num_seqs_;
  int holders_;
  std::vector<int> free_sequences_;
  std::vector<std::vector<bool>> taken_;  // [holder][depth]
  struct Place {
    int holder = -1;
    int depth = -1;
  };
  std::vector<Place> places_;  // by block
};

}  // namespace sluice::worker
