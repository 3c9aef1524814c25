#include "control/supervisor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/text.h"

namespace sluice::control {

using runtime::AnyOf;
using runtime::Task;

namespace {

constexpr int kCallersMistake = 2;  // exit code of a command whose arguments are wrong (base/error.h)
constexpr size_t kTailBytes = 4096;
constexpr size_t kProbeBodyBytes = 64 * 1024;
constexpr Duration kDrainLookEvery = std::chrono::milliseconds(50);

uint64_t FileSize(const std::string& file) {
  struct stat info{};
  return stat(file.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

}  // namespace

std::string LastLines(const std::string& file, uint64_t from, size_t lines) {
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const uint64_t size = FileSize(file);
  if (size < from) from = 0;  // it was cut meanwhile
  const uint64_t start = size > from + kTailBytes ? size - kTailBytes : from;
  std::string tail(size - start, '\0');
  const ssize_t got = pread(fd, tail.data(), tail.size(), static_cast<off_t>(start));
  close(fd);
  if (got <= 0) return {};
  tail.resize(static_cast<size_t>(got));
  const std::string_view text = TrimSpace(tail);
  size_t begin = text.size();
  while (lines > 0 && begin > 0) {
    const size_t newline = text.rfind('\n', begin - 1);
    begin = newline == std::string_view::npos ? 0 : newline;
    --lines;
  }
  return std::string(TrimSpace(text.substr(begin)));
}

struct Supervisor::Entry {
  Entry(runtime::Loop& loop, ProcessSpec s, const RestartPolicy& policy)
      : spec(std::move(s)), lifecycle(policy), retry(loop), stop(loop), gone(loop), probes(loop), task(loop) {}

  ProcessSpec spec;
  Lifecycle lifecycle;
  std::optional<Process> process;
  std::string last_end;
  std::string killed_because;  // why we killed it
  bool mistake = false;        // how it ended says that its arguments are wrong
  uint64_t log_start = 0;      // size of the log when this run began
  double since_unix = 0;
  Duration next_try{};
  ProcessState told = ProcessState::kFailed;
  pid_t told_pid = -1;
  runtime::Timer retry;
  runtime::Event stop;
  runtime::Event gone;        // ended and will not be started again
  runtime::TaskScope probes;  // of the running process
  runtime::TaskScope task;    // last: it refers to the rest
};

Supervisor::Supervisor(runtime::Loop& loop, Options options, std::vector<ProcessSpec> specs, OnChange on_change)
    : loop_(loop), options_(options), on_change_(std::move(on_change)), client_(loop, {}), started_(loop) {
  for (ProcessSpec& spec : specs) {
    entries_.push_back(std::make_unique<Entry>(loop, std::move(spec), options_.policy));
  }
}

Supervisor::~Supervisor() {
  for (const auto& entry : entries_) {  // before client_, which the probes use
    entry->task.CancelAll();
    entry->probes.CancelAll();
  }
}

void Supervisor::Start() {
  for (const auto& entry : entries_) entry->task.Spawn(Supervise(this, entry.get()));
}

bool Supervisor::all_ready() const {
  return std::ranges::all_of(entries_, [](const auto& e) { return e->lifecycle.state() == ProcessState::kReady; });
}

std::optional<ProcessStatus> Supervisor::failed() const {
  for (const auto& entry : entries_) {
    if (entry->lifecycle.state() == ProcessState::kFailed) return StatusOf(*entry);
  }
  return std::nullopt;
}

std::vector<ProcessStatus> Supervisor::processes() const {
  std::vector<ProcessStatus> all;
  for (const auto& entry : entries_) all.push_back(StatusOf(*entry));
  return all;
}

ProcessStatus Supervisor::StatusOf(const Entry& entry) const {
  return {.spec = &entry.spec,
          .state = entry.lifecycle.state(),
          .pid = entry.process ? entry.process->pid() : 0,
          .restarts = entry.lifecycle.restarts(),
          .since_unix = entry.since_unix,
          .last_end = entry.last_end,
          .next_try = entry.next_try,
          .callers_mistake = entry.mistake,
          .log_start = entry.log_start};
}

void Supervisor::Changed(Entry& entry) {
  const pid_t pid = entry.process ? entry.process->pid() : 0;
  const ProcessState state = entry.lifecycle.state();
  if (state == entry.told && pid == entry.told_pid) return;
  if (state != entry.told) entry.since_unix = loop_.UnixSeconds();
  entry.told = state;
  entry.told_pid = pid;
  if (on_change_) on_change_(StatusOf(entry));
  if (state == ProcessState::kFailed || all_ready()) started_.Set();
}

void Supervisor::StartOnce(Entry& entry) {
  entry.killed_because.clear();
  entry.mistake = false;
  entry.log_start = FileSize(entry.spec.command.log_file);
  auto process = Process::Start(loop_, entry.spec.command);
  entry.lifecycle.OnStarted(loop_.Now());
  if (!process) {
    entry.last_end = process.error().message;
    entry.mistake = process.error().code != Code::kUnavailable;
    return;
  }
  entry.process.emplace(std::move(*process));
  entry.probes.Spawn(ProbeLoop(this, &entry));
  Changed(entry);
}

Task<> Supervisor::Supervise(Supervisor* self, Entry* entry) {
  while (!entry->lifecycle.over()) {
    if (entry->stop.ready()) {
      entry->lifecycle.OnGone();
      break;
    }
    self->StartOnce(*entry);
    std::optional<ExitStatus> end;
    while (entry->process && !end) {
      co_await AnyOf(entry->process->exited());
      end = entry->process->Reap();
    }
    entry->probes.CancelAll();
    entry->process.reset();
    if (end) {
      const std::string line =
          end->signalled ? std::string() : LastLines(entry->spec.command.log_file, entry->log_start, 1);
      entry->last_end = end->Text() + (line.empty() ? "" : ": " + line);
      if (!entry->killed_because.empty()) entry->last_end = entry->killed_because + "; " + entry->last_end;
      entry->mistake = *end == ExitStatus{false, kCallersMistake};
    }
    const Lifecycle::AfterEnd next = entry->lifecycle.OnEnd(self->loop_.Now(), entry->mistake);
    entry->next_try = next.delay;
    self->Changed(*entry);
    if (!next.restart) break;
    entry->retry.SetAfter(next.delay);
    co_await AnyOf(entry->retry, entry->stop);
    entry->next_try = {};
  }
  self->Changed(*entry);
  entry->gone.Set();
}

Task<> Supervisor::ProbeLoop(Supervisor* self, Entry* entry) {
  for (;;) {
    const bool settled = entry->lifecycle.state() != ProcessState::kStarting;
    co_await runtime::SleepFor(self->loop_, settled ? self->options_.probe_every : self->options_.probe_starting_every);
    const net::ClientRequest request{.address = entry->spec.probe, .target = entry->spec.ready_target};
    const auto answer = co_await self->client_.Fetch(request, self->options_.probe_timeout, kProbeBodyBytes);
    const Probe probe = !answer ? Probe::kSilent : answer->status == 200 ? Probe::kReady : Probe::kNotReady;
    entry->lifecycle.OnProbe(self->loop_.Now(), probe);
    if (const std::string_view why = entry->lifecycle.HungBecause(self->loop_.Now()); !why.empty()) {
      entry->killed_because = why;
      entry->process->Kill();
      co_return;
    }
    self->Changed(*entry);
  }
}

// Ends at once when the process does not answer: it is gone, or has nothing that could be waited for.
Task<> Supervisor::Drain(const DrainByHttp& drain) {
  const TimePoint give_up = loop_.Now() + drain.max;
  const net::ClientRequest begin{.address = drain.address, .method = "POST", .target = drain.begin_target};
  const net::ClientRequest left{.address = drain.address, .target = drain.left_target};
  auto answer = co_await client_.Fetch(begin, options_.probe_timeout, kProbeBodyBytes);
  while (answer && answer->status == 200 && !killing_ && loop_.Now() < give_up) {
    answer = co_await client_.Fetch(left, options_.probe_timeout, kProbeBodyBytes);
    if (!answer) co_return;
    const std::string_view text = TrimSpace(answer->body);
    const size_t digits = text.find_last_not_of("0123456789") + 1;
    if (ParseNumber<uint64_t>(text.substr(digits)).value_or(0) == 0) co_return;
    co_await runtime::SleepFor(loop_, kDrainLookEvery);
  }
}

Task<> Supervisor::Stop() {
  std::set<int> ranks;
  for (const auto& entry : entries_) ranks.insert(entry->spec.stop_rank);
  // What is not running must not be started again while others are still draining.
  for (const auto& entry : entries_) {
    if (entry->process || entry->lifecycle.over()) continue;
    entry->lifecycle.OnStop();
    entry->stop.Set();
  }
  for (const int rank : ranks) {
    for (const auto& entry : entries_) {
      if (entry->spec.stop_rank == rank && entry->spec.drain && entry->process) co_await Drain(*entry->spec.drain);
    }
    for (const auto& entry : entries_) {
      if (entry->spec.stop_rank != rank || entry->lifecycle.over()) continue;
      entry->lifecycle.OnStop();
      entry->stop.Set();
      Changed(*entry);
      // Our side of kept connections closes first, so that none lingers on the process's port.
      entry->probes.CancelAll();
      client_.Forget(entry->spec.probe);
      if (entry->process) killing_ ? entry->process->Kill() : entry->process->Terminate();
    }
    runtime::Timer late(loop_);
    const TimePoint begin = loop_.Now();
    for (const auto& entry : entries_) {
      if (entry->spec.stop_rank != rank) continue;
      late.Set(begin + entry->spec.stop_max);
      co_await AnyOf(entry->gone, late);
      if (!entry->gone.ready()) {
        if (entry->process) {
          entry->killed_because = "did not end in time after SIGTERM";
          entry->process->Kill();
        }
        co_await AnyOf(entry->gone);
      }
    }
  }
}

void Supervisor::KillAll() {
  killing_ = true;
  for (const auto& entry : entries_) {
    entry->lifecycle.OnStop();
    entry->stop.Set();
    if (entry->process) entry->process->Kill();
  }
}

}  // namespace sluice::control
