// Where a kind of endpoint starts before it has been seen at work: a published large GPU, or a small CPU. Wrong in size
// by an order of magnitude for most engines; one factor for that is learned from the first requests (fit.h), so what
// matters here is the shape. And which known kind a new one resembles most.
// Thread rule: pure.
#pragma once

#include <array>
#include <string_view>

#include "latency/terms.h"

namespace sluice::latency {

struct Priors {
  std::array<double, kTtftTerms> ttft;
  std::array<double, kItlTerms> itl;
  double mean_uncached = 512;  // tokens of a request that waits and is not ours
};

// By the name of the kind: "cpu" as its accelerator gives the CPU's.
const Priors& PriorsFor(std::string_view kind);

// How much two kinds "model|accelerator|engine" resemble each other, 0 to 7: 4 for the model (in part for a common
// beginning of the name, such as a quantised variant), 2 for the accelerator, 1 for the engine.
double Likeness(std::string_view a, std::string_view b);
// Less is not a relative: the priors are better.
inline constexpr double kLikenessMin = 3;

}  // namespace sluice::latency
