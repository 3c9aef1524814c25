#include "control/up_screen.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "base/text.h"
#include "codec/json/write.h"

namespace sluice::control {
namespace fs = std::filesystem;
namespace {

constexpr uint16_t kDefaultPort = 8080;
constexpr size_t kLogLinesShown = 12;

std::string OneDecimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

size_t TerminalColumns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

std::string Padded(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string ClockTime() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[16];
  std::strftime(text, sizeof text, "%H:%M:%S", &local);
  return text;
}

size_t NameWidth(const std::vector<ProcessStatus>& processes) {
  size_t width = 0;
  for (const ProcessStatus& status : processes) width = std::max(width, status.spec->name.size());
  return width;
}

std::string ProgressLine(const ProcessStatus& status, size_t width) {
  std::string line = "  " + Padded(status.spec->name, width) + "  " + Padded(status.spec->address.ToString(), 16) +
                     "  " + std::string(Name(status.state));
  if (!status.last_end.empty()) line += " (" + status.last_end + ")";
  return line;
}

}  // namespace

std::string ChangeText(const ProcessStatus& status) {
  const std::string name = status.spec->name + "  ";
  switch (status.state) {
    case ProcessState::kStarting:
      return status.restarts == 0 ? std::string()
                                  : name + "started again (restart " + std::to_string(status.restarts) + ")";
    case ProcessState::kReady:
      return name + "ready";
    case ProcessState::kNotReady:
      return name + "does not answer " + status.spec->ready_target;
    case ProcessState::kBackingOff:
      return name + status.last_end + "; starting again in " + OneDecimal(Seconds(status.next_try)) + " s";
    case ProcessState::kStopping:
      return name + "stopping";
    case ProcessState::kStopped:
      return name + "stopped";
    case ProcessState::kFailed:
      return name + "failed: " + status.last_end;
  }
  return {};
}

std::string ProgressText(const std::vector<ProcessStatus>& processes, double seconds) {
  const size_t width = NameWidth(processes);
  std::string text;
  for (const ProcessStatus& status : processes) text += ProgressLine(status, width) + "\n";
  const auto ready = std::ranges::count(processes, ProcessState::kReady, &ProcessStatus::state);
  return text + "  " + std::to_string(ready) + " of " + std::to_string(processes.size()) + " ready, " +
         OneDecimal(seconds) + " s\n";
}

std::string ReadyText(const std::vector<PlannedService>& services, const std::string& url, uint16_t port,
                      const std::string& logs, const std::string& program, bool detached) {
  const std::string flag = port == kDefaultPort ? "" : " --port " + std::to_string(port);
  const std::string url_flag = port == kDefaultPort ? "" : " --url " + url;
  std::string text = "\nReady: " + url + "\n";
  for (const PlannedService& service : services) {
    text += "  model " + service.spec.model_name + " (service " + service.key + ", " +
            std::to_string(service.workers.size()) + (service.workers.size() == 1 ? " replica)\n" : " replicas)\n");
  }
  std::string body = "{\"model\": ";
  codec::AppendQuoted(body, services.front().spec.model_name);
  body += R"(, "messages": [{"role": "user", "content": "What is a router?"}], "max_tokens": 64})";
  for (size_t at = 0; (at = body.find('\'', at)) != std::string::npos; at += 4) body.replace(at, 1, R"('\'')");
  text += "\nTry it:\n  curl " + url + "/v1/chat/completions -H 'content-type: application/json' \\\n    -d '" + body +
          "'\n\n";
  text += "  " + program + " get" + flag + "   what is running\n";
  text += "  " + program + " explain ID" + url_flag +
          "   why a request went where it went; ID: x-request-id of its answer\n";
  text += "  logs: " + logs + "\n";
  text += detached ? "  stop: " + program + " down" + flag + "\n" : std::string("  stop: Ctrl-C\n");
  return text;
}

std::string FailureText(const ProcessStatus& status) {
  const std::string& log = status.spec->command.log_file;
  std::string text = status.spec->name + " could not start: " + status.last_end;
  const std::string tail = LastLines(log, status.log_start, kLogLinesShown);
  if (tail.find('\n') != std::string::npos) {
    text += "\nthe end of its log:";
    for (const std::string_view line : Split(tail, '\n')) text += "\n  " + std::string(line);
  }
  return text + "\nits log: " + log;
}

std::string ProgramName(const std::string& executable) {
  const std::string name = fs::path(executable).filename().string();
  std::error_code error;
  if (const char* path = std::getenv("PATH"); path != nullptr) {
    for (const std::string_view folder : Split(path, ':')) {
      if (!folder.empty() && fs::equivalent(fs::path(folder) / name, executable, error)) return name;
    }
  }
  const fs::path relative = fs::path(executable).lexically_relative(fs::current_path(error));
  return relative.empty() || *relative.begin() == ".." ? executable : relative.string();
}

UpScreen::UpScreen(std::FILE* out) : out_(out), terminal_(isatty(fileno(out)) == 1) {}

void UpScreen::Line(std::string_view text) {
  std::fprintf(out_, "%.*s\n", static_cast<int>(text.size()), text.data());
  std::fflush(out_);
}

void UpScreen::Progress(const std::vector<ProcessStatus>& processes, double seconds) {
  if (terminal_) {
    const std::string text = ProgressText(processes, seconds);
    const size_t columns = TerminalColumns();
    if (block_lines_ > 0) std::fprintf(out_, "\x1b[%zuA", block_lines_);
    block_lines_ = 0;
    for (const std::string_view line : Split(std::string_view(text).substr(0, text.size() - 1), '\n')) {
      const std::string_view cut = line.substr(0, columns - 1);
      std::fprintf(out_, "\x1b[2K%.*s\n", static_cast<int>(cut.size()), cut.data());
      ++block_lines_;
    }
    std::fflush(out_);
    return;
  }
  const size_t width = NameWidth(processes);
  shown_.resize(processes.size());
  for (size_t i = 0; i < processes.size(); ++i) {
    const std::string line = ProgressLine(processes[i], width);
    if (line == shown_[i]) continue;
    shown_[i] = line;
    Line(line);
  }
}

void UpScreen::EndProgress() { block_lines_ = 0; }

void UpScreen::Change(const ProcessStatus& status) {
  const std::string text = ChangeText(status);
  if (!text.empty()) Line(ClockTime() + "  " + text);
}

}  // namespace sluice::control
