#include "loadgen/bench.h"

#include <csignal>
#include <limits>
#include <optional>
#include <set>

#include "loadgen/arrival.h"
#include "loadgen/request.h"
#include "net/address.h"
#include "net/http_client.h"
#include "runtime/gate.h"
#include "runtime/signals.h"

namespace sluice::loadgen {
namespace {

using runtime::AnyOf;
using runtime::Event;
using runtime::Task;
using runtime::Timer;

constexpr Duration kProgressEvery = std::chrono::milliseconds(500);

TimePoint RealNow() { return std::chrono::steady_clock::now(); }

// One part of a run: the warm-up or the measured requests.
struct Part {
  Part(runtime::Loop& loop, int64_t to_send, std::optional<Duration> time, bool warmup)
      : requests_max(to_send), duration_max(time), warming_up(warmup), under_way(loop), begin(RealNow()) {}
  const int64_t requests_max;
  const std::optional<Duration> duration_max;
  const bool warming_up;
  runtime::Gate under_way;
  TimePoint begin;
  int64_t sent = 0;
  Recorder recorder;
};

class Runner {
 public:
  Runner(runtime::Loop& loop, const BenchOptions& options, net::Address address, const ProgressSink& progress)
      : loop_(loop),
        options_(options),
        progress_(progress),
        client_(loop, ClientOptions(options)),
        connection_{loop, client_, std::move(address), options_, json_},
        workload_(options.workload),
        stop_seen_(loop),
        tasks_(loop) {}

  Task<Result<Report>> Run(runtime::Source* stop);

