#include "observe/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>

#include "base/text.h"

namespace sluice::observe {
namespace {

constexpr std::array<std::string_view, 6> kLevelNames = {"trace", "debug", "info", "warn", "error", "off"};

// spdlog's own standard-error sink flushes each line; this one leaves that to the level and to FlushLog().
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    std::fwrite(message.payload.data(), 1, message.payload.size(), stderr);
    std::fputc('\n', stderr);
  }
  void flush_() override { std::fflush(stderr); }
};

// Written once by Configure(), before other threads log.
struct State {
  std::atomic<Level> level{Level::kInfo};
  Format format = Format::kText;
  std::map<std::string, Level, std::less<>> by_module;
  std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("sluice", std::make_shared<StderrSink>());
    made->set_level(spdlog::level::trace);
    made->flush_on(spdlog::level::warn);
    return made;
  }();
};

State& TheState() {
  static State state;
  return state;
}

// The calendar is asked once a second.
void AppendTime(std::string& out) {
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
  out.append(text.data(), size);
  const auto digit = [&](int64_t unit) { return static_cast<char>('0' + ms / unit % 10); };
  const std::array<char, 5> fraction = {'.', digit(100), digit(10), digit(1), 'Z'};
  out.append(fraction.data(), fraction.size());
}

// As a JSON string, which is also how text output quotes. Control characters never reach the terminal.
void AppendQuoted(std::string& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    const auto plain = std::find_if(text.begin(), text.end(), [](char c) {
      return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
    const auto n = static_cast<size_t>(plain - text.begin());
    out.append(text.substr(0, n));
    if (n == text.size()) break;
    const char c = text[n];
    const auto u = static_cast<unsigned char>(c);
    text.remove_prefix(n + 1);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out += "\\n";
    } else {
      char escape[8];
      out.append(escape, static_cast<size_t>(std::snprintf(escape, sizeof escape, "\\u%04x", u)));
    }
  }
  out.push_back('"');
}

bool PlainWord(std::string_view text) {
  return !text.empty() && text.find_first_of(" \t\n\r\"\\=") == std::string_view::npos &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
}

template <class Number>
void AppendNumber(std::string& out, Number v) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, v);
  out.append(text, end);
}

// With three decimals at most: nobody reads more of a line, and the shortest exact form costs ten times as much.
void AppendReal(std::string& out, double v) {
  constexpr double kMax = 1e12;
  if (!(v > -kMax && v < kMax)) return AppendNumber(out, v);
  auto thousandths = static_cast<int64_t>(v * 1000 + (v < 0 ? -0.5 : 0.5));
  if (thousandths < 0) {
    out.push_back('-');
    thousandths = -thousandths;
  }
  AppendNumber(out, thousandths / 1000);
  if (thousandths % 1000 == 0) return;
  out.push_back('.');
  for (int64_t unit = 100, rest = thousandths % 1000; rest != 0; unit /= 10) {
    out.push_back(static_cast<char>('0' + rest / unit));
    rest %= unit;
  }
}

void AppendValue(std::string& out, const Field::Value& value, bool json) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    if (!json && PlainWord(*text))
      out.append(*text);
    else
      AppendQuoted(out, *text);
  } else if (const auto* raw = std::get_if<Field::Json>(&value)) {
    out.append(raw->text);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    out.append(*flag ? "true" : "false");
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
  thread_local std::string line;
  line.clear();
  if (json) {
    line += "{\"ts\":\"";
    AppendTime(line);
    line.append("\",\"level\":\"").append(level_name).append("\",\"module\":\"").append(module).append("\",\"msg\":");
    AppendQuoted(line, words);
    for (const Field& field : fields) {
      line.append(",\"").append(field.name).append("\":");
      AppendValue(line, field.value, true);
    }
    line.push_back('}');
  } else {
    AppendTime(line);
    line.append(" ")
        .append(level_name)
        .append(level_name.size() == 4 ? "  " : " ")
        .append(module)
        .append(": ")
        .append(words);
    for (const Field& field : fields) {
      line.append(" ").append(field.name).append("=");
      AppendValue(line, field.value, false);
    }
  }
  const spdlog::string_view_t text(line.data(), line.size());
  state.logger->log(level >= Level::kWarn ? spdlog::level::warn : spdlog::level::info, text);
}

void SetLogBuffered(bool on) {
  TheState().logger->flush();
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
