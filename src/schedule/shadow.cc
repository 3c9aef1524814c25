#include "schedule/shadow.h"

#include <cmath>
#include <cstdio>
#include <limits>

#include "codec/json/write.h"

namespace sluice::schedule {
namespace {

std::string Format(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string_view VerdictOf(const RunningMean& difference) {
  if (difference.count() < 2) return "not enough requests";
  if (difference.mean() + difference.HalfWidth95() < 0) return "faster";
  if (difference.mean() - difference.HalfWidth95() > 0) return "slower";
  return "no difference shown";
}

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

void RunningMean::Add(double value) {
  ++count_;
  const double from_old = value - mean_;
  mean_ += from_old / static_cast<double>(count_);
  squares_ += from_old * (value - mean_);
}

double RunningMean::HalfWidth95() const {
  if (count_ < 2) return std::numeric_limits<double>::infinity();
  return 1.96 * std::sqrt(variance() / static_cast<double>(count_));
}

void ShadowComparison::Add(double live_ms, double shadow_ms, bool same_pick) {
  other_pick += same_pick ? 0 : 1;
  live_ttft_ms.Add(live_ms);
  shadow_ttft_ms.Add(shadow_ms);
  difference_ms.Add(shadow_ms - live_ms);
}

std::string ShadowReportJson(const ShadowReport& report) {
  std::string out;
  codec::JsonWriter json(out);
  json.BeginObject().Field("live", report.live).Field("promotion", report.promotion).Key("shadows").BeginArray();
  for (const ShadowReport::Shadow& shadow : report.shadows) {
    const ShadowComparison& c = shadow.comparison;
    json.BeginObject().Field("name", shadow.name).Field("requests", c.requests).Field("other_pick", c.other_pick);
    json.Field("would_refuse", c.would_refuse);
    json.Field("live_expected_ttft_ms", c.live_ttft_ms.mean());
    json.Field("shadow_expected_ttft_ms", c.shadow_ttft_ms.mean());
    json.Field("difference_ms", c.difference_ms.mean());
    json.Field("difference_95_ms", c.difference_ms.HalfWidth95());  // null until there are two
    json.Field("verdict", VerdictOf(c.difference_ms)).EndObject();
  }
  json.EndArray().EndObject();
  return out;
}

std::string ShadowReportTable(const ShadowReport& report) {
  std::string out = "live policy: " + report.live + "\n";
  if (!report.promotion.empty()) out += "promotion: " + report.promotion + "\n";
  if (report.shadows.empty()) return out + "no shadow policy; start the gateway with --shadow NAME=FILE\n";
  char line[256];
  std::snprintf(line, sizeof line, "%-16s %9s %11s %8s %12s %14s %20s  %s\n", "SHADOW", "REQUESTS", "OTHER PICK",
                "REFUSES", "LIVE TTFT ms", "SHADOW TTFT ms", "DIFFERENCE ms", "VERDICT");
  out += line;
  for (const ShadowReport::Shadow& shadow : report.shadows) {
    const ShadowComparison& c = shadow.comparison;
    const std::string difference = c.difference_ms.count() < 2 ? "-"
                                                               : Format("%+.1f", c.difference_ms.mean()) + " ±" +
                                                                     Format("%.1f", c.difference_ms.HalfWidth95());
    std::snprintf(line, sizeof line, "%-16s %9llu %10.1f%% %8llu %12.1f %14.1f %21s  %s\n", shadow.name.c_str(),
                  static_cast<unsigned long long>(c.requests), 100 * Share(c.other_pick, c.requests),
                  static_cast<unsigned long long>(c.would_refuse), c.live_ttft_ms.mean(), c.shadow_ttft_ms.mean(),
                  difference.c_str(), std::string(VerdictOf(c.difference_ms)).c_str());
    out += line;
  }
  return out + "TTFT: what the latency model expects of each policy's pick; ± is the 95 % confidence interval.\n";
}

void PromotionGuard::Begin() {
  before_ = {};
  after_ = {};
  for (size_t i = 0; i < kept_; ++i) before_.Add(latest_[i]);
  verdict_ = before_.count() >= kBaselineMin ? Verdict::kWatching : Verdict::kUnguarded;
}

double PromotionGuard::ratio() const { return std::exp(after_.mean() - before_.mean()); }

double PromotionGuard::t() const {
  if (after_.count() < 2 || before_.count() < 2) return 0;
  const double error = std::sqrt(before_.variance() / static_cast<double>(before_.count()) +
                                 after_.variance() / static_cast<double>(after_.count()));
  const double difference = after_.mean() - before_.mean();
  if (error > 0) return difference / error;
  return difference > 0 ? std::numeric_limits<double>::infinity() : 0;
}

PromotionGuard::Verdict PromotionGuard::Measured(double ttft_ms) {
  if (!(ttft_ms > 0) || !std::isfinite(ttft_ms)) return verdict_;
  const double value = std::log(ttft_ms);
  latest_[next_] = value;
  next_ = (next_ + 1) % kWindow;
  if (kept_ < kWindow) ++kept_;
  if (verdict_ != Verdict::kWatching) return verdict_;
  after_.Add(value);
  const uint64_t n = after_.count();
  if (n < kFirstLook || n % kLookEvery != 0) return n >= kWindow ? verdict_ = Verdict::kKept : verdict_;
  if (t() > kTMin && ratio() > kRatioMin) verdict_ = Verdict::kWorse;
  return verdict_;
}

}  // namespace sluice::schedule
