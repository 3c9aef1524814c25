#include "control/up.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>

#include "base/text.h"
#include "control/detach.h"
#include "control/envoy.h"
#include "control/manifest.h"
#include "control/model_file.h"
#include "control/platform.h"
#include "control/platform_status.h"
#include "control/platform_view.h"
#include "control/state_dir.h"
#include "control/supervisor.h"
#include "control/up_screen.h"
#include "net/port_reservation.h"
#include "runtime/loop.h"
#include "runtime/signals.h"

namespace sluice::control {

using runtime::AnyOf;
using runtime::Task;

namespace {

constexpr size_t kManifestBytesMax = size_t{1} << 20;
constexpr Duration kScreenEvery = std::chrono::milliseconds(200);
constexpr Duration kRotationMax = std::chrono::seconds(5);
constexpr Duration kLogLookEvery = std::chrono::seconds(5);
constexpr const char* kUpLog = "up";
constexpr size_t kPageBytesMax = size_t{1} << 20;
constexpr const char* kPickerHealthy = "/stats?filter=^cluster.ext_proc.membership_healthy$";

// Everything that is decided and held before the first process starts.
struct Prepared {
  std::string executable;
  std::vector<PlannedService> services;
  StateDir dir;
  StateLock lock;
  net::Address listen;
  std::vector<net::PortReservation> ports;  // gateway's first
  std::optional<EnvoySetup> envoy;
};

Result<std::string> OwnExecutable() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0 || n == sizeof path)
    return Fail(Code::kInternal, "cannot find this program's own file: is /proc mounted?");
  return std::string(path, static_cast<size_t>(n));
}

Result<std::vector<ServiceSpec>> ReadServices(const UpOptions& options, const std::vector<std::string>& folders) {
  if (!options.model.empty()) {
    if (!options.manifest_file.empty()) return Fail(Code::kInvalidArgument, "--model and -f exclude each other");
    auto service = ServiceForModelFile(options.model, folders);
    if (!service) return tl::unexpected(service.error());
    return std::vector<ServiceSpec>{std::move(*service)};
  }
  if (options.manifest_file.empty()) return ReadManifest(DefaultManifest(), "the built-in manifest");
  const bool standard_input = options.manifest_file == "-";
  const auto text = ReadWhole(options.manifest_file, kManifestBytesMax);
  if (!text) return tl::unexpected(text.error());
  return ReadManifest(*text, standard_input ? "standard input" : options.manifest_file);
}

std::string PortFlag(uint16_t port) { return port == UpOptions{}.port ? "" : " --port " + std::to_string(port); }

Result<StateLock> TakeLock(const StateDir& dir) {
  auto lock = StateLock::Take(dir);
  if (lock || lock.error().code != Code::kConflict) return lock;
  const auto running = RunningPlatform(dir);
  const std::string pid = running ? " (pid " + std::to_string(running->supervisor_pid) + ")" : "";
  return Fail(Code::kConflict, lock.error().message + pid + "; stop it with `sluice down" + PortFlag(dir.port()) +
                                   "`, or choose another --port");
}

Result<net::PortReservation> TakeGatewayPort(const net::Address& listen) {
  auto port = net::PortReservation::Take(listen, net::PortReservation::TakenBy::kListener);
  if (port) return port;
  if (port.error().code != Code::kConflict) return Fail(port.error().code, "--host: " + port.error().message, "--host");
  return Fail(Code::kConflict, "port " + std::to_string(listen.port) + " on " + listen.host +
                                   " is taken by another program; stop it, or choose another with --port");
}

PlatformOptions OptionsOf(const Prepared& prepared) {
  return {.executable = prepared.executable,
          .listen = prepared.listen,
          .cores = std::thread::hardware_concurrency(),
          .envoy = prepared.envoy};
}

// Nothing for our own gateway; else Envoy's program, without its ports.
Result<std::optional<EnvoySetup>> ChooseEnvoy(const UpOptions& options, const std::string& executable,
                                              const std::vector<PlannedService>& services) {
  if (options.proxy == Proxy::kGateway) return std::nullopt;
  if (const Status serves = CheckEnvoyServes(services); !serves) return tl::unexpected(serves.error());
  auto program = FindEnvoy(executable);
  if (!program) return tl::unexpected(program.error());
  EnvoySetup setup;
  setup.program = std::move(*program);
  setup.form = options.proxy == Proxy::kEnvoy ? EnvoyForm::kFull : EnvoyForm::kLean;
  return std::optional(std::move(setup));
}

