// Workload: the prompts of a run, one after another, reproducible from the seed. Shared prefix is inference-perf's
// shared_prefix: groups x prompts, all sent once in a shuffled order, then again in another order. Thread rule: one
// owner. Cost: a prompt is written anew each time, about 10 ns a word; memory is four bytes a distinct prompt.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "loadgen/options.h"

namespace sluice::loadgen {

struct Prompt {
  uint32_t group = 0;
  std::string prefix;  // the same for all prompts of a group; empty when there is none
  std::string question;
  int64_t output_tokens = 0;
};

class Workload {
 public:
  explicit Workload(const WorkloadOptions& options);  // validated
  Prompt Next();

 private:
  WorkloadOptions options_;
  Rng rng_;
  std::vector<uint32_t> order_;  // of this round: group x prompts_per_group + prompt
  uint64_t count_ = 0;
};

}  // namespace sluice::loadgen
