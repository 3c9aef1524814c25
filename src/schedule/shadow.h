// How policies are compared: a shadow with the live one by the times that the latency model expects of their picks, and
// a promoted one with the one before it by the times that were measured.
// Thread rule: plain values, one owner. Cost: a few additions a request; memory fixed.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace sluice::schedule {

// Mean and spread of a stream of numbers (Welford).
class RunningMean {
 public:
  void Add(double value);
  uint64_t count() const { return count_; }
  double mean() const { return mean_; }
  double variance() const { return count_ > 1 ? squares_ / static_cast<double>(count_ - 1) : 0; }
  // Half the width of the 95 % confidence interval of the mean; infinity for fewer than two numbers.
  double HalfWidth95() const;

 private:
  uint64_t count_ = 0;
  double mean_ = 0;
  double squares_ = 0;
};

// A shadow beside the live policy, over the requests that were sent since both were there.
struct ShadowComparison {
  uint64_t requests = 0;
  uint64_t other_pick = 0;     // the shadow would have sent it elsewhere
  uint64_t would_refuse = 0;   // the shadow would have refused it
  RunningMean live_ttft_ms;    // expected of the live pick
  RunningMean shadow_ttft_ms;  // expected of the shadow's
  RunningMean difference_ms;   // shadow - live of the same request: negative is faster

  void Add(double live_ms, double shadow_ms, bool same_pick);
};

struct ShadowReport {
  struct Shadow {
    std::string name;
    ShadowComparison comparison;
  };
  std::string live;
  std::vector<Shadow> shadows;
  std::string promotion;  // what became of the latest one, for people; empty: there was none
};
std::string ShadowReportJson(const ShadowReport& report);
std::string ShadowReportTable(const ShadowReport& report);

// Watches a promotion: keeps the logarithms of the latest measured TTFTs (times spread over orders of magnitude; the
// mean of logarithms is not ruled by a few long ones), and after a promotion tests by Welch's t whether the new ones
// are greater. It looks after every 10th answer from the 30th to the 256th, and a promotion is worse when t > 3 and the
// ratio of geometric means is over 1.05. In spite of the 23 looks chance alone takes back fewer than 2 % of promotions
// (shadow's test counts them). What the requests ask for may change meanwhile: the test cannot tell that from a worse
// policy.
class PromotionGuard {
 public:
  static constexpr size_t kWindow = 256;
  static constexpr size_t kFirstLook = 30;
  static constexpr size_t kLookEvery = 10;
  static constexpr double kRatioMin = 1.05;
  static constexpr double kTMin = 3;
  static constexpr size_t kBaselineMin = 30;  // with fewer measurements before it, a promotion is not guarded

  enum class Verdict : uint8_t { kNone, kWatching, kUnguarded, kKept, kWorse };

  // A promotion happened: what was measured until now is the baseline.
  void Begin();
  // A request that was sent at or after the last Begin (others are not counted) had this TTFT. kWorse: take it back.
  Verdict Measured(double ttft_ms);
  void Stop() { verdict_ = Verdict::kNone; }

  Verdict verdict() const { return verdict_; }
  uint64_t seen() const { return after_.count(); }
  double ratio() const;  // of the geometric means, after to before
  double t() const;

 private:
  std::array<double, kWindow> latest_{};
  size_t next_ = 0;
  size_t kept_ = 0;
  RunningMean before_;
  RunningMean after_;
  Verdict verdict_ = Verdict::kNone;
};

}  // namespace sluice::schedule
