// RunWorker: a whole worker process: opens the engine, serves, and on SIGTERM or SIGINT drains and returns. The command
// (app/) chooses the engine.
// Thread rule: main's thread, before any other thread is started (it blocks signals). Cost: opening the engine.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "worker/engine/engine.h"
#include "worker/worker_options.h"

namespace sluice::worker {

// Opens an engine that reports to `observer`, which outlives it.
using OpenEngine = std::function<Result<std::unique_ptr<Engine>>(EngineObserver* observer)>;

// Returns the exit code: 0 after a clean end; 1 when the engine died or requests had to be cut; or why it could not
// start. `on_ready` (may be null) is called with the address once requests are answered.
Result<int> RunWorker(WorkerOptions options, const OpenEngine& open_engine,
                      const std::function<void(const net::Address&)>& on_ready);

}  // namespace sluice::worker