 private:
  static net::HttpClient::Options ClientOptions(const BenchOptions& o) {
    return {.connect_timeout = std::min<Duration>(std::chrono::seconds(3), o.request_timeout),
            .write_timeout = std::min<Duration>(std::chrono::seconds(60), o.request_timeout),
            .idle_per_address_max = 65'536};
  }

  Task<> RunPart(Part& part);
  Task<> ClosedLoop(Part& part);
  Task<> OpenLoop(Part& part);
  Task<> KeepSending(Part& part);
  Task<> SendOne(Part& part, double late_s);
  Task<> SendAlone(Part& part, double late_s);
  Task<> Ticker();
  Task<> WatchStop(runtime::Source& stop);
  bool MoreToSend(const Part& part) const;
  void Stop();
  void ShowProgress();

  runtime::Loop& loop_;
  BenchOptions options_;
  const ProgressSink& progress_;
  codec::JsonReader json_;
  net::HttpClient client_;
  Connection connection_;
  Workload workload_;
  Part* part_ = nullptr;  // the one that runs
  std::set<Event*> cancels_;
  bool stopped_ = false;
  Event stop_seen_;  // wakes the open loop out of its wait
  runtime::TaskScope tasks_;
};

bool Runner::MoreToSend(const Part& part) const {
  if (stopped_ || part.sent >= part.requests_max) return false;
  return !part.duration_max || RealNow() - part.begin < *part.duration_max;
}

void Runner::Stop() {
  stopped_ = true;
  stop_seen_.Set();
  for (Event* cancel : cancels_) cancel->Set();
}

void Runner::ShowProgress() {
  if (!progress_ || part_ == nullptr) return;
  const Recorder& recorder = part_->recorder;
  progress_({.warming_up = part_->warming_up,
             .seconds = Seconds(RealNow() - part_->begin),
             .sent = part_->sent,
             .finished = static_cast<int64_t>(recorder.requests()),
             .failed = static_cast<int64_t>(recorder.failed()),
             .output_tokens = recorder.output_tokens(),
             .requests = part_->requests_max == std::numeric_limits<int64_t>::max() ? 0 : part_->requests_max,
             .seconds_max = part_->duration_max ? Seconds(*part_->duration_max) : 0});
}

Task<> Runner::Ticker() {
  Timer timer(loop_);
  for (;;) {
    timer.SetAfter(kProgressEvery);
    co_await AnyOf(timer);
    ShowProgress();
  }
}

Task<> Runner::WatchStop(runtime::Source& stop) {
  co_await AnyOf(stop);
  Stop();
}

Task<> Runner::SendOne(Part& part, double late_s) {
  const Prompt prompt = workload_.Next();
  std::string body = RequestBody(options_, prompt);
  Event cancel(loop_);
  cancels_.insert(&cancel);
  const double start_s = Seconds(RealNow() - part.begin);
  Sample sample = co_await SendRequest(connection_, std::move(body), cancel);
  cancels_.erase(&cancel);
  sample.group = prompt.group;
  sample.start_s = start_s;
  sample.late_s = late_s;
  part.recorder.Add(sample);
}

// One of the closed loop's callers: always has one request under way.
Task<> Runner::KeepSending(Part& part) {
  while (MoreToSend(part)) {
    ++part.sent;
    co_await SendOne(part, 0);
  }
  part.under_way.Leave();
}

Task<> Runner::ClosedLoop(Part& part) {
  const int64_t callers = std::min(Concurrency(options_.arrival), part.requests_max);
  for (int64_t i = 0; i < callers; ++i) {
    part.under_way.Enter();
    tasks_.Spawn(KeepSending(part));
  }
  part.under_way.Close();
  co_await AnyOf(part.under_way.drained());
}

Task<> Runner::SendAlone(Part& part, double late_s) {
  co_await SendOne(part, late_s);
  part.under_way.Leave();
}

Task<> Runner::OpenLoop(Part& part) {
  // The warm-up's arrivals are not the measured ones'.
  ArrivalTimes times(options_.arrival.kind, *options_.arrival.rate, options_.workload.seed + (part.warming_up ? 1 : 0));
  Timer timer(loop_);
  while (part.sent < part.requests_max && !stopped_) {
    const Duration due = times.Next();
    if (part.duration_max && due >= *part.duration_max) break;
    timer.Set(part.begin + due);
    co_await AnyOf(timer, stop_seen_);
    if (stopped_) break;
    ++part.sent;
    const double now_s = Seconds(RealNow() - part.begin);
    if (static_cast<int64_t>(part.under_way.inside()) >= options_.in_flight_max) {
      part.recorder.Add({.failure = Failure::kNotSent,
                         .failure_text = std::to_string(options_.in_flight_max) + " requests were under way",
                         .start_s = now_s});
      continue;
    }
    part.under_way.Enter();
    tasks_.Spawn(SendAlone(part, std::max(0.0, now_s - Seconds(due))));
  }
  part.under_way.Close();
  co_await AnyOf(part.under_way.drained());
}

Task<> Runner::RunPart(Part& part) {
  part_ = &part;
  if (options_.arrival.kind == ArrivalKind::kConcurrency) {
    co_await ClosedLoop(part);
  } else {
    co_await OpenLoop(part);
  }
  ShowProgress();
  part_ = nullptr;
}

Task<Result<Report>> Runner::Run(runtime::Source* stop) {
  if (options_.model.empty()) {
    auto model = co_await FirstModel(connection_);
    if (!model) co_return tl::unexpected(model.error());
    options_.model = std::move(*model);
  }
  if (stop != nullptr) tasks_.Spawn(WatchStop(*stop));
  tasks_.Spawn(Ticker());
  int64_t warmed = 0;
  if (options_.warmup_requests > 0) {
    Part warmup(loop_, options_.warmup_requests, std::nullopt, /*warmup=*/true);
    co_await RunPart(warmup);
    warmed = warmup.sent;
  }
  Part measured(loop_, RequestsToSend(options_), options_.duration, /*warmup=*/false);
  co_await RunPart(measured);
  co_return measured.recorder.Finish(options_, static_cast<uint64_t>(warmed), stopped_);
}

// Runs a bench to its end and stops the loop.
Task<> Whole(runtime::Loop& loop, const BenchOptions& options, ProgressSink progress, Event& stop,
             std::optional<Result<Report>>& result) {
  result = co_await Bench(loop, options, std::move(progress), &stop);
  loop.Stop();
}

Task<> OnSignal(runtime::Signals& signals, Event& stop) {
  co_await signals.Next();
  stop.Set();
}

}  // namespace

Task<Result<Report>> Bench(runtime::Loop& loop, BenchOptions options, ProgressSink progress, runtime::Source* stop) {
  if (auto status = Validate(options); !status) co_return tl::unexpected(status.error());
  const Result<Target> target = ParseUrl(options.url);
  const net::Address address{target->host, target->port};
  if (auto known = net::ToSocketAddress(address); !known) {
    co_return Fail(Code::kInvalidArgument, "--url '" + options.url + "': " + known.error().message, "--url");
  }
  Runner runner(loop, options, address, progress);
  co_return co_await runner.Run(stop);
}

Result<Report> RunBench(const BenchOptions& options, ProgressSink progress) {
  runtime::Signals::Block({SIGINT, SIGTERM});
  std::optional<Result<Report>> result;
  runtime::Loop loop;
  Event stop(loop);
  runtime::Signals signals(loop, {SIGINT, SIGTERM});
  runtime::TaskScope tasks(loop);
  tasks.Spawn(OnSignal(signals, stop));
  tasks.Spawn(Whole(loop, options, std::move(progress), stop, result));
  loop.Run();
  return std::move(*result);
}

}  // namespace sluice::loadgen
