#include "observe/metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <deque>

#include "base/check.h"

namespace sluice::observe {

struct SeriesData {
  std::vector<std::string> label_values;
  std::unique_ptr<Counter> counter;
  std::unique_ptr<Gauge> gauge;
  std::unique_ptr<Histogram> histogram;
};

struct FamilyData {
  std::string name;
  std::string help;
  Kind kind;
  std::vector<std::string> labels;
  std::vector<double> bounds;
  std::mutex* mutex = nullptr;
  Counter* dropped = nullptr;
  std::map<std::string, SeriesData, std::less<>> series;  // by joined label values; sorted, so that output is stable
};

struct Registry::Impl {
  mutable std::mutex mutex;
  std::deque<FamilyData> families;  // stable addresses
  std::deque<Family<Counter>> counters;
  std::deque<Family<Gauge>> gauges;
  std::deque<Family<Histogram>> histograms;
  std::map<std::string, void*, std::less<>> handle_of;
  Counter* dropped = nullptr;

  FamilyData& Add(std::string name, std::string help, Kind kind, std::vector<std::string> labels,
                  std::vector<double> bounds) {
    families.push_back(
        {std::move(name), std::move(help), kind, std::move(labels), std::move(bounds), &mutex, dropped, {}});
    return families.back();
  }
};

namespace {

std::string JoinKey(std::span<const std::string_view> values) {
  std::string key;
  for (const std::string_view value : values) {
    key.append(value);
    key.push_back('\xff');
  }
  return key;
}

void AppendNumber(std::string& out, double v) {
  if (std::isnan(v)) {
    out += "NaN";
  } else if (std::isinf(v)) {
    out += v > 0 ? "+Inf" : "-Inf";
  } else {
    char text[32];
    const auto [end, error] = std::to_chars(text, text + sizeof text, v);
    out.append(text, end);
  }
}

void AppendEscaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\n')
      out += "\\n";
    else if (c == '"' && quotes)
      out += "\\\"";
    else
      out.push_back(c);
  }
}

// name{a="x",le="1"} value
void AppendSample(std::string& out, const FamilyData& family, std::string_view suffix, const SeriesData& series,
                  std::string_view le, double value) {
  out.append(family.name).append(suffix);
  if (!series.label_values.empty() || !le.empty()) {
    out.push_back('{');
    for (size_t i = 0; i < series.label_values.size(); ++i) {
      if (i > 0) out.push_back(',');
      out.append(family.labels[i]).append("=\"");
      AppendEscaped(out, series.label_values[i], true);
      out.push_back('"');
    }
    if (!le.empty()) {
      if (!series.label_values.empty()) out.push_back(',');
      out.append("le=\"").append(le).append("\"");
    }
    out.push_back('}');
  }
  out.push_back(' ');
  AppendNumber(out, value);
  out.push_back('\n');
}

void AppendHistogram(std::string& out, const FamilyData& family, const SeriesData& series) {
  const Histogram& h = *series.histogram;
  uint64_t cumulative = 0;
  for (size_t i = 0; i <= h.Bounds().size(); ++i) {
    cumulative += h.CountAt(i);
    std::string le;
    if (i == h.Bounds().size()) {
      le = "+Inf";
    } else {
      AppendNumber(le, h.Bounds()[i]);
      if (le.find_first_of(".e") == std::string::npos) le += ".0";  // as Python's client writes it
    }
    AppendSample(out, family, "_bucket", series, le, static_cast<double>(cumulative));
  }
  AppendSample(out, family, "_sum", series, {}, h.Sum());
  AppendSample(out, family, "_count", series, {}, static_cast<double>(cumulative));
}

SeriesData& FindOrAdd(FamilyData& family, std::span<const std::string_view> values) {
  SLUICE_CHECK(values.size() == family.labels.size(), "as many label values as the family has labels");
  std::string key = JoinKey(values);
  auto found = family.series.find(key);
  if (found != family.series.end()) return found->second;
  SeriesData data;
  if (family.series.size() >= kSeriesMax) {
    if (family.dropped != nullptr) family.dropped->Add();
    const std::vector<std::string_view> other(family.labels.size(), "other");
    key = JoinKey(other);
    found = family.series.find(key);
    if (found != family.series.end()) return found->second;
    data.label_values.assign(other.begin(), other.end());
  } else {
    data.label_values.assign(values.begin(), values.end());
  }
  switch (family.kind) {
    case Kind::kCounter:
      data.counter = std::make_unique<Counter>();
      break;
    case Kind::kGauge:
      data.gauge = std::make_unique<Gauge>();
      break;
    case Kind::kHistogram:
      data.histogram = std::make_unique<Histogram>(family.bounds);
      break;
  }
  return family.series.emplace(std::move(key), std::move(data)).first->second;
}