Result<Prepared> Prepare(const UpOptions& options) {
  auto executable = options.executable.empty() ? OwnExecutable() : Result<std::string>(options.executable);
  if (!executable) return tl::unexpected(executable.error());
  const std::vector<std::string> folders = ModelFolders(*executable);
  auto specs = ReadServices(options, folders);
  if (!specs) return tl::unexpected(specs.error());
  if (options.replicas) {
    for (ServiceSpec& spec : *specs) spec.replicas = *options.replicas;
  }
  auto services = PlanServices(std::move(*specs), folders);
  if (!services) return tl::unexpected(services.error());
  auto envoy = ChooseEnvoy(options, *executable, *services);
  if (!envoy) return tl::unexpected(envoy.error());
  const auto root = StateDir::Root();
  if (!root) return tl::unexpected(root.error());

  std::vector<net::PortReservation> ports;
  net::Address listen{options.host, options.port};
  if (listen.port == 0) {  // the number names the state folder
    auto port = TakeGatewayPort(listen);
    if (!port) return tl::unexpected(port.error());
    listen = port->address();
    ports.push_back(std::move(*port));
  }
  const StateDir dir(*root, listen.port);
  if (Status made = dir.Create(); !made) return tl::unexpected(made.error());
  auto lock = TakeLock(dir);
  if (!lock) return tl::unexpected(lock.error());
  if (ports.empty()) {
    auto port = TakeGatewayPort(listen);
    if (!port) return tl::unexpected(port.error());
    ports.push_back(std::move(*port));
  }
  auto worker_ports = net::ReservePortsAbove("127.0.0.1", listen.port, WorkerCount(*services));
  if (!worker_ports) return tl::unexpected(worker_ports.error());
  auto next = worker_ports->begin();
  for (PlannedService& service : *services) {
    for (int64_t i = 0; i < service.spec.replicas; ++i) service.workers.push_back((next++)->address());
  }
  // Above the workers', which stay where they were without events.
  auto event_ports =
      net::ReservePortsAbove("127.0.0.1", worker_ports->back().address().port, EventPortCount(*services));
  if (!event_ports) return tl::unexpected(event_ports.error());
  auto event = event_ports->begin();
  for (PlannedService& service : *services) {
    for (int64_t i = 0; service.kv_events && i < service.spec.replicas; ++i) {
      service.events.push_back((event++)->address());
      service.replays.push_back((event++)->address());
    }
  }
  const uint16_t highest = (event_ports->empty() ? *worker_ports : *event_ports).back().address().port;
  std::ranges::move(*worker_ports, std::back_inserter(ports));
  std::ranges::move(*event_ports, std::back_inserter(ports));
  if (*envoy) {
    auto envoy_ports = net::ReservePortsAbove("127.0.0.1", highest, kEnvoyPorts);
    if (!envoy_ports) return tl::unexpected(envoy_ports.error());
    net::Address* const addresses[kEnvoyPorts] = {&(*envoy)->ext_proc, &(*envoy)->health, &(*envoy)->pages,
                                                  &(*envoy)->admin};
    for (size_t i = 0; i < kEnvoyPorts; ++i) *addresses[i] = (*envoy_ports)[i].address();
    std::ranges::move(*envoy_ports, std::back_inserter(ports));
  }
  Prepared prepared{std::move(*executable), std::move(*services), dir, std::move(*lock), listen,
                    std::move(ports),       std::move(*envoy)};
  const Status written = WriteGatewayFiles(prepared.services, OptionsOf(prepared), dir);
  if (!written) return tl::unexpected(written.error());
  return prepared;
}

class Up {
 public:
  Up(Prepared prepared, std::optional<Detach> detach);
  Result<int> Run();

