// Resolver: DNS names to addresses without blocking the loop, through c-ares with the system's servers (resolv.conf)
// and /etc/hosts. IPv4 and IPv6 are asked together; an answer is sorted, without doubles, and cut at `addresses_max`.
//   auto found = co_await resolver.Resolve("vllm.models.svc.cluster.local");
// Thread rule: the loop's thread. Ownership: a task that is destroyed while it waits gives its query up; the resolver
// must outlive its tasks. Cost: one or two datagrams; c-ares keeps no cache and neither do we.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/loop.h"

namespace sluice::net {

class Resolver {
 public:
  struct Options {
    std::string servers;  // "IP:PORT,..."; empty: the system's. With servers, /etc/hosts is not read
    Duration timeout = std::chrono::seconds(2);  // of one try; the second waits twice as long
    int tries = 2;
    size_t addresses_max = 1024;
  };
  struct Answer {
    std::vector<std::string> addresses;  // IP literals; never empty
    bool cut = false;                    // there were more than addresses_max
  };

  Resolver(runtime::Loop& loop, Options options);
  ~Resolver();
  Resolver(const Resolver&) = delete;

  // kNotFound: the name does not exist or has no address. kUnavailable: no server answered in time, or with an error.
  runtime::Task<Result<Answer>> Resolve(std::string name);

  // Whether `host` is written as a DNS name: letters, digits, '-', '_' and '.', not an IP literal.
  static bool IsName(std::string_view host);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::net
