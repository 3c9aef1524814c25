#include "extproc/health_service.h"

#include <memory>

#include "extproc/proto_writer.h"

namespace sluice::extproc {
namespace {

enum ServingStatus : uint32_t { kServing = 1, kNotServing = 2 };

// A method with one message each way.
class UnaryHandler final : public net::GrpcHandler {
 public:
  using Answer = std::function<void(std::string& out)>;
  UnaryHandler(net::GrpcCall& call, Answer answer) : call_(call), answer_(std::move(answer)) {}

  void OnMessage(std::string_view) override {
    answer_(call_.BeginMessage());
    call_.EndMessage();
    call_.Close(net::kGrpcOk, "");
  }
  void OnEnd() override { call_.Close(net::kGrpcInvalidArgument, "the request has no message"); }

 private:
  net::GrpcCall& call_;
  Answer answer_;
};

// HealthCheckResponse {status = 1}
void WriteStatus(bool serving, std::string& out) { ProtoWriter(out).Varint(1, serving ? kServing : kNotServing); }

// HealthListResponse {statuses = 1: map to HealthCheckResponse}
void WriteList(bool serving, std::string& out) {
  ProtoWriter writer(out);
  for (const std::string_view service :
       {std::string_view(), std::string_view("liveness"), std::string_view("readiness"), kExtProcService}) {
    const size_t entry = writer.Open(1);
    writer.Bytes(1, service);
    const size_t status = writer.Open(2);
    WriteStatus(serving, out);
    writer.Close(status);
    writer.Close(entry);
  }
}

}  // namespace

void AddHealthService(net::GrpcMethods& methods, const std::function<bool()>& serving) {
  methods.by_path.emplace("/grpc.health.v1.Health/Check", [serving](net::GrpcCall& call) {
    return std::make_unique<UnaryHandler>(call, [serving](std::string& out) { WriteStatus(serving(), out); });
  });
  methods.by_path.emplace("/grpc.health.v1.Health/List", [serving](net::GrpcCall& call) {
    return std::make_unique<UnaryHandler>(call, [serving](std::string& out) { WriteList(serving(), out); });
  });
}

}  // namespace sluice::extproc
