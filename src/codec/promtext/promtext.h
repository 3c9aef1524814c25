// promtext: reads Prometheus text exposition (and the text part of OpenMetrics) sample by sample.
// Why own: no allocation per sample, bounded, tolerant of lines it does not know.
// Thread rule: one owner; samples are views into the text and end with the next call. Cost: about 1 ns a byte for lines
// that are read, memchr speed for lines that are not wanted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice::codec {

struct PromLabel {
  std::string_view name;
  std::string_view raw;  // as written; Text() when `escaped`
  bool escaped = false;  // has a backslash
  std::string Text() const;
};

struct PromSample {
  std::string_view name;
  std::span<const PromLabel> labels;
  double value = 0;
  std::optional<int64_t> timestamp_ms;
  // The label's text as written, or nullopt.
  std::optional<std::string_view> Label(std::string_view label_name) const;
};

class PromReader {
 public:
  struct Options {
    size_t samples_max = 200'000;  // after that the reader ends and says so
  };
  static constexpr size_t kLabelsMax = 64;  // a sample with more is skipped as unreadable

  explicit PromReader(std::string_view text) : PromReader(text, Options{}) {}
  PromReader(std::string_view text, Options options) : rest_(text), options_(options) {}

  // The next readable sample; false at the end.
  bool Next(PromSample& sample) {
    return Next(sample, [](std::string_view) { return true; });
  }

  // The next readable sample whose name `wanted(name)` accepts.
  template <class Wanted>
  bool Next(PromSample& sample, Wanted&& wanted) {
    std::string_view line;
    while (TakeLine(line)) {
      const std::string_view name = Name(line);
      if (name.empty()) {
        ++unreadable_;
        continue;
      }
      if (!wanted(name)) continue;
      if (samples_ == options_.samples_max) {
        truncated_ = true;
        rest_ = {};
        return false;
      }
      if (ReadSample(line, name, sample)) {
        ++samples_;
        return true;
      }
      ++unreadable_;
    }
    return false;
  }

  // The next readable sample that has one of `names`. Lines with other names are not looked at, so unreadable() counts
  // only lines with one of them. Cost: about a third of Next().
  bool NextNamed(PromSample& sample, std::span<const std::string_view> names);

  size_t samples() const { return samples_; }
  size_t unreadable() const { return unreadable_; }  // lines skipped because they could not be read
  bool truncated() const { return truncated_; }      // samples_max was reached

 private:
  // The next line that is neither empty nor a comment.
  bool TakeLine(std::string_view& line);
  static std::string_view Name(std::string_view line);
  bool ReadSample(std::string_view line, std::string_view name, PromSample& sample);
  bool ReadLabels(std::string_view& text, size_t& count);

  std::string_view rest_;
  Options options_;
  std::array<PromLabel, kLabelsMax> labels_;
  size_t samples_ = 0;
  size_t unreadable_ = 0;
  bool truncated_ = false;
};

}  // namespace sluice::codec