 private:
  static Task<> Main(Up* self);
  static Task<> WatchSignals(Up* self);
  static Task<> WatchLogs(Up* self);
  Task<bool> WaitForStart();
  Task<> WaitForRotation();
  void OnChange(const ProcessStatus& status);
  void SetPhase(std::string phase);
  void WriteStatus();
  std::string UpLog() const { return prepared_.dir.LogFile(kUpLog); }

  Prepared prepared_;
  std::optional<Detach> detach_;
  const bool detached_;
  UpScreen screen_{stdout};
  runtime::Loop loop_;
  runtime::Signals signals_;
  runtime::Event stop_{loop_};
  PlatformStatus status_;
  bool starting_ = true;
  bool status_fails_ = false;
  TimePoint began_;
  Result<int> result_ = 0;
  Supervisor supervisor_;
  runtime::TaskScope tasks_{loop_};
};

constexpr std::initializer_list<int> kStopSignals = {SIGINT, SIGTERM, SIGHUP};

Up::Up(Prepared prepared, std::optional<Detach> detach)
    : prepared_(std::move(prepared)),
      detach_(std::move(detach)),
      detached_(detach_.has_value()),
      signals_(loop_, kStopSignals),
      began_(loop_.Now()),
      supervisor_(loop_, {}, PlanProcesses(prepared_.services, OptionsOf(prepared_), prepared_.dir),
                  [this](const ProcessStatus& status) { OnChange(status); }) {
  status_.supervisor_pid = getpid();
  status_.supervisor_start_ticks = StartTicks(status_.supervisor_pid);
  status_.started_unix = loop_.UnixSeconds();
  status_.host = prepared_.listen.host;
  status_.port = prepared_.listen.port;
  status_.url = "http://" + LocalTarget(prepared_.listen).ToString();
  for (const PlannedService& service : prepared_.services) {
    status_.services.push_back({.name = service.key,
                                .ns = service.spec.name_space,
                                .model = service.spec.model_name,
                                .model_file = service.model_file,
                                .replicas = static_cast<int>(service.spec.replicas)});
  }
}

Result<int> Up::Run() {
  RotateLog(UpLog());
  for (const ProcessStatus& process : supervisor_.processes()) RotateLog(process.spec->command.log_file);
  for (const PlannedService& service : prepared_.services) {
    for (const std::string& notice : service.spec.notices) screen_.Line("notice: " + notice);
    screen_.Line("service " + service.key + ": model " + service.spec.model_name + " from " + service.model_file);
  }
  SetPhase("starting");
  supervisor_.Start();
  tasks_.Spawn(Main(this));
  tasks_.Spawn(WatchSignals(this));
  tasks_.Spawn(WatchLogs(this));
  loop_.Run();
  if (result_ || !detach_) return result_;
  // The waiting parent ends when it is told; so the message goes out first, and from here.
  std::fprintf(stderr, "sluice: %s\n", result_.error().message.c_str());
  const int exit_code = Info(result_.error().code).exit_code;
  detach_->Fail(exit_code);
  return exit_code;
}

// True: every process is ready. False: one has failed for good, or a stop was asked for.
Task<bool> Up::WaitForStart() {
  runtime::Timer tick(loop_);
  for (;;) {
    screen_.Progress(supervisor_.processes(), Seconds(loop_.Now() - began_));
    if (stop_.ready()) co_return false;
    if (supervisor_.started().ready()) co_return !supervisor_.failed();
    tick.SetAfter(kScreenEvery);
    co_await AnyOf(supervisor_.started(), stop_, tick);
  }
}

// Workers that were not there when the gateway first asked are out of its rotation for a moment. Waits until it sends
// requests to all of them, at most kRotationMax: then `up` reports what `get` shows. Behind Envoy the picker is the one
// to ask, through Envoy, which must know that the picker is there.
Task<> Up::WaitForRotation() {
  net::HttpClient client(loop_, {});
  const TimePoint give_up = loop_.Now() + kRotationMax;
  const net::Address door = LocalTarget(prepared_.listen);
  while (loop_.Now() < give_up && !stop_.ready()) {
    if (!prepared_.envoy) {
      const auto answer =
          co_await client.Fetch({.address = door, .target = "/ready?endpoints=all"}, kScreenEvery, 4096);
      if (answer && answer->status == 200) co_return;
    } else {
      const auto pages =
          co_await client.Fetch({.address = door, .target = "/debug/endpoints"}, kScreenEvery, kPageBytesMax);
      const auto picker =
          co_await client.Fetch({.address = prepared_.envoy->admin, .target = kPickerHealthy}, kScreenEvery, 4096);
      const auto seen =
          pages && pages->status == 200 ? ParseGatewayEndpoints(pages->body) : Result<std::vector<GatewayEndpoint>>{};
      const bool all = seen && seen->size() == WorkerCount(prepared_.services) &&
                       std::ranges::all_of(*seen, &GatewayEndpoint::in_rotation);
      if (all && picker && TrimSpace(picker->body).ends_with(": 1")) co_return;
    }
    co_await runtime::SleepFor(loop_, std::chrono::milliseconds(20));
  }
}

