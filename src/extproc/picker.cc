#include "extproc/picker.h"

#include <array>

#include "extproc/health_service.h"
#include "observe/log.h"
#include "openai/error_body.h"

namespace sluice::extproc {

using runtime::Task;

// One ext_proc stream: the call, the protocol on it, and who decides.
class Picker::Stream final : public net::GrpcHandler, private ReplySink {
 public:
  Stream(Picker& picker, net::GrpcCall& call)
      : call_(call), director_(*picker.parts_), protocol_(picker.stream_parts_, director_, *this) {}

  void OnMessage(std::string_view message) override { protocol_.OnMessage(message); }
  void OnEnd() override { protocol_.OnEnd(); }
  void OnClosed() override { protocol_.OnGone(); }

 private:
  std::string& Begin() override { return call_.closed() ? lost_ : call_.BeginMessage(); }
  void End() override {
    if (!call_.closed()) call_.EndMessage();
    lost_.clear();
  }
  void Close(int grpc_status, std::string_view message) override { call_.Close(grpc_status, message); }

  net::GrpcCall& call_;
  PoolDirector director_;
  ExtProcStream protocol_;
  std::string lost_;  // what is said when a message before it was too large for the peer, and ended the call
};

Picker::Picker(runtime::Loop& loop, PickerOptions options)
    : loop_(loop),
      options_(std::move(options)),
      rng_(options_.seed != 0 ? options_.seed : EntropySeed()),
      metrics_(registry_),
      client_(loop, {}),
      reader_({.bytes_max = options_.stream.body_bytes_max}),
      receipts_({.count_max = options_.receipts_max, .bytes_max = options_.receipts_bytes_max}),
      debug_(loop_, pools_, receipts_, registry_, metrics_),
      stream_parts_{.options = options_.stream, .rng = rng_, .scratch = scratch_},
      health_server_(loop, {}, net::GrpcCall::Accept(health_methods_)),
      metrics_server_(loop, {.error_body = [](const Error& error) { return openai::ErrorBody(error); }},
                      [this](net::ServerExchange& exchange) { return Handle(exchange); }) {}

Picker::~Picker() = default;

Result<std::unique_ptr<Picker>> Picker::Open(runtime::Loop& loop, PickerOptions options) {
  std::unique_ptr<Picker> picker(new Picker(loop, std::move(options)));
  Picker& p = *picker;
  p.options_.pool.seed = p.options_.seed;
  auto pool = serving::ServingPool::Open(loop, p.client_, p.metrics_, p.options_.pool);
  if (!pool) return tl::unexpected(pool.error());
  serving::ServingPool& serving = **pool;
  if (const Status added = p.pools_.Add(std::move(*pool)); !added) return tl::unexpected(added.error());
  p.parts_.emplace(DirectorParts{.loop = loop,
                                 .clock = p.clock_,
                                 .reader = p.reader_,
                                 .pool = serving,
                                 .metrics = p.metrics_,
                                 .receipts = p.receipts_,
                                 .rng = p.rng_,
                                 .note_log = p.note_log_,
                                 .emit_scores = p.options_.emit_scores});
  if (p.options_.tls) {
    p.options_.tls->keep_buffers = true;  // an Envoy has one connection a worker
    auto tls = net::TlsFiles::Open(loop, *p.options_.tls, "extproc");
    if (!tls) return tl::unexpected(tls.error());
    p.tls_ = std::move(*tls);
  }
  p.methods_.receive_bytes_max = p.options_.receive_bytes_max;
  p.methods_.send_bytes_max = p.options_.send_bytes_max;
  p.methods_.by_path.emplace("/" + std::string(kExtProcService) + "/Process",
                             [&p](net::GrpcCall& call) { return std::make_unique<Stream>(p, call); });
  if (p.options_.health_on_main_port) AddHealthService(p.methods_, [] { return true; });
  AddHealthService(p.health_methods_, [&p] { return p.Serving(); });
  net::Http2ServerOptions server{.session = {.streams_max = p.options_.streams_max},
                                 .tls = p.tls_ ? &p.tls_->context() : nullptr};
  p.server_.emplace(loop, server, net::GrpcCall::Accept(p.methods_));
  return picker;
}

Task<> Picker::Handle(net::ServerExchange& exchange) {
  const net::MessageHead& head = exchange.head();
  serving::HttpReply reply{.status = 405, .body = openai::DetailBody("Method Not Allowed")};
  if (head.method == "GET" || head.method == "HEAD") {
    auto told = debug_.Get(head.path(), head.query());
    reply = told ? std::move(*told) : serving::HttpReply{.status = 404, .body = openai::DetailBody("Not Found")};
  }
  const std::array<net::Header, 1> headers = {net::Header{"content-type", reply.type}};
  co_await exchange.Respond(reply.status, headers, reply.body);
}

// The pool has been read when this is called, so health says from the beginning what is true.
Status Picker::Listen() {
  if (const Status listening = server_->Listen({options_.host, options_.port}); !listening) return listening;
  if (const Status listening = health_server_.Listen({options_.host, options_.health_port}); !listening) {
    return listening;
  }
  if (const Status listening = metrics_server_.Listen({options_.host, options_.metrics_port}); !listening) {
    return listening;
  }
  pools_.Start();
  if (options_.reload_certificate) tls_->Watch();
  return {};
}

Task<size_t> Picker::Drain(Duration timeout) {
  BeginDrain();
  const size_t cut = co_await server_->Drain(timeout);
  co_await health_server_.Drain(Duration::zero());
  co_await metrics_server_.Drain(Duration::zero());
  for (const auto& pool : pools_.all()) pool->SaveState();
  co_return cut;
}

}  // namespace sluice::extproc
