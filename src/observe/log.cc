#include "observe/log.h"

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <vector>

#include "base/byte_block.h"
#include "base/text.h"

namespace sluice::observe {
namespace {

constexpr std::array<std::string_view, 6> kLevelNames = {"trace", "debug", "info", "warn", "error", "off"};

// One line that is being written. Two are written for each request.
class Line {
 public:
  void Clear() {
    constexpr size_t kKept = size_t{64} << 10;
    if (bytes_.size() > kKept) bytes_ = {};
    size_ = 0;
  }
  // Where n more bytes have room; Take says how many of them were written.
  char* Room(size_t n) {
    if (bytes_.size() - size_ < n) bytes_.resize(2 * (size_ + n));
    return bytes_.data() + size_;
  }
  void Take(size_t n) { size_ += n; }
  void Append(char c) {
    *Room(1) = c;
    Take(1);
  }
  void Append(std::string_view text) {
    if (text.empty()) return;
    std::memcpy(Room(text.size()), text.data(), text.size());
    Take(text.size());
  }
  std::string_view text() const { return {bytes_.data(), size_}; }

 private:
  std::vector<char> bytes_;
  size_t size_ = 0;
};

// Written once by Configure(), before other threads log.
struct State {
  std::atomic<Level> level{Level::kInfo};
  Format format = Format::kText;
  std::map<std::string, Level, std::less<>> by_module;
};

State& TheState() {
  static State state;
  return state;
}

// The calendar is asked once a second.
void AppendTime(Line& out) {
  thread_local time_t known = -1;
  thread_local std::array<char, 40> text;
  thread_local size_t size = 0;
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  if (const time_t seconds = static_cast<time_t>(ms / 1000); seconds != known) {
    tm parts;
    gmtime_r(&seconds, &parts);
    size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    known = seconds;
  }
  out.Append(std::string_view(text.data(), size));
  const auto digit = [&](int64_t unit) { return static_cast<char>('0' + ms / unit % 10); };
  const std::array<char, 5> fraction = {'.', digit(100), digit(10), digit(1), 'Z'};
  out.Append(std::string_view(fraction.data(), fraction.size()));
}

// As a JSON string, which is also how text output quotes. Control characters never reach the terminal.
void AppendQuoted(Line& out, std::string_view text) {
  out.Append('"');
  while (!text.empty()) {
    const size_t n = FindByte(text, [](ByteBlock c) { return (c == '"') | (c == '\\') | (c < 0x20) | (c == 0x7f); });
    out.Append(text.substr(0, n));
    if (n == text.size()) break;
    const char c = text[n];
    text.remove_prefix(n + 1);
    if (c == '"' || c == '\\') {
      out.Append('\\');
      out.Append(c);
    } else if (c == '\n') {
      out.Append("\\n");
    } else {
      constexpr std::string_view kHex = "0123456789abcdef";
      const auto u = static_cast<unsigned char>(c);
      out.Append("\\u00");
      out.Append(kHex[u >> 4]);
      out.Append(kHex[u & 15]);
    }
  }
  out.Append('"');
}

bool IsPlainWord(std::string_view text) {
  return !text.empty() && FindByte(text, [](ByteBlock c) {
                            return (c <= ' ') | (c == '"') | (c == '\\') | (c == '=') | (c == 0x7f);
                          }) == text.size();
}

template <class Number>
void AppendNumber(Line& out, Number v) {
  constexpr size_t kMax = 32;
  char* const begin = out.Room(kMax);
  const auto [end, error] = std::to_chars(begin, begin + kMax, v);
  out.Take(static_cast<size_t>(end - begin));
}

// With three decimals at most: nobody reads more of a line, and the shortest exact form costs ten times as much.
void AppendReal(Line& out, double v) {
  constexpr double kMax = 1e12;
  if (!(v > -kMax && v < kMax)) return AppendNumber(out, v);
  auto thousandths = static_cast<int64_t>(v * 1000 + (v < 0 ? -0.5 : 0.5));
  if (thousandths < 0) {
    out.Append('-');
    thousandths = -thousandths;
  }
  AppendNumber(out, thousandths / 1000);
  if (thousandths % 1000 == 0) return;
  out.Append('.');
  for (int64_t unit = 100, rest = thousandths % 1000; rest != 0; unit /= 10) {
    out.Append(static_cast<char>('0' + rest / unit));
    rest %= unit;
  }
}

void AppendValue(Line& out, const Field::Value& value, bool json) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    if (!json && IsPlainWord(*text))
      out.Append(*text);
    else
      AppendQuoted(out, *text);
  } else if (const auto* raw = std::get_if<Field::Json>(&value)) {
    out.Append(raw->text);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    out.Append(*flag ? std::string_view("true") : std::string_view("false"));
  } else if (const auto* real = std::get_if<double>(&value)) {
    AppendReal(out, *real);
  } else if (const auto* i = std::get_if<int64_t>(&value)) {
    AppendNumber(out, *i);
  } else {
    AppendNumber(out, std::get<uint64_t>(value));
  }
}

}  // namespace

