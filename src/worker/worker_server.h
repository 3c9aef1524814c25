// WorkerServer: vLLM's HTTP surface over an engine: the table of routes, API keys, what is said of unknown paths and
// methods, the request log, and draining.
// Thread rule: the loop's thread. Ownership: borrows loop, pool, engine and metrics, which outlive it.
// Cost: a lookup in a short table a request; the rest is the routes'.
#pragma once

#include <memory>

#include "net/http_server.h"
#include "runtime/worker_pool.h"
#include "worker/engine/engine.h"
#include "worker/worker_metrics.h"
#include "worker/worker_options.h"

namespace sluice::worker {

struct WorkerContext;

class WorkerServer {
 public:
  // Fails when the engine's chat template cannot be used.
  static Result<std::unique_ptr<WorkerServer>> Make(runtime::Loop& loop, runtime::WorkerPool& pool, Engine& engine,
                                                    WorkerMetrics& metrics, WorkerOptions options);
  ~WorkerServer();

  // Binds and serves.
  Status Listen();
  const net::Address& address() const;

  // Says no to new work (503 on generating routes and /health), lets what runs finish, at most `drain_timeout`, then
  // closes every connection. Returns the number of requests that were cut.
  runtime::Task<size_t> Drain();

 private:
  WorkerServer(runtime::Loop& loop, WorkerOptions options);
  runtime::Task<> Handle(net::ServerExchange& exchange);

  runtime::Loop& loop_;
  WorkerOptions options_;
  std::unique_ptr<WorkerContext> context_;
  std::unique_ptr<net::HttpServer> server_;  // last: its tasks use the context
};

}  // namespace sluice::worker
