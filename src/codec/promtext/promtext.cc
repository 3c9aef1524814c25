#include "codec/promtext/promtext.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/text.h"

namespace sluice::codec {
namespace {

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':' || c == '.';
}

void SkipBlanks(std::string_view& text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
}

std::string_view TakeWord(std::string_view& text) {
  SkipBlanks(text);
  const size_t end = std::min(text.find_first_of(" \t"), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

std::optional<double> ReadValue(std::string_view word) {
  if (word.starts_with('+')) word.remove_prefix(1);
  if (word == "Inf") return std::numeric_limits<double>::infinity();
  if (word == "-Inf") return -std::numeric_limits<double>::infinity();
  if (word == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return ParseNumber<double>(word);
}

}  // namespace

std::string PromLabel::Text() const {
  if (!escaped) return std::string(raw);
  std::string text;
  text.reserve(raw.size());
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 == raw.size()) {
      text += raw[i];
      continue;
    }
    ++i;
    text += raw[i] == 'n' ? '\n' : raw[i];
  }
  return text;
}

std::optional<std::string_view> PromSample::Label(std::string_view label_name) const {
  for (const PromLabel& label : labels) {
    if (label.name == label_name) return label.raw;
  }
  return std::nullopt;
}

bool PromReader::TakeLine(std::string_view& line) {
  while (!rest_.empty()) {
    const void* at = std::memchr(rest_.data(), '\n', rest_.size());
    const size_t end = at != nullptr ? static_cast<size_t>(static_cast<const char*>(at) - rest_.data()) : rest_.size();
    line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    SkipBlanks(line);
    if (!line.empty() && line.front() != '#') return true;
  }
  return false;
}

std::string_view PromReader::Name(std::string_view line) {
  size_t end = 0;
  while (end < line.size() && IsNameByte(line[end])) ++end;
  if (end == line.size() || (line[end] != '{' && line[end] != ' ' && line[end] != '\t')) return {};
  return line.substr(0, end);
}

bool PromReader::NextNamed(PromSample& sample, std::span<const std::string_view> names) {
  std::string_view line;
  while (TakeLine(line)) {
    for (const std::string_view name : names) {
      if (line.size() <= name.size()) continue;
      const char after = line[name.size()];  // one byte refuses most lines
      if ((after != '{' && after != ' ' && after != '\t') || !line.starts_with(name)) continue;
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
      break;
    }
  }
  return false;
}

bool PromReader::ReadLabels(std::string_view& text, size_t& count) {
  text.remove_prefix(1);  // the brace
  for (;;) {
    SkipBlanks(text);
    if (text.empty()) return false;
    if (text.front() == '}') {
      text.remove_prefix(1);
      return true;
    }
    size_t end = 0;
    while (end < text.size() && IsNameByte(text[end])) ++end;
    if (end == 0 || count == kLabelsMax) return false;
    PromLabel& label = labels_[count];
    label.name = text.substr(0, end);
    text.remove_prefix(end);
    SkipBlanks(text);
    if (!text.starts_with('=')) return false;
    text.remove_prefix(1);
    SkipBlanks(text);
    if (!text.starts_with('"')) return false;
    text.remove_prefix(1);
    label.escaped = false;
    size_t close = 0;
    for (; close < text.size() && text[close] != '"'; ++close) {
      if (text[close] == '\\') {
        label.escaped = true;
        ++close;
      }
    }
    if (close >= text.size()) return false;
    label.raw = text.substr(0, close);
    text.remove_prefix(close + 1);
    ++count;
    SkipBlanks(text);
    if (text.starts_with(',')) {
      text.remove_prefix(1);
    } else if (!text.starts_with('}')) {
      return false;
    }
  }
}

bool PromReader::ReadSample(std::string_view line, std::string_view name, PromSample& sample) {
  std::string_view text = line.substr(name.size());
  SkipBlanks(text);
  size_t count = 0;
  if (text.starts_with('{') && !ReadLabels(text, count)) return false;
  const auto value = ReadValue(TakeWord(text));
  if (!value) return false;
  sample.name = name;
  sample.labels = std::span<const PromLabel>(labels_.data(), count);
  sample.value = *value;
  sample.timestamp_ms.reset();
  SkipBlanks(text);
  if (text.empty() || text.front() == '#') return true;  // OpenMetrics appends exemplars after '#'
  sample.timestamp_ms = ParseNumber<int64_t>(TakeWord(text));
  return sample.timestamp_ms.has_value();
}

}  // namespace sluice::codec