Task<> Up::Main(Up* self) {
  const bool ready = co_await self->WaitForStart();
  if (ready) co_await self->WaitForRotation();
  self->starting_ = false;
  self->screen_.EndProgress();
  if (ready) {
    self->SetPhase("ready");
    const Prepared& p = self->prepared_;
    self->screen_.Line(ReadyText(p.services, self->status_.url, p.listen.port, p.dir.path() + "/logs",
                                 ProgramName(p.executable), self->detached_));
    if (self->detached_) {
      if (Status done = self->detach_->Finish(self->UpLog()); !done) self->screen_.Line(done.error().message);
      self->screen_.LeaveTerminal();
    }
    co_await AnyOf(self->stop_);
  } else if (const auto failed = self->supervisor_.failed()) {
    const Code code = failed->callers_mistake ? Code::kInvalidArgument : Code::kUnavailable;
    self->result_ = Fail(code, FailureText(*failed));
  } else {
    self->result_ = Fail(Code::kCancelled, "stopped before it was ready");
  }
  self->SetPhase("stopping");
  if (self->result_) self->screen_.Line("draining… (Ctrl-C again: stop at once)");
  co_await self->supervisor_.Stop();
  self->SetPhase(self->result_ ? "stopped" : "failed");
  if (self->result_) self->screen_.Line("stopped");
  self->loop_.Stop();
}

Task<> Up::WatchSignals(Up* self) {
  co_await self->signals_.Next();
  self->stop_.Set();
  for (;;) {
    co_await self->signals_.Next();
    self->supervisor_.KillAll();
  }
}

Task<> Up::WatchLogs(Up* self) {
  for (;;) {
    co_await runtime::SleepFor(self->loop_, kLogLookEvery);
    for (const ProcessStatus& process : self->supervisor_.processes()) {
      CapLog(process.spec->command.log_file, kLogBytesMax);
    }
    if (self->detached_) CapLog(self->UpLog(), kLogBytesMax);
  }
}

void Up::OnChange(const ProcessStatus& status) {
  WriteStatus();
  if (starting_) {
    screen_.Progress(supervisor_.processes(), Seconds(loop_.Now() - began_));
  } else if (result_) {  // after a failed start, what the others do on their way out is no news
    screen_.Change(status);
  }
}

void Up::SetPhase(std::string phase) {
  status_.phase = std::move(phase);
  WriteStatus();
}

void Up::WriteStatus() {
  status_.processes.clear();
  for (const ProcessStatus& process : supervisor_.processes()) status_.processes.push_back(ToRecord(process));
  const Status written = WriteAtomically(prepared_.dir.StatusFile(), ToJson(status_));
  if (!written && !status_fails_) screen_.Line("warning: `sluice get` is out of date: " + written.error().message);
  status_fails_ = !written;
}

}  // namespace

Result<int> RunUp(const UpOptions& options) {
  auto prepared = Prepare(options);
  if (!prepared) return tl::unexpected(prepared.error());
  if (!options.detach) {
    runtime::Signals::Block(kStopSignals);
    return Up(std::move(*prepared), std::nullopt).Run();
  }

  auto forked = Detach::Fork();
  if (!forked) return tl::unexpected(forked.error());
  if (!forked->child) return forked->exit_code;
  runtime::Signals::Block(kStopSignals);
  return Up(std::move(*prepared), std::move(forked->child)).Run();
}

}  // namespace sluice::control
