// How a reader reads one key beside writers: the seqlock of its two buckets. Internal to the index. Thread rule: any
// thread that shows its epoch (ShardContext::Reader). What it gives: every holder that was there throughout, and none
// that was not there at some moment of the reading. Cost: two cache lines, no branch a cell.
#pragma once

#include <bit>

#include "kvindex/prefix_cells.h"

namespace sluice::kvindex::cells {

struct Holders {
  Record* record;  // else:
  int count;
  Word words[2 * kCells];
};

inline constexpr int kReadRetriesMax = 64;  // each needs a writer that changed the same bucket meanwhile

// `between` is called wherever a writer may come in between; tests let one.
template <class Between>
void ReadHolders(uint64_t key, const Bucket* const (&buckets)[2], const Directory& records, Holders& out,
                 Between&& between) {
  for (int retry = 0; retry < kReadRetriesMax; ++retry) {
    out.count = 0;
    out.record = nullptr;
    between();
    const uint32_t before[] = {buckets[0]->version.load(), buckets[1]->version.load()};
    for (const Bucket* const bucket : buckets) {
      between();
      // Which cell it is cannot be foretold: no branch a cell.
      uint32_t equal = 0;
      for (int i = 0; i < kCells; ++i) equal |= uint32_t{bucket->key[i].load() == key} << i;
      for (; equal != 0; equal &= equal - 1) {
        between();
        const Word word = bucket->word[std::countr_zero(equal)].load();
        if (IsRecord(word)) {
          between();
          out.record = records.At(word & ~kRecordBit).load();
        } else if (word != 0) {
          out.words[out.count++] = word;
        }
      }
    }
    between();
    if (buckets[0]->version.load() == before[0] && buckets[1]->version.load() == before[1]) return;
  }
  out.count = 0;
  out.record = nullptr;
}

}  // namespace sluice::kvindex::cells
