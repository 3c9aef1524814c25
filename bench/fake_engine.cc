// fake_engine: the cheapest possible model server, so that a benchmark measures what stands in front of it.
//   fake_engine PORT [TOKENS] [INTERVAL_MS] [METRICS_FILE]
// POST answers a fixed completion; with "stream":true it sends TOKENS events, INTERVAL_MS apart (0: back to back).
// GET /metrics, /v1/models and /health answer what a router asks for; with METRICS_FILE it serves that page, on every
// address of the machine, so that 127.0.0.1, 127.0.0.2, ... are as many engines. Port 0 takes a free one; the first
// line of output is the port.
// POST /fake?tokens=100&interval_ms=10&burst=8 changes what streams are from then on (burst: events that leave
// together, each interval); the answer, and GET /fake's, has what was served so far: {"requests":12,"events":2400}.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "base/text.h"
#include "net/http_server.h"
#include "net/query.h"
#include "runtime/signals.h"

namespace sluice {
namespace {

int tokens = 200;
int burst = 1;
Duration interval{0};
uint64_t requests_served = 0;
uint64_t events_served = 0;

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

void Configure(std::string_view query) {
  const auto number = [query](std::string_view name) { return ParseNumber<double>(net::QueryValue(query, name)); };
  if (const auto n = number("tokens")) tokens = static_cast<int>(*n);
  if (const auto n = number("burst")) burst = std::max(1, static_cast<int>(*n));
  if (const auto n = number("interval_ms")) interval = FromSeconds(*n / 1e3);
}

// The next event of a stream; no two of its events are alike (some routers end a stream that repeats itself).
void AppendEvent(std::string& out, int index) {
  char event[320];
  const int n = std::snprintf(
      event, sizeof event,
      "data: {\"id\":\"chatcmpl-98b12238bad99d1e\",\"object\":\"chat.completion.chunk\",\"created\":1795273246,"
      "\"model\":\"fake\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"token%d \"},\"logprobs\":null,"
      "\"finish_reason\":null,\"token_ids\":null}]}\n\n",
      index);
  out.append(event, static_cast<size_t>(n));
}

runtime::Task<> Stream(net::ServerExchange& exchange) {
  const std::array<net::Header, 1> stream = {net::Header{"content-type", "text/event-stream; charset=utf-8"}};
  exchange.Start(200, stream);
  runtime::Timer timer(exchange.ClientReadable().loop());
  TimePoint next = exchange.ClientReadable().loop().Now();
  const int count = tokens;  // of this stream; they may be changed while it runs
  std::string events;
  for (int i = 0; i < count && !exchange.client_gone();) {
    events.clear();
    for (const int end = std::min(count, i + burst); i < end; ++i) AppendEvent(events, i);
    exchange.Write(events);
    if (exchange.blocked()) co_await exchange.Flush();
    if (interval > Duration::zero()) {
      next += interval;
      timer.Set(next);
      co_await runtime::AnyOf(timer);
    }
  }
  if (!exchange.client_gone()) exchange.Write(kStreamEnd, /*last=*/true);
  if (exchange.blocked()) co_await exchange.Flush();
  if (exchange.client_gone()) co_return;
  ++requests_served;
  events_served += static_cast<uint64_t>(count);
}

runtime::Task<> Handle(net::ServerExchange& exchange) {
  const std::string_view path = exchange.head().path();
  const std::array<net::Header, 1> json = {net::Header{"content-type", "application/json"}};
  if (path == "/fake") {
    if (exchange.head().method == "POST") Configure(exchange.head().query());
    const std::string served =
        "{\"requests\":" + std::to_string(requests_served) + ",\"events\":" + std::to_string(events_served) + "}";
    co_await exchange.Respond(200, json, served);
    co_return;
  }
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
    ++requests_served;
    co_await exchange.Respond(200, json, kAnswer);
    co_return;
  }
  co_await Stream(exchange);
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
  net::HttpServer server(loop, {}, &Handle);
  const Status listening = server.Listen({argc > 4 ? "*" : "127.0.0.1", ParseNumber<uint16_t>(argv[1]).value_or(0)});
  if (!listening) {
    std::fprintf(stderr, "fake_engine: %s\n", listening.error().message.c_str());
    return 1;
  }
  std::printf("%u\n", server.address().port);
  std::fflush(stdout);
  runtime::RunUntilSignal(loop);
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
