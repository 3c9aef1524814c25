#include "worker/run_worker.h"

#include <csignal>

#include "observe/log.h"
#include "observe/metrics.h"
#include "runtime/signals.h"
#include "worker/worker_server.h"

namespace sluice::worker {
namespace {

using observe::Level;
using observe::Log;
using runtime::Task;

// Ends when the engine's thread has died. vLLM's port closes then; so does ours, and a supervisor starts a new process.
Task<> AwaitDeath(runtime::Loop& loop, Engine& engine, runtime::Event& died) {
  runtime::Timer timer(loop);
  while (engine.Healthy()) {
    timer.SetAfter(std::chrono::milliseconds(500));
    co_await runtime::AnyOf(timer);
  }
  died.Set();
}

Task<> AwaitSignal(runtime::Signals& signals, runtime::Event& asked, runtime::Event& again) {
  const int first = co_await signals.Next();
  Log(Level::kInfo, "worker", "signal received, draining", {{"signal", first}});
  asked.Set();
  co_await signals.Next();
  again.Set();
}

Task<> DrainServer(WorkerServer& server, size_t& cut, runtime::Event& drained) {
  cut = co_await server.Drain();
  drained.Set();
}

struct Ending {
  explicit Ending(runtime::Loop& loop) : died(loop), asked(loop), again(loop), drained(loop) {}
  runtime::Event died, asked, again, drained;
  size_t cut = 0;
  int code = 0;
};

Task<> Supervise(runtime::Loop& loop, Engine& engine, WorkerServer& server, Ending& ending) {
  co_await runtime::AnyOf(ending.asked, ending.died);
  if (ending.died.ready()) {
    Log(Level::kError, "worker", "the engine has died; this worker ends");
    ending.code = 1;
  }
  engine.Drain();
  loop.Spawn(DrainServer(server, ending.cut, ending.drained));
  co_await runtime::AnyOf(ending.drained, ending.again);
  if (!ending.drained.ready()) {
    Log(Level::kWarn, "worker", "second signal: ending without waiting");
    ending.code = 1;
  } else if (ending.cut > 0) {
    Log(Level::kWarn, "worker", "requests were cut at the end of the drain timeout", {{"requests", ending.cut}});
    ending.code = 1;
  }
  loop.Stop();
}

}  // namespace

Result<int> RunWorker(WorkerOptions options, const OpenEngine& open_engine,
                      const std::function<void(const net::Address&)>& on_ready) {
  runtime::Signals::Block({SIGTERM, SIGINT});
  // Declared in order of dependence: what is below uses what is above and is destroyed first.
  observe::Registry registry;
  WorkerMetrics metrics(registry);
  runtime::Loop loop;
  runtime::Signals signals(loop, {SIGTERM, SIGINT});
  auto engine = open_engine(&metrics);
  if (!engine) return tl::unexpected<Error>(std::move(engine.error()));
  auto pool = std::make_unique<runtime::WorkerPool>(options.pool_threads, options.pool_queue_max);
  auto server = WorkerServer::Make(loop, *pool, **engine, metrics, std::move(options));
  if (!server) return tl::unexpected<Error>(std::move(server.error()));
  if (Status listening = (*server)->Listen(); !listening) return tl::unexpected<Error>(std::move(listening.error()));
  const ModelInfo& model = (*engine)->Model();
  Log(Level::kInfo, "worker", "worker ready",
      {{"address", (*server)->address().ToString()},
       {"model", model.name},
       {"max_model_len", model.max_model_len},
       {"kv_blocks", model.num_blocks},
       {"block_size", model.block_size}});
  if (on_ready) on_ready((*server)->address());
  Ending ending(loop);
  runtime::TaskScope tasks(loop);
  tasks.Spawn(AwaitDeath(loop, **engine, ending.died));
  tasks.Spawn(AwaitSignal(signals, ending.asked, ending.again));
  tasks.Spawn(Supervise(loop, **engine, **server, ending));
  loop.Run();
  tasks.CancelAll();
  (*engine)->Shutdown();
  pool.reset();  // before the server: a job that still runs works on a request's coroutine
  Log(Level::kInfo, "worker", "worker ended", {{"code", ending.code}});
  return ending.code;
}

}  // namespace sluice::worker
