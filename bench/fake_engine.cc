// fake_engine: the cheapest possible model server, so that a benchmark measures what stands in front of it.
//   fake_engine PORT [TOKENS] [INTERVAL_MS] [METRICS_FILE]
// POST answers a fixed completion; with "stream":true it sends TOKENS events, INTERVAL_MS apart (0: back to back).
// GET /metrics, /v1/models and /health answer what a router asks for; with METRICS_FILE it serves that page, on every
// address of the machine, so that 127.0.0.1, 127.0.0.2, ... are as many engines. Port 0 takes a free one; the first
// line of output is the port.
#include <array>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "base/text.h"
#include "net/http_server.h"
#include "runtime/signals.h"

namespace sluice {
namespace {

int tokens = 200;
Duration interval{0};

constexpr std::string_view kModels =
    R"({"object":"list","data":[{"id":"fake","object":"model","created":1,"owned_by":"vllm","root":"fake","parent":null,"max_model_len":32768}]})";
std::string metrics_page =
    "vllm:num_requests_waiting{engine=\"0\",model_name=\"fake\"} 0.0\n"
    "vllm:num_requests_running{engine=\"0\",model_name=\"fake\"} 1.0\n"
    "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"fake\"} 0.1\n";
constexpr std::string_view kAnswer =
    R"({"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"fake","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"total_tokens":101,"completion_tokens":1}})";

constexpr std::string_view kStreamEnd =
    R"(data: {"id":"chatcmpl-98b12238bad99d1e","object":"chat.completion.chunk","created":1795273246,"model":"fake","choices":[{"index":0,"delta":{},"finish_reason":"length"}],"usage":{"prompt_tokens":100,"total_tokens":200,"completion_tokens":100}})"
    "\n\ndata: [DONE]\n\n";

runtime::Task<> Handle(net::ServerExchange& exchange) {
  const std::string_view path = exchange.head().path();
  const std::array<net::Header, 1> json = {net::Header{"content-type", "application/json"}};
  if (exchange.head().method == "GET") {
    const bool metrics = path == "/metrics";
    co_await exchange.Respond(200, json,
                              metrics                ? std::string_view(metrics_page)
                              : path == "/v1/models" ? kModels
                                                     : std::string_view("{}"));
    co_return;
  }
  const auto body = co_await exchange.ReadBody();
  if (!body) co_return;
  if (body->find("\"stream\":true") == std::string::npos && body->find("\"stream\": true") == std::string::npos) {
    co_await exchange.Respond(200, json, kAnswer);
    co_return;
  }
  const std::array<net::Header, 1> stream = {net::Header{"content-type", "text/event-stream; charset=utf-8"}};
  exchange.Start(200, stream);
  runtime::Timer timer(exchange.ClientReadable().loop());
  TimePoint next = exchange.ClientReadable().loop().Now();
  for (int i = 0; i < tokens && !exchange.client_gone(); ++i) {
    char event[320];
    const int n = std::snprintf(
        event, sizeof event,
        "data: {\"id\":\"chatcmpl-98b12238bad99d1e\",\"object\":\"chat.completion.chunk\",\"created\":1795273246,"
        "\"model\":\"fake\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"token%d \"},\"logprobs\":null,"
        "\"finish_reason\":null,\"token_ids\":null}]}\n\n",
        i);
    exchange.Write(std::string_view(event, static_cast<size_t>(n)));
    if (exchange.blocked()) co_await exchange.Flush();
    if (interval > Duration::zero()) {
      next += interval;
      timer.Set(next);
      co_await runtime::AnyOf(timer);
    }
  }
  if (!exchange.client_gone()) exchange.Write(kStreamEnd, /*last=*/true);
  if (exchange.blocked()) co_await exchange.Flush();
}

runtime::Task<> StopOnSignal(runtime::Loop* loop, runtime::Signals* signals) {
  co_await signals->Next();
  loop->Stop();
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: fake_engine PORT [TOKENS] [INTERVAL_MS] [METRICS_FILE]\n");
    return 2;
  }
  if (argc > 2) tokens = ParseNumber<int>(argv[2]).value_or(200);
  if (argc > 3) interval = FromSeconds(ParseNumber<double>(argv[3]).value_or(0) / 1e3);
  if (argc > 4) {
    std::ifstream file(argv[4], std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    metrics_page = text.str();
  }
  runtime::Signals::Block({SIGTERM, SIGINT});
  runtime::Loop loop;
  runtime::Signals signals(loop, {SIGTERM, SIGINT});
  net::HttpServer server(loop, {}, &Handle);
  const Status listening = server.Listen({argc > 4 ? "*" : "127.0.0.1", ParseNumber<uint16_t>(argv[1]).value_or(0)});
  if (!listening) {
    std::fprintf(stderr, "fake_engine: %s\n", listening.error().message.c_str());
    return 1;
  }
  std::printf("%u\n", server.address().port);
  std::fflush(stdout);
  loop.Spawn(StopOnSignal(&loop, &signals));
  loop.Run();
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
