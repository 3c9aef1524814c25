// Supervisor: keeps a fixed set of processes running: starts them, asks each over HTTP whether it is ready, starts it
// again with growing delays when it ends or hangs, and stops all of them in order. What happens when is Lifecycle's
// decision; here are the effects.
// Thread rule: the loop's thread, which also is the parent of the processes. Ownership: owns the processes; destroying
// the supervisor kills them. Cost: one coroutine and, while it runs, one HTTP probe a process every `probe_every`.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/lifecycle.h"
#include "control/process.h"
#include "net/address.h"
#include "net/http_client.h"
#include "runtime/loop.h"

namespace sluice::control {

// For a process that cuts its requests on SIGTERM: before that it is told by HTTP to take no more, and asked until it
// has none left.
struct DrainByHttp {
  net::Address address;
  std::string begin_target;  // POST
  std::string left_target;   // GET: a text that ends with a number
  Duration max{};            // then SIGTERM comes all the same
};

struct ProcessSpec {
  std::string name;     // unique; names the log file
  std::string role;     // "worker", "gateway" (what clients talk to) or "picker" (what a proxy asks)
  std::string service;  // empty for what serves all of them
  ProcessCommand command;
  net::Address address;      // what it listens on, as clients are told
  net::Address probe;        // where it is asked
  std::string ready_target;  // GET of this answers 200 when it is ready
  int stop_rank = 0;         // lower ranks are stopped, and gone, before higher ones are told to stop
  Duration stop_max = std::chrono::seconds(10);  // between SIGTERM and SIGKILL
  std::optional<DrainByHttp> drain;
};

// What is known of one process now.
struct ProcessStatus {
  const ProcessSpec* spec = nullptr;
  ProcessState state = ProcessState::kStarting;
  pid_t pid = 0;  // 0: not running
  int restarts = 0;
  double since_unix = 0;  // when this state began
  std::string last_end;   // "killed by signal 9 (SIGKILL)", "exit code 2: last line of its log"; empty: never ended
  Duration next_try{};    // while backing off
  bool callers_mistake = false;  // it ended because its arguments are wrong
  uint64_t log_start = 0;        // where the log of its last run begins
};

// What a log file got after `from`: its last non-empty lines, at most `lines`, the text cut to a readable length.
std::string LastLines(const std::string& file, uint64_t from, size_t lines);

class Supervisor {
 public:
  struct Options {
    RestartPolicy policy;
    Duration probe_starting_every = std::chrono::milliseconds(100);
    Duration probe_every = std::chrono::seconds(2);
    Duration probe_timeout = std::chrono::seconds(2);
  };
  // Called after each change of a process's state or pid, on the loop.
  using OnChange = std::function<void(const ProcessStatus&)>;

  Supervisor(runtime::Loop& loop, Options options, std::vector<ProcessSpec> specs, OnChange on_change);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;

  // Once.
  void Start();
  // Set when every process is ready, or one has failed for good: the start is decided.
  runtime::Source& started() { return started_; }
  bool all_ready() const;
  // The first process that failed for good, if any.
  std::optional<ProcessStatus> failed() const;

  std::vector<ProcessStatus> processes() const;
  // SIGTERM rank by rank, SIGKILL for what is late; returns when nothing is left.
  runtime::Task<> Stop();
  // SIGKILL for everything now; a Stop() under way returns soon.
  void KillAll();

 private:
  struct Entry;
  static runtime::Task<> Supervise(Supervisor* self, Entry* entry);
  static runtime::Task<> ProbeLoop(Supervisor* self, Entry* entry);
  runtime::Task<> Drain(const DrainByHttp& drain);
  void StartOnce(Entry& entry);
  void Changed(Entry& entry);
  ProcessStatus StatusOf(const Entry& entry) const;

  runtime::Loop& loop_;
  Options options_;
  OnChange on_change_;
  net::HttpClient client_;
  runtime::Event started_;
  bool killing_ = false;
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace sluice::control
