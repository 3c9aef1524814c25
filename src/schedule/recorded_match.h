// RecordedMatch: what a producer that reads from outside (Producer::FromOutside) found for one decision, as a decision
// log keeps it and a replay gives it back. Thread rule: plain values. Cost: Of() is one pass over the columns.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "schedule/data.h"

namespace sluice::schedule {

// What a producer found for one decision.
struct RecordedMatch {
  struct Row {
    uint32_t row = 0;
    float match = 0, unweighted = 0, below_first_tier = 0;
  };
  std::string lane;  // the policy's name (Scheduler)
  std::string producer;
  uint32_t total_blocks = 0;
  uint32_t block_size = 0;
  std::vector<Row> rows;  // those that are not 0

  static RecordedMatch Of(std::string_view lane, std::string_view producer, const PrefixMatch& match);
};

// Those of the decision that is being repeated.
struct RecordedMatches {
  std::vector<RecordedMatch> all;
  // Of that lane, else of any: another policy that asks the same producer would have found the same.
  const RecordedMatch* Find(std::string_view lane, std::string_view producer) const;
};

}  // namespace sluice::schedule
