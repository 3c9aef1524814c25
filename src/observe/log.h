// Log: one line an event on standard error: time, level, module, fixed words, then fields. Text on a terminal, JSON
// lines when asked for (`--log-format json`). Levels can be set per module at run time. Secrets are never fields.
// Thread rule: any thread. Cost: a disabled level costs one relaxed load; an enabled one formats and writes one line.
// Usage:  Log(Level::kInfo, "gateway", "request done", {{"request_id", id}, {"status", 200}});
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "base/result.h"

namespace sluice::observe {

enum class Level : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// A named value. Strings are quoted in text when they have spaces; `json` values are written unquoted in JSON output.
struct Field {
  struct Json {
    std::string_view text;
  };  // already JSON
  using Value = std::variant<std::string_view, int64_t, uint64_t, double, bool, Json>;

  Field(std::string_view n, std::string_view v) : name(n), value(v) {}
  Field(std::string_view n, const char* v) : name(n), value(std::string_view(v)) {}
  Field(std::string_view n, const std::string& v) : name(n), value(std::string_view(v)) {}
  Field(std::string_view n, bool v) : name(n), value(v) {}
  Field(std::string_view n, double v) : name(n), value(v) {}
  Field(std::string_view n, Json v) : name(n), value(v) {}
  template <class I>
    requires std::is_integral_v<I>
  Field(std::string_view n, I v) : name(n), value(Widen(v)) {}

  std::string_view name;
  Value value;

 private:
  template <class I>
  static Value Widen(I v) {
    if constexpr (std::is_signed_v<I>)
      return Value(static_cast<int64_t>(v));
    else
      return Value(static_cast<uint64_t>(v));
  }
};

enum class Format : uint8_t { kText, kJson };
struct LogOptions {
  Level level = Level::kInfo;
  Format format = Format::kText;
  std::string levels_by_module;  // "gateway=debug,net=warn"
};
// Sets up the process's log. Call once, early. Fails on an unknown level or module syntax.
Status Configure(const LogOptions& options);
Result<Level> ParseLevel(std::string_view name);

bool Enabled(Level level, std::string_view module);
void Log(Level level, std::string_view module, std::string_view words, std::initializer_list<Field> fields = {});

// With buffering on, lines below kWarn are kept until FlushLog() (or until 64 KiB are there), so that a loop writes
// once for all it did between two waits instead of once a line. Lines of kWarn and above are written at once, with what
// is kept.
void SetLogBuffered(bool on);
void FlushLog();

// True at most once per `seconds` for each call site's state; for lines that a stranger can cause many times a second.
class Every {
 public:
  explicit constexpr Every(double seconds) : seconds_(seconds) {}
  bool Due();

 private:
  double seconds_;
  int64_t next_ns_ = 0;
};

}  // namespace sluice::observe
