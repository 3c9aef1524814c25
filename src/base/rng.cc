#include "base/rng.h"

#include <sys/random.h>

#include <bit>
#include <cmath>

#include "base/check.h"

namespace sluice {
namespace {
uint64_t SplitMix(uint64_t& x) {
  uint64_t z = (x += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
}  // namespace

Rng::Rng(uint64_t seed) {
  for (uint64_t& word : state_) word = SplitMix(seed);
}

uint64_t Rng::operator()() {
  const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

double Rng::Uniform() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }

uint64_t Rng::Below(uint64_t bound) {
  SLUICE_CHECK(bound > 0, "Below needs a positive bound");
  const uint64_t reject_below = (0 - bound) % bound;  // 2^64 mod bound
  for (;;) {
    const uint64_t draw = (*this)();
    if (draw >= reject_below) return draw % bound;
  }
}

double Rng::Exponential(double rate) { return -std::log1p(-Uniform()) / rate; }

uint64_t EntropySeed() {
  uint64_t seed = 0;
  SLUICE_CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed, "getrandom");
  return seed;
}

std::string MakeUuid(Rng& rng) {
  const uint64_t high = (rng() & ~uint64_t{0xf000}) | 0x4000;
  const uint64_t low = (rng() & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62);
  std::string text(36, '-');
  char* out = text.data();
  const auto put = [&out](uint64_t bits, int digits) {  // the highest ones of `bits`
    for (int i = 0; i < digits; ++i, bits <<= 4) *out++ = "0123456789abcdef"[bits >> 60];
    ++out;  // over the dash
  };
  put(high, 8);
  put(high << 32, 4);
  put(high << 48, 4);
  put(low, 4);
  put(low << 16, 12);
  return text;
}

}  // namespace sluice
