// What the protocol costs of its own, without a decision and without sockets: a whole exchange, and one streamed piece.
#include <benchmark/benchmark.h>

#include "extproc/testing.h"

namespace sluice::extproc {
namespace {

// Forgets what it is told.
class NoAnswers final : public ReplySink {
 public:
  std::string& Begin() override {
    answer_.clear();
    return answer_;
  }
  void End() override { benchmark::DoNotOptimize(answer_.data()); }
  void Close(int, std::string_view) override {}

 private:
  std::string answer_;
};

class FixedDirector final : public Director {
 public:
  tl::expected<Routing, Refusal> AnyEndpoint() override { return Routing{.destination = "10.0.0.2:8000"}; }
  bool Prepare(const RequestText&, std::function<void()>) override { return true; }
  tl::expected<Routing, Refusal> Route(const RequestText&) override {
    return Routing{.destination = "10.0.0.2:8000", .streaming = true};
  }
  void OnResponseHead(int, std::string_view, bool, std::vector<std::pair<std::string, std::string>>&) override {}
  void OnResponseBytes(std::string_view) override {}
  void OnEnd(EndCause) override {}
};

const std::string& RequestHead() {
  static const std::string message = HeadMessage(2, {{":authority", "gateway.example.com"},
                                                     {":path", "/v1/chat/completions"},
                                                     {":method", "POST"},
                                                     {":scheme", "http"},
                                                     {"user-agent", "openai/1.0"},
                                                     {"accept", "*/*"},
                                                     {"content-type", "application/json"},
                                                     {"authorization", "Bearer 0123456789"},
                                                     {"x-forwarded-proto", "http"},
                                                     {"x-request-id", "0e1bd7a3-3c0a-4fd0-9d9e-0123456789ab"}});
  return message;
}

void BM_Exchange(benchmark::State& state) {
  const std::string body = BodyMessage(4, std::string(static_cast<size_t>(state.range(0)), 'x'), false);
  const std::string end = BodyMessage(4, "", true);
  const std::string response = HeadMessage(3, {{":status", "200"}, {"content-type", "text/event-stream"}});
  const std::string response_end = BodyMessage(5, "", true);
  Rng rng(1);
  ExtProcStream::Scratch scratch;
  FixedDirector director;
  NoAnswers sink;
  for (auto _ : state) {
    ExtProcStream stream({.options = {}, .rng = rng, .scratch = scratch}, director, sink);
    stream.OnMessage(RequestHead());
    stream.OnMessage(body);
    stream.OnMessage(end);
    stream.OnMessage(response);
    stream.OnMessage(response_end);
    stream.OnGone();
  }
}
BENCHMARK(BM_Exchange)->Arg(1000)->Arg(1'000'000);

void BM_StreamedPiece(benchmark::State& state) {
  const std::string piece = BodyMessage(5, std::string(250, 'x'), false);
  Rng rng(1);
  ExtProcStream::Scratch scratch;
  FixedDirector director;
  NoAnswers sink;
  ExtProcStream stream({.options = {}, .rng = rng, .scratch = scratch}, director, sink);
  stream.OnMessage(RequestHead());
  stream.OnMessage(BodyMessage(4, "{}", true));
  stream.OnMessage(HeadMessage(3, {{":status", "200"}}));
  for (auto _ : state) stream.OnMessage(piece);
  stream.OnGone();
}
BENCHMARK(BM_StreamedPiece);

}  // namespace
}  // namespace sluice::extproc
