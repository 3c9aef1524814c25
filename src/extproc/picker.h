// Picker: `sluice epp` without its flags: the ext_proc service, health, the metrics and debug port, and the pool that
// decides. Thread rule: one loop. Ownership: owns servers, pool, receipts and metrics. Limits: those of its parts.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/rng.h"
#include "codec/json/reader.h"
#include "extproc/ext_proc_stream.h"
#include "extproc/pool_director.h"
#include "net/grpc_server.h"
#include "net/http2_server.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "net/tls_files.h"
#include "observe/metrics.h"
#include "schedule/receipt_ring.h"
#include "serving/debug_routes.h"
#include "serving/pools.h"
#include "serving/router_metrics.h"

namespace sluice::extproc {

struct PickerOptions {
  std::string host = "0.0.0.0";
  uint16_t port = 9002;
  uint16_t health_port = 9003;
  uint16_t metrics_port = 9090;
  serving::PoolOptions pool;
  std::optional<net::TlsContext::Options> tls =
      net::TlsContext::Options{};   // of the ext_proc port; nothing: clear text
  bool reload_certificate = false;  // when its files change
  bool health_on_main_port = false;
  bool emit_scores = false;
  ExtProcStream::Options stream;
  size_t receive_bytes_max = 4 * 1024 * 1024;
  size_t send_bytes_max = 4 * 1024 * 1024;
  uint32_t streams_max = 20'000;  // of one connection: an Envoy worker has one for all of its requests
  size_t receipts_max = 10'000;
  size_t receipts_bytes_max = 64 * 1024 * 1024;
  uint64_t seed = 0;  // 0: the system's
};

class Picker {
 public:
  static Result<std::unique_ptr<Picker>> Open(runtime::Loop& loop, PickerOptions options);
  ~Picker();
  Picker(const Picker&) = delete;

  Status Listen();
  const net::Address& address() const { return server_->address(); }
  const net::Address& health_address() const { return health_server_.address(); }
  const net::Address& metrics_address() const { return metrics_server_.address(); }

  // Not ready any more, while requests are still served, so that who asks for health sends new ones elsewhere.
  void BeginDrain() { draining_ = true; }
  // Then no new ones; returns when those under way are done or after `timeout`. How many connections were cut.
  runtime::Task<size_t> Drain(Duration timeout);

 private:
  class Stream;

  Picker(runtime::Loop& loop, PickerOptions options);
  bool Serving() const { return !draining_; }

  // The metrics and debug port.
  runtime::Task<> Handle(net::ServerExchange& exchange);

  runtime::Loop& loop_;
  PickerOptions options_;
  SystemClock clock_;
  Rng rng_;
  observe::Registry registry_;
  serving::RouterMetrics metrics_;
  net::HttpClient client_;
  codec::JsonReader reader_;
  schedule::ReceiptRing receipts_;
  observe::Every note_log_{10};
  ExtProcStream::Scratch scratch_;
  serving::Pools pools_;  // one
  serving::DebugRoutes debug_;
  std::optional<DirectorParts> parts_;
  ExtProcStream::Parts stream_parts_;
  std::unique_ptr<net::TlsFiles> tls_;
  net::GrpcMethods methods_;
  net::GrpcMethods health_methods_;
  bool draining_ = false;
  std::optional<net::Http2Server> server_;
  net::Http2Server health_server_;
  net::HttpServer metrics_server_;
};

}  // namespace sluice::extproc