template <class Cell>
Cell& CellOf(SeriesData& series);
template <>
Counter& CellOf(SeriesData& series) {
  return *series.counter;
}
template <>
Gauge& CellOf(SeriesData& series) {
  return *series.gauge;
}
template <>
Histogram& CellOf(SeriesData& series) {
  return *series.histogram;
}

}  // namespace

Histogram::Histogram(std::span<const double> upper_bounds)
    : bounds_(upper_bounds.begin(), upper_bounds.end()), counts_(new std::atomic<uint64_t>[upper_bounds.size() + 1]()) {
  SLUICE_CHECK(std::is_sorted(bounds_.begin(), bounds_.end()), "bucket bounds ascend");
}

void Histogram::Observe(double v) {
  const size_t at = static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), v) - bounds_.begin());
  counts_[at].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(v, std::memory_order_relaxed);
}

template <class Cell>
Cell& Family<Cell>::With(std::span<const std::string_view> label_values) {
  const std::lock_guard lock(*data_.mutex);
  return CellOf<Cell>(FindOrAdd(data_, label_values));
}

template <class Cell>
Cell& Family<Cell>::With(std::initializer_list<std::string_view> label_values) {
  return With(std::span<const std::string_view>(label_values.begin(), label_values.size()));
}

template <class Cell>
void Family<Cell>::Remove(std::initializer_list<std::string_view> label_values) {
  const std::lock_guard lock(*data_.mutex);
  data_.series.erase(JoinKey(std::span<const std::string_view>(label_values.begin(), label_values.size())));
}

template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;

Registry::Registry() : impl_(std::make_unique<Impl>()) {
  impl_->dropped = &AddCounter("sluice_metrics_series_dropped_total",
                               "Observations whose label values came after the limit of series per metric.")
                        .Get();
}
Registry::~Registry() = default;

namespace {
template <class Cell, class Handles, class Add>
Family<Cell>& GetOrAdd(std::map<std::string, void*, std::less<>>& handle_of, Handles& handles, const std::string& name,
                       Add add) {
  const auto found = handle_of.find(name);
  if (found != handle_of.end()) return *static_cast<Family<Cell>*>(found->second);
  Family<Cell>& family = handles.emplace_back(add());
  handle_of.emplace(name, &family);
  return family;
}
}  // namespace

Family<Counter>& Registry::AddCounter(std::string name, std::string help, std::vector<std::string> labels) {
  const std::lock_guard lock(impl_->mutex);
  return GetOrAdd<Counter>(impl_->handle_of, impl_->counters, name, [&]() -> FamilyData& {
    return impl_->Add(name, std::move(help), Kind::kCounter, std::move(labels), {});
  });
}

Family<Gauge>& Registry::AddGauge(std::string name, std::string help, std::vector<std::string> labels) {
  const std::lock_guard lock(impl_->mutex);
  return GetOrAdd<Gauge>(impl_->handle_of, impl_->gauges, name, [&]() -> FamilyData& {
    return impl_->Add(name, std::move(help), Kind::kGauge, std::move(labels), {});
  });
}

Family<Histogram>& Registry::AddHistogram(std::string name, std::string help, std::vector<std::string> labels,
                                          std::vector<double> upper_bounds) {
  const std::lock_guard lock(impl_->mutex);
  return GetOrAdd<Histogram>(impl_->handle_of, impl_->histograms, name, [&]() -> FamilyData& {
    return impl_->Add(name, std::move(help), Kind::kHistogram, std::move(labels), std::move(upper_bounds));
  });
}

std::string Registry::Render() const {
  const std::lock_guard lock(impl_->mutex);
  std::string out;
  for (const FamilyData& family : impl_->families) {
    out.append("# HELP ").append(family.name).append(" ");
    AppendEscaped(out, family.help, false);
    out.append("\n# TYPE ").append(family.name);
    out.append(family.kind == Kind::kCounter ? " counter\n"
               : family.kind == Kind::kGauge ? " gauge\n"
                                             : " histogram\n");
    for (const auto& [key, series] : family.series) {
      if (series.counter) AppendSample(out, family, {}, series, {}, series.counter->Value());
      if (series.gauge) AppendSample(out, family, {}, series, {}, series.gauge->Value());
      if (series.histogram) AppendHistogram(out, family, series);
    }
  }
  return out;
}

}  // namespace sluice::observe
