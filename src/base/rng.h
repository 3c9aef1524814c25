// Rng: xoshiro256++ (Blackman and Vigna, 2018; public domain reference), seeded through splitmix64. Small, fast,
// repeatable from one seed on every platform, unlike std distributions. Not for secrets (RandomBytes is).
// Thread rule: one owner. Cost: a few instructions a number, no allocation.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace sluice {

class Rng {
 public:
  using result_type = uint64_t;
  explicit Rng(uint64_t seed);
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }

  uint64_t operator()();
  double Uniform();                 // [0, 1)
  uint64_t Below(uint64_t bound);   // [0, bound), without bias; bound > 0
  double Exponential(double rate);  // mean 1/rate

 private:
  std::array<uint64_t, 4> state_;
};

// A seed from the operating system's entropy.
uint64_t EntropySeed();

// "3f0c1c9e-…": a version 4 UUID, lower case, drawn from `rng`.
std::string MakeUuid(Rng& rng);

}  // namespace sluice