Result<Level> ParseLevel(std::string_view name) {
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == name) return static_cast<Level>(i);
  }
  return Fail(Code::kInvalidArgument, "unknown log level '" + std::string(name) +
                                          "'; use trace, debug, info, warn, error or off" +
                                          DidYouMean(name, std::span<const std::string_view>(kLevelNames)));
}

Status Configure(const LogOptions& options) {
  State& state = TheState();
  state.level = options.level;
  state.format = options.format;
  for (const std::string_view piece : Split(options.levels_by_module, ',')) {
    if (piece.empty()) continue;
    const size_t equals = piece.find('=');
    if (equals == std::string_view::npos) {
      return Fail(Code::kInvalidArgument, "'" + std::string(piece) + "' is not MODULE=LEVEL, as gateway=debug");
    }
    const auto level = ParseLevel(piece.substr(equals + 1));
    if (!level) return tl::unexpected(level.error());
    state.by_module[std::string(piece.substr(0, equals))] = *level;
  }
  return {};
}

bool Enabled(Level level, std::string_view module) {
  const State& state = TheState();
  if (!state.by_module.empty()) {
    const auto found = state.by_module.find(module);
    if (found != state.by_module.end()) return level >= found->second;
  }
  return level >= state.level.load(std::memory_order_relaxed);
}

void Log(Level level, std::string_view module, std::string_view words, std::initializer_list<Field> fields) {
  if (!Enabled(level, module)) return;
  const State& state = TheState();
  const bool json = state.format == Format::kJson;
  const std::string_view level_name = kLevelNames[static_cast<size_t>(level)];
  thread_local Line line;
  line.Clear();
  if (json) {
    line.Append("{\"ts\":\"");
    AppendTime(line);
    line.Append("\",\"level\":\"");
    line.Append(level_name);
    line.Append("\",\"module\":\"");
    line.Append(module);
    line.Append("\",\"msg\":");
    AppendQuoted(line, words);
    for (const Field& field : fields) {
      line.Append(",\"");
      line.Append(field.name);
      line.Append("\":");
      AppendValue(line, field.value, true);
    }
    line.Append('}');
  } else {
    AppendTime(line);
    line.Append(' ');
    line.Append(level_name);
    line.Append(level_name.size() == 4 ? std::string_view("  ") : std::string_view(" "));
    line.Append(module);
    line.Append(": ");
    line.Append(words);
    for (const Field& field : fields) {
      line.Append(' ');
      line.Append(field.name);
      line.Append('=');
      AppendValue(line, field.value, false);
    }
  }
  line.Append('\n');
  std::fwrite(line.text().data(), 1, line.text().size(), stderr);  // whole: stdio has a lock
  if (level >= Level::kWarn) std::fflush(stderr);
}

void SetLogBuffered(bool on) {
  std::fflush(stderr);
  static std::array<char, size_t{64} << 10> buffer;  // glibc ignores the size when it allocates the buffer itself
  std::setvbuf(stderr, on ? buffer.data() : nullptr, on ? _IOFBF : _IONBF, on ? buffer.size() : 0);
}

void FlushLog() { std::fflush(stderr); }

bool Every::Due() {
  const int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
  if (now < next_ns_) return false;
  next_ns_ = now + static_cast<int64_t>(seconds_ * 1e9);
  return true;
}

}  // namespace sluice::observe
