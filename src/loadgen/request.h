// SendRequest: one streamed request over the HTTP client, from first byte sent to last byte read, as a Sample.
// Thread rule: the loop's thread. Ownership: everything passed by reference outlives the task. Cost: one coroutine
// frame and the body's bytes.
#pragma once

#include <string>

#include "codec/json/reader.h"
#include "loadgen/options.h"
#include "loadgen/sample.h"
#include "loadgen/workload.h"
#include "net/http_client.h"
#include "runtime/loop.h"

namespace sluice::loadgen {

// The JSON body of a request for `prompt`.
std::string RequestBody(const BenchOptions& options, const Prompt& prompt);

struct Connection {
  runtime::Loop& loop;
  net::HttpClient& client;
  net::Address address;
  const BenchOptions& options;
  codec::JsonReader& json;
};

// Sends `body`; `cancel` ends it with kStopped. Latencies count from the call. start_s, late_s and group are the
// caller's to fill in.
runtime::Task<Sample> SendRequest(Connection& connection, std::string body, runtime::Source& cancel);

// The first model that GET /v1/models names.
runtime::Task<Result<std::string>> FirstModel(Connection& connection);

}  // namespace sluice::loadgen
