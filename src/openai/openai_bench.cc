// What the surface costs a request and a streamed token, and what reading a body costs a gateway.
#include <benchmark/benchmark.h>

#include "codec/json/reader.h"
#include "openai/chat_request.h"
#include "openai/stream.h"

namespace sluice::openai {
namespace {

std::string Conversation(size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += "The harbour master writes each arrival in a ledger. ";
  return R"({"model":"m","messages":[{"role":"system","content":")" + text +
         R"("},{"role":"user","content":"hi"}],"stream":true})";
}

ModelLimits Limits() {
  ModelLimits limits;
  limits.names = {"m"};
  limits.max_model_len = 1 << 20;
  limits.vocab_size = 50'000;
  return limits;
}

void BM_ParseChatRequest(benchmark::State& state) {
  const std::string body = Conversation(static_cast<size_t>(state.range(0)));
  const ModelLimits limits = Limits();
  for (auto _ : state) benchmark::DoNotOptimize(ParseChatRequest(body, limits));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(body.size()));
}
BENCHMARK(BM_ParseChatRequest)->Arg(100)->Arg(4'000)->Arg(100'000);

void BM_JsonReader(benchmark::State& state) {
  const std::string body = Conversation(static_cast<size_t>(state.range(0)));
  codec::JsonReader reader;
  for (auto _ : state) benchmark::DoNotOptimize(reader.Parse(body)->Find("model"));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(body.size()));
}
BENCHMARK(BM_JsonReader)->Arg(100)->Arg(4'000)->Arg(100'000);

void BM_ChatStreamEvent(benchmark::State& state) {
  const ChatStream stream({"chatcmpl-0123456789abcdef", 1'700'000'000, "model", "fingerprint"}, TokenStyle::kText);
  std::string out;
  for (auto _ : state) {
    out.clear();
    stream.AppendDelta(out, {.index = 0, .content = " token"});
    benchmark::DoNotOptimize(out.data());
  }
}
BENCHMARK(BM_ChatStreamEvent);

}  // namespace
}  // namespace sluice::openai
