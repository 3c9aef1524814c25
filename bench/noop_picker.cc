// noop_picker: the cheapest endpoint picker: it answers each message of Envoy's ext_proc at once, reads no body and
// takes the endpoints in turn. What Envoy and this cost together is the floor for Envoy and any picker.
//   noop_picker PORT ENDPOINT...
// In clear text. The health service answers, too.
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "base/text.h"
#include "extproc/health_service.h"
#include "extproc/messages.h"
#include "net/grpc_server.h"
#include "net/http2_server.h"
#include "runtime/signals.h"

namespace sluice {
namespace {

using extproc::ProcessingRequest;
using extproc::Side;

class Noop final : public net::GrpcHandler {
 public:
  Noop(net::GrpcCall& call, std::string_view endpoint) : call_(call), endpoint_(endpoint) {}

  void OnMessage(std::string_view message) override {
    static ProcessingRequest request;
    if (!extproc::ReadProcessingRequest(message, request)) {
      call_.Close(net::kGrpcInvalidArgument, "no ProcessingRequest");
      return;
    }
    std::string& out = call_.BeginMessage();
    const extproc::RoutingMetadata metadata{.destination = endpoint_, .scores = {}};
    switch (request.kind) {
      case ProcessingRequest::Kind::kRequestHeaders: {
        extproc::HeadMutation mutation;
        mutation.set.emplace_back(extproc::kDestination, endpoint_);
        mutation.clear_route_cache = true;
        extproc::WriteHeaders(Side::kRequest, mutation, &metadata, out);
        break;
      }
      case ProcessingRequest::Kind::kResponseHeaders:
        extproc::WriteHeaders(Side::kResponse, {}, nullptr, out);
        break;
      case ProcessingRequest::Kind::kRequestBody:
        extproc::WriteBody(Side::kRequest, request.body, request.end_of_stream, out);
        break;
      case ProcessingRequest::Kind::kResponseBody:
        extproc::WriteBody(Side::kResponse, request.body, request.end_of_stream, out);
        break;
      case ProcessingRequest::Kind::kRequestTrailers:
        extproc::WriteTrailers(Side::kRequest, out);
        break;
      case ProcessingRequest::Kind::kResponseTrailers:
        extproc::WriteTrailers(Side::kResponse, out);
        break;
      case ProcessingRequest::Kind::kNone:
        break;
    }
    call_.EndMessage();
  }
  void OnEnd() override { call_.Close(net::kGrpcOk, ""); }

 private:
  net::GrpcCall& call_;
  const std::string_view endpoint_;
};

int Main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: noop_picker PORT ENDPOINT...\n");
    return 2;
  }
  const std::vector<std::string> endpoints(argv + 2, argv + argc);
  size_t next = 0;
  runtime::Signals::Block({SIGTERM, SIGINT});
  runtime::Loop loop;
  net::GrpcMethods methods;
  methods.by_path.emplace("/" + std::string(extproc::kExtProcService) + "/Process", [&](net::GrpcCall& call) {
    return std::make_unique<Noop>(call, endpoints[next++ % endpoints.size()]);
  });
  extproc::AddHealthService(methods, [] { return true; });
  net::Http2Server server(loop, {.session = {.streams_max = 10'000}}, net::GrpcCall::Accept(methods));
  const Status listening = server.Listen({"127.0.0.1", ParseNumber<uint16_t>(argv[1]).value_or(0)});
  if (!listening) {
    std::fprintf(stderr, "noop_picker: %s\n", listening.error().message.c_str());
    return 1;
  }
  runtime::RunUntilSignal(loop);
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
