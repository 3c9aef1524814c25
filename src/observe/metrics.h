// Metrics: counters, gauges and histograms in Prometheus' text format. A family has a name, a help text and label
// names; a series is one combination of label values. Handles are plain pointers to cells: observing costs an add, no
// lookup. Thread rule: cells are relaxed atomics, any thread may write them; With() and Render() lock the registry.
// Limit: a family holds at most kSeriesMax series; further label combinations share one series whose values are "other"
// and sluice_metrics_series_dropped_total counts them.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::observe {

inline constexpr size_t kSeriesMax = 10'000;

class Counter {
 public:
  void Add(double n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  double Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Gauge {
 public:
  void Set(double v) { value_.store(v, std::memory_order_relaxed); }
  void Add(double n) { value_.fetch_add(n, std::memory_order_relaxed); }
  double Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  explicit Histogram(std::span<const double> upper_bounds);
  void Observe(double v);
  std::span<const double> Bounds() const { return bounds_; }
  uint64_t CountAt(size_t bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }  // not cumulative
  double Sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::vector<double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;  // bounds_.size() + 1, the last is +Inf
  std::atomic<double> sum_{0};
};

// The kind decides the "# TYPE" line. kCounter families are rendered with their name as given (write "_total"
// yourself).
enum class Kind : uint8_t { kCounter, kGauge, kHistogram };

template <class Cell>
class Family;

class Registry {
 public:
  Registry();
  ~Registry();
  Registry(const Registry&) = delete;

  // Registers a family, or returns the one of that name. Label names are fixed per family.
  Family<Counter>& AddCounter(std::string name, std::string help, std::vector<std::string> labels = {});
  Family<Gauge>& AddGauge(std::string name, std::string help, std::vector<std::string> labels = {});
  Family<Histogram>& AddHistogram(std::string name, std::string help, std::vector<std::string> labels,
                                  std::vector<double> upper_bounds);

  // The whole registry as text/plain; version=0.0.4. Families in order of registration.
  std::string Render() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct FamilyData;

template <class Cell>
class Family {
 public:
  explicit Family(FamilyData& data) : data_(data) {}
  // The series with these label values (as many as the family has labels). Lives as long as the registry, unless
  // Removed.
  Cell& With(std::initializer_list<std::string_view> label_values);
  Cell& With(std::span<const std::string_view> label_values);
  Cell& Get() { return With(std::span<const std::string_view>()); }  // of a family without labels
  // Forgets a series (an endpoint left). Pointers to its cell become invalid.
  void Remove(std::initializer_list<std::string_view> label_values);

 private:
  FamilyData& data_;
};

}  // namespace sluice::observe
