// Bench: runs a load against a server and reports. First the warm-up requests, which are counted nowhere, then the
// measured ones. Thread rule: the loop's thread. Cost: one coroutine a request under way; memory does not grow with the
// number of requests (recorder.h).
#pragma once

#include <functional>

#include "base/result.h"
#include "loadgen/options.h"
#include "loadgen/progress.h"
#include "loadgen/recorder.h"
#include "runtime/loop.h"

namespace sluice::loadgen {

using ProgressSink = std::function<void(const Progress&)>;

// Fails when the options are wrong or the server cannot be asked for its model; what goes wrong with single requests is
// in the report. `progress` (may be empty) is called about twice a second. When `stop` (may be null) becomes ready,
// requests under way are ended and the report says that it was stopped.
runtime::Task<Result<Report>> Bench(runtime::Loop& loop, BenchOptions options, ProgressSink progress,
                                    runtime::Source* stop);

// The same on a loop of its own; SIGINT and SIGTERM stop it. For a command's main thread, before it starts others.
Result<Report> RunBench(const BenchOptions& options, ProgressSink progress);

}  // namespace sluice::loadgen
