// Clock: where time comes from. Code that decides takes a Clock&, so that tests and the simulator own the time.
// Thread rule: Now() may be called from any thread. Cost: one vDSO call for SystemClock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace sluice {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;  // monotonic

inline double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
inline Duration FromSeconds(double s) { return Duration(static_cast<int64_t>(s * 1e9)); }

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;       // monotonic, for durations
  virtual double UnixSeconds() const = 0;  // wall clock, for what leaves the process
};

class SystemClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
  double UnixSeconds() const override {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
};

// ManualClock moves only when told. For tests and simulation.
class ManualClock final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(Duration(ns_.load(std::memory_order_relaxed))); }
  double UnixSeconds() const override { return 1.7e9 + Seconds(Duration(ns_.load(std::memory_order_relaxed))); }
  void Advance(Duration d) { ns_.fetch_add(d.count(), std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> ns_{0};
};

}  // namespace sluice
