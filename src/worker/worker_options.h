// What `sluice worker` is told about its HTTP surface. The engine's own settings are the engine's (llama_options.h).
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "kvindex/events/publisher.h"
#include "net/address.h"

namespace sluice::worker {

struct WorkerOptions {
  net::Address listen;                    // port 0 takes a free one
  std::vector<std::string> served_names;  // aliases; the first is the one in answers. Empty: the engine's model name
  std::vector<std::string> api_keys;      // one of them is needed on /v1 routes; empty: none is
  size_t body_bytes_max = size_t{16} << 20;
  size_t connections_max = 20'000;
  int sequences_max = 256;  // prompts x n of one request
  size_t pool_threads = 2;  // for templates and tokenizing
  size_t pool_queue_max = 1024;
  Duration drain_timeout = std::chrono::seconds(30);  // on SIGTERM: how long running requests may take
  std::string version = "0";                          // what /version answers
  kvindex::PublisherOptions kv_events;                // what /kv_event_sources answers
};

}  // namespace sluice::worker
