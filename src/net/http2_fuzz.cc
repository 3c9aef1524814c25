// Fuzz target: whatever bytes come, cut anywhere, a session answers or ends, and every call it began is closed: a
// server's, and a client's with requests under way. The first byte says how the input is cut; the client's preface is
// put first for the server unless its top bit is set.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "net/grpc_server.h"
#include "net/http2_client.h"
#include "runtime/loop.h"

namespace {

using namespace sluice::net;

int open_calls = 0;

class Echo final : public GrpcHandler {
 public:
  explicit Echo(GrpcCall& call) : call_(call) { ++open_calls; }
  void OnMessage(std::string_view message) override {
    if (message == "x") return call_.Close(kGrpcNotFound, message);
    call_.BeginMessage() += message;
    call_.EndMessage();
  }
  void OnEnd() override { call_.Close(kGrpcOk, ""); }
  void OnClosed() override { --open_calls; }

 private:
  GrpcCall& call_;
};

void RunClient(std::string_view input, size_t piece) {
  sluice::runtime::Loop loop;
  std::vector<std::shared_ptr<Http2Call>> calls;
  {
    Http2ClientSession session({.head_bytes_max = 1000, .headers_max = 20});
    std::string out;
    for (const std::string_view body : {"", "body", "more"}) {
      calls.push_back(std::make_shared<Http2Call>(loop));
      session.Submit({.method = "POST", .scheme = "http", .authority = "a", .target = "/", .headers = {}, .body = body},
                     calls.back());
    }
    session.Pull(out, 10'000);
    for (bool alive = true; alive && !input.empty();) {
      alive = session.Receive(input.substr(0, piece)).has_value();
      input.remove_prefix(std::min(piece, input.size()));
      Http2Call& first = *calls.front();
      if (first.session != nullptr && !first.body.empty()) session.Taken(first, first.body.size());
      if (calls.back()->head_done && calls.back()->session != nullptr) session.Cancel(*calls.back());
      out.clear();
      session.Pull(out, 10'000);
    }
  }
  for (const auto& call : calls) {
    SLUICE_CHECK(call->session == nullptr && (call->ended || !call->problem.empty()), "every call has ended");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto how = static_cast<uint8_t>(input.front());
  input.remove_prefix(1);
  const size_t piece = 1 + (how & 0x7f) * size_t{8};
  RunClient(input, piece);
  GrpcMethods methods;
  methods.receive_bytes_max = 1000;
  methods.by_path.emplace("/t.T/Echo", [](GrpcCall& call) { return std::make_unique<Echo>(call); });
  {
    Http2Session session({.streams_max = 10, .head_bytes_max = 1000, .unsent_bytes_max = 100},
                         GrpcCall::Accept(methods));
    std::string out;
    bool alive = true;
    if ((how & 0x80) == 0) alive = session.Receive("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").has_value();
    while (alive && !input.empty()) {
      alive = session.Receive(input.substr(0, piece)).has_value();
      input.remove_prefix(std::min(piece, input.size()));
      out.clear();
      session.Pull(out, 10'000);
    }
    session.Drain();
  }
  SLUICE_CHECK(open_calls == 0, "every call is closed");
  return 0;
}
