// The HTTP surface on the echo engine, over loopback sockets. What the bodies look like in detail is openai/'s tests'.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "codec/sse/sse.h"
#include "net/http_client.h"
#include "worker/engine/echo/echo_engine.h"
#include "worker/worker_server.h"

namespace sluice::worker {
namespace {

using net::ClientRequest;
using net::FetchResponse;
using net::Header;
using runtime::Task;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr Duration kPatience = std::chrono::seconds(20);

Task<> FetchAndStop(runtime::Loop* loop, net::HttpClient* client, ClientRequest request, Result<FetchResponse>* out) {
  *out = co_await client->Fetch(request, kPatience, 64 << 20);
  loop->Stop();
}

Task<> DrainAndStop(runtime::Loop* loop, WorkerServer* server, std::promise<size_t>* cut) {
  const size_t n = co_await server->Drain();
  cut->set_value(n);
  loop->Stop();
}

// Reads the first bytes of an answer's body and leaves.
Task<> ReadSomeAndLeave(runtime::Loop* loop, net::HttpClient* client, ClientRequest request, std::string* out) {
  {
    auto call = co_await client->Start(request);
    while (call && out->empty() && !call->done()) {
      co_await runtime::AnyOf(call->Readable());
      const net::ClientCall::Step step = call->Receive();
      *out += step.body;
      if (step.error) break;
    }
  }
  loop->Stop();
}

// Sends a request and leaves once `condition` holds.
Task<> SendAndLeave(runtime::Loop* loop, net::HttpClient* client, ClientRequest request,
                    const std::function<bool()>* condition) {
  {
    auto call = co_await client->Start(request);
    EXPECT_TRUE(call);
    while (!(*condition)()) co_await runtime::SleepFor(*loop, std::chrono::milliseconds(1));
  }
  loop->Stop();
}

// A worker on a thread of its own.
class Worker {
 public:
  explicit Worker(EchoOptions engine = {}, WorkerOptions options = {})
      : metrics_(registry_), pool_(std::make_unique<runtime::WorkerPool>(2, 64)) {
    engine.observer = &metrics_;
    engine_ = std::make_unique<EchoEngine>(std::move(engine));
    options.listen = {"127.0.0.1", 0};
    options.version = "9.9";
    auto server = WorkerServer::Make(loop_, *pool_, *engine_, metrics_, std::move(options));
    EXPECT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    const Status listening = server_->Listen();
    EXPECT_TRUE(listening) << listening.error().message;
    thread_ = std::thread([this] { loop_.Run(); });
  }
  ~Worker() {
    loop_.Stop();
    thread_.join();
    engine_->Shutdown();
    pool_.reset();  // before the server, as RunWorker does
  }

  FetchResponse Call(std::string_view method, std::string_view target, std::string_view body = {},
                     std::vector<Header> headers = {{"content-type", "application/json"}}) {
    runtime::Loop loop;
    net::HttpClient client(loop, {});
    Result<FetchResponse> out = Fail(Code::kInternal, "not run");
    loop.Spawn(FetchAndStop(&loop, &client, Make(method, target, body, headers), &out));
    loop.Run();
    EXPECT_TRUE(out) << out.error().message;
    return out ? std::move(*out) : FetchResponse{};
  }
  FetchResponse Post(std::string_view target, std::string_view body) { return Call("POST", target, body); }
  FetchResponse Get(std::string_view target) { return Call("GET", target, {}, {}); }

  std::string Leave(std::string_view target, std::string_view body) {
    runtime::Loop loop;
    net::HttpClient client(loop, {});
    std::string out;
    const std::vector<Header> headers = {{"content-type", "application/json"}};
    loop.Spawn(ReadSomeAndLeave(&loop, &client, Make("POST", target, body, headers), &out));
    loop.Run();
    return out;
  }

  void LeaveWhen(std::string_view target, std::string_view body,
                 const std::function<bool(const EngineStats&)>& condition) {
    runtime::Loop loop;
    net::HttpClient client(loop, {});
    const std::vector<Header> headers = {{"content-type", "application/json"}};
    const std::function<bool()> holds = [&] { return condition(engine_->Stats()); };
    loop.Spawn(SendAndLeave(&loop, &client, Make("POST", target, body, headers), &holds));
    loop.Run();
  }

  void Await(const std::function<bool(const EngineStats&)>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition(engine_->Stats())) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the engine never got there";
      std::this_thread::yield();
    }
  }
  std::future<size_t> StartDrain() {
    loop_.Post([this] { loop_.Spawn(DrainAndStop(&loop_, server_.get(), &cut_)); });
    return cut_.get_future();
  }
  EchoEngine& engine() { return *engine_; }

 private:
  ClientRequest Make(std::string_view method, std::string_view target, std::string_view body,
                     const std::vector<Header>& headers) {
    return {.address = server_->address(), .method = method, .target = target, .headers = headers, .body = body};
  }

  observe::Registry registry_;
  WorkerMetrics metrics_;
  runtime::Loop loop_;
  std::unique_ptr<EchoEngine> engine_;
  std::unique_ptr<runtime::WorkerPool> pool_;
  std::unique_ptr<WorkerServer> server_;
  std::promise<size_t> cut_;
  std::thread thread_;
};

std::vector<std::string> Events(const FetchResponse& response) {
  std::vector<std::string> out;
  codec::SseParser parser(1 << 20);
  EXPECT_TRUE(parser.Feed(response.body, [&](const codec::SseEvent& event) { out.emplace_back(event.data); }));
  EXPECT_FALSE(parser.InEvent());
  return out;
}

std::string Chat(std::string_view text, std::string_view more = {}) {
  return R"({"messages":[{"role":"user","content":")" + std::string(text) + "\"}]" + std::string(more) + "}";
}

TEST(Worker, ChatAnswersAndCountsItsCache) {
  Worker worker;
  const std::string text = "the same long question, so that its blocks are found again the second time it is asked";
  const FetchResponse first = worker.Post("/v1/chat/completions", Chat(text));
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(first.headers.Get("content-type"), "application/json");
  EXPECT_THAT(first.body, HasSubstr("\"content\":\"" + text + "\""));
  EXPECT_THAT(first.body, HasSubstr(R"("finish_reason":"stop")"));
  EXPECT_THAT(first.body, HasSubstr(R"("model":"echo")"));
  EXPECT_THAT(first.body, HasSubstr(R"("prompt_tokens_details":{"cached_tokens":0,)"));
  const FetchResponse second = worker.Post("/v1/chat/completions", Chat(text));
  EXPECT_THAT(second.body, HasSubstr(R"("prompt_tokens_details":{"cached_tokens":32,"created_cache_tokens":0)"));
}

TEST(Worker, ChatStreams) {
  Worker worker;
  const FetchResponse response = worker.Post(
      "/v1/chat/completions",
      Chat("one two", R"(,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true})"));
  EXPECT_EQ(response.headers.Get("content-type"), "text/event-stream; charset=utf-8");
  const auto events = Events(response);
  ASSERT_EQ(events.size(), 7u);  // role, "one", " tw", "o", end, usage, [DONE]
  EXPECT_THAT(events[0], HasSubstr(R"("delta":{"role":"assistant","content":""})"));
  EXPECT_THAT(events[1], HasSubstr(R"("delta":{"content":"one"})"));
  EXPECT_THAT(events[1], HasSubstr(R"("usage":{"prompt_tokens":6,"total_tokens":7,"completion_tokens":1,)"));
  EXPECT_THAT(events[4], HasSubstr(R"("delta":{},"logprobs":null,"finish_reason":"stop")"));
  EXPECT_THAT(events[5],
              HasSubstr(R"("choices":[],"usage":{"prompt_tokens":6,"total_tokens":10,"completion_tokens":4)"));
  EXPECT_EQ(events[6], "[DONE]");
}

TEST(Worker, StreamsWithoutUsageCarryTheFingerprintOnce) {
  Worker worker;
  const auto events = Events(worker.Post("/v1/chat/completions", Chat("a b", R"(,"stream":true,"n":3)")));
  int fingerprints = 0;
  for (const std::string& event : events) fingerprints += event.find("system_fingerprint") != std::string::npos ? 1 : 0;
  EXPECT_EQ(fingerprints, 1);
  EXPECT_THAT(events[events.size() - 2], HasSubstr("\"system_fingerprint\":\"sluice-9.9-echo0000\""));
}

TEST(Worker, SeveralAnswersShareThePrompt) {
  Worker worker;
  const FetchResponse chat = worker.Post("/v1/chat/completions", Chat("abcdef", R"(,"n":2,"max_tokens":1)"));
  EXPECT_THAT(chat.body, HasSubstr(R"("index":1,"message")"));
  EXPECT_THAT(chat.body, HasSubstr(R"("usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2,)"));
  const FetchResponse batch =
      worker.Post("/v1/completions", R"({"prompt":["abc","abcdef"],"n":2,"max_tokens":9,"ignore_eos":true})");
  EXPECT_THAT(batch.body, HasSubstr(R"("index":3,"text":"abcdefabcdef)"));
  EXPECT_THAT(batch.body, HasSubstr(R"("usage":{"prompt_tokens":3,"total_tokens":39,"completion_tokens":36,)"));
}

TEST(Worker, CompletionsEchoLogprobsAndTokenIds) {
  Worker worker;
  const FetchResponse echo =
      worker.Post("/v1/completions", R"({"prompt":"abcdef","echo":true,"max_tokens":1,"logprobs":1})");
  EXPECT_THAT(echo.body, HasSubstr(R"("text":"abcdefabc")"));
  EXPECT_THAT(echo.body,
              HasSubstr(R"("text_offset":[0,3,6],"token_logprobs":[null,-0.125,-0.125],"tokens":["abc","def","abc"])"));
  const FetchResponse only = worker.Post("/v1/completions", R"({"prompt":"abcdef","echo":true,"max_tokens":0})");
  EXPECT_THAT(only.body, HasSubstr(R"("text":"abcdef","logprobs":null,"finish_reason":"length")"));
  const FetchResponse ids =
      worker.Post("/v1/completions", R"({"prompt":[103,104],"max_tokens":2,"return_token_ids":true})");
  EXPECT_THAT(ids.body, HasSubstr(R"("text":"ab")"));
  EXPECT_THAT(ids.body, HasSubstr(R"("token_ids":[103,104],"prompt_logprobs":null,"prompt_token_ids":[103,104])"));
  const auto events = Events(
      worker.Post("/v1/completions", R"({"prompt":"abcdef","echo":true,"max_tokens":2,"logprobs":0,"stream":true})"));
  ASSERT_EQ(events.size(), 3u);
  EXPECT_THAT(events[0], HasSubstr(R"("text":"abcdefabc","logprobs":{"text_offset":[0,3,6])"));
  EXPECT_THAT(events[1], HasSubstr(R"("text_offset":[9])"));
}

TEST(Worker, ChatLogprobsFollowTheText) {
  Worker worker;
  const FetchResponse whole = worker.Post("/v1/chat/completions", Chat("abcé", R"(,"logprobs":true,"top_logprobs":1)"));
  EXPECT_THAT(
      whole.body,
      HasSubstr(R"("logprobs":{"content":[{"token":"abc","logprob":-0.125,"bytes":[97,98,99],"top_logprobs":[{)"));
  // "é" is cut by tokens here: its first byte's log-probabilities wait for the second.
  const auto events = Events(worker.Post("/v1/chat/completions", Chat("abé", R"(,"logprobs":true,"stream":true)")));
  std::string all;
  for (const std::string& event : events) all += event;
  EXPECT_THAT(all, HasSubstr(R"("content":"ab")"));
  EXPECT_THAT(all, HasSubstr("\"content\":\"é\""));
}

TEST(Worker, ToolCallsWholeAndStreamed) {
  Worker worker;
  const std::string call = R"(<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>)";
  const std::string tools = R"(,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])";
  const FetchResponse whole = worker.Post("/v1/chat/completions", Chat(call, tools));
  EXPECT_THAT(whole.body, HasSubstr(R"("tool_calls":[{"id":"chatcmpl-tool-)"));
  EXPECT_THAT(whole.body, HasSubstr(R"("type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}])"));
  EXPECT_THAT(whole.body, HasSubstr(R"("finish_reason":"tool_calls")"));
  const auto events = Events(worker.Post("/v1/chat/completions", Chat(call, tools + R"(,"stream":true)")));
  ASSERT_GT(events.size(), 4u);
  EXPECT_THAT(events[1], HasSubstr(R"("delta":{"content":null,"tool_calls":[{"id":"chatcmpl-tool-)"));
  EXPECT_THAT(events[1], HasSubstr(R"("index":0,"function":{"name":"f"}}])"));
  EXPECT_THAT(events[2], HasSubstr(R"("tool_calls":[{"index":0,"function":{"arguments":"{)"));
  EXPECT_THAT(events[events.size() - 2], HasSubstr(R"("finish_reason":"tool_calls")"));
  const FetchResponse none = worker.Post("/v1/chat/completions", Chat(call, tools + R"(,"tool_choice":"none")"));
  EXPECT_THAT(none.body, Not(HasSubstr("\"tool_calls\":[")));
}

TEST(Worker, IdsComeFromTheHeaderThenTheBody) {
  Worker worker;
  const std::string body = Chat("x", R"(,"request_id":"from-body")");
  const FetchResponse header = worker.Call("POST", "/v1/chat/completions", body,
                                           {{"content-type", "application/json"}, {"x-request-id", "from-header"}});
  EXPECT_THAT(header.body, HasSubstr(R"({"id":"chatcmpl-from-header")"));
  EXPECT_THAT(worker.Post("/v1/chat/completions", body).body, HasSubstr(R"({"id":"chatcmpl-from-body")"));
}

TEST(Worker, FaultsInTheirEnvelopes) {
  Worker worker({.max_model_len = 64});
  const FetchResponse model = worker.Post("/v1/chat/completions", Chat("x", R"(,"model":"other")"));
  EXPECT_EQ(model.status, 404);
  EXPECT_THAT(model.body, HasSubstr(R"("type":"NotFoundError","param":"model","code":404)"));
  EXPECT_EQ(worker.Post("/v1/chat/completions", "{").status, 400);
  EXPECT_EQ(worker.Post("/v1/chat/completions", Chat("x", R"(,"temperature":-1)")).status, 400);
  const FetchResponse context = worker.Post("/v1/completions", "{\"prompt\":\"" + std::string(400, 'x') + "\"}");
  EXPECT_EQ(context.status, 400);
  EXPECT_THAT(context.body, HasSubstr("maximum context length is 64 tokens"));
  const FetchResponse type = worker.Call("POST", "/v1/completions", "{}", {{"content-type", "text/plain"}});
  EXPECT_EQ(type.status, 400);
  EXPECT_EQ(
      type.body,
      R"({"error":{"message":"1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed",)"
      R"("type":"Bad Request","param":null,"code":400}})");
  EXPECT_EQ(worker.Get("/v1/nothing").body, R"({"detail":"Not Found"})");
  const FetchResponse method = worker.Get("/v1/chat/completions");
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.headers.Get("allow"), "POST");
  EXPECT_EQ(method.body, R"({"detail":"Method Not Allowed"})");
}

TEST(Worker, BodyAndSequenceLimits) {
  WorkerOptions options;
  options.body_bytes_max = 100;
  options.sequences_max = 2;
  Worker worker({}, options);
  EXPECT_EQ(worker.Post("/v1/completions", "{\"prompt\":\"" + std::string(100, 'x') + "\"}").status, 413);
  EXPECT_EQ(worker.Post("/v1/completions", R"({"prompt":["a","b"]})").status, 200);
  EXPECT_EQ(worker.Post("/v1/completions", R"({"prompt":["a","b","c"]})").status, 400);
}

TEST(Worker, KeysGuardV1Only) {
  WorkerOptions options;
  options.api_keys = {"secret", "other"};
  Worker worker({}, options);
  const auto status = [&](const char* value) {
    return worker.Call("GET", "/v1/models", {}, {{"authorization", value}}).status;
  };
  const FetchResponse none = worker.Get("/v1/models");
  EXPECT_EQ(none.status, 401);
  EXPECT_EQ(none.body, R"({"error":"Unauthorized"})");
  EXPECT_EQ(status("Bearer secret"), 200);
  EXPECT_EQ(status("bearer other"), 200);
  EXPECT_EQ(status("Bearer secre"), 401);
  EXPECT_EQ(status("Basic secret"), 401);
  EXPECT_EQ(worker.Get("/health").status, 200);
  EXPECT_EQ(worker.Get("/metrics").status, 200);
}

TEST(Worker, FullQueueIs429WithRetryAfter) {
  Worker worker({.max_num_seqs = 1, .waiting_max = 1, .token_delay = std::chrono::hours(1)});
  const std::string body = R"({"prompt":"abcdef","max_tokens":2,"stream":true})";
  EXPECT_THAT(worker.Leave("/v1/completions", body), HasSubstr("abc"));
  worker.Await([](const EngineStats& stats) { return stats.running == 0; });  // the client left: its request ended
  // Two prompts: one runs for ever, the other waits; a third finds the queue full, and nothing of it stays.
  const FetchResponse full =
      worker.Post("/v1/completions", R"({"prompt":["abcdef","abcdef","abcdef"],"max_tokens":2})");
  EXPECT_EQ(full.status, 429);
  EXPECT_TRUE(full.headers.Get("retry-after"));
  EXPECT_THAT(full.body, HasSubstr(R"("type":"RateLimitError")"));
  worker.Await([](const EngineStats& stats) { return stats.running + stats.waiting == 0; });
  EXPECT_THAT(worker.Get("/metrics").body,
              HasSubstr(R"(vllm:admission_rejections_total{model_name="echo",reason="max_num_queued_reqs"} 1)"));
}

TEST(Worker, AClientThatLeavesBeforeTheFirstTokenEndsItsRequest) {
  Worker worker({.prefill_delay_per_token = std::chrono::hours(1)});
  worker.LeaveWhen("/v1/chat/completions", Chat("abc"), [](const EngineStats& stats) { return stats.running == 1; });
  worker.Await([](const EngineStats& stats) { return stats.running == 0; });
  EXPECT_THAT(worker.Get("/metrics").body,
              HasSubstr(R"(vllm:request_success_total{engine="0",finished_reason="abort",model_name="echo"} 1)"));
}

TEST(Worker, AnEngineThatDiesIs500Then503) {
  Worker worker({.prefill_delay_per_token = std::chrono::hours(1)});
  std::thread killer([&] {
    worker.Await([](const EngineStats& stats) { return stats.running == 1; });
    worker.engine().Die("test");
  });
  const FetchResponse dead = worker.Post("/v1/chat/completions", Chat("abc"));
  killer.join();
  EXPECT_EQ(dead.status, 500);
  EXPECT_THAT(dead.body, HasSubstr(R"("type":"InternalServerError")"));
  EXPECT_EQ(worker.Get("/health").status, 503);
  EXPECT_EQ(worker.Post("/v1/chat/completions", Chat("abc")).status, 503);
}

TEST(Worker, DeathInAStreamIsAnErrorEventThenDone) {
  Worker worker({.token_delay = std::chrono::hours(1)});
  std::thread killer([&] {
    worker.Await([](const EngineStats& stats) { return stats.running == 1; });
    worker.engine().Die("test");
  });
  const FetchResponse response = worker.Post("/v1/chat/completions", Chat("abcdef", R"(,"stream":true)"));
  killer.join();
  if (response.status == 200) {  // the first token went out before the end
    const auto events = Events(response);
    ASSERT_GE(events.size(), 2u);
    EXPECT_THAT(events[events.size() - 2], HasSubstr(R"("type":"InternalServerError","param":null,"code":500)"));
    EXPECT_EQ(events.back(), "[DONE]");
  } else {
    EXPECT_EQ(response.status, 500);
  }
}

TEST(Worker, DrainFinishesWhatRunsAndRefusesTheRest) {
  Worker worker({.token_delay = std::chrono::milliseconds(20)});
  auto running =
      std::async(std::launch::async, [&] { return worker.Post("/v1/chat/completions", Chat("one two three")); });
  worker.Await([](const EngineStats& stats) { return stats.running == 1; });
  std::future<size_t> cut = worker.StartDrain();
  const FetchResponse finished = running.get();
  EXPECT_EQ(finished.status, 200);
  EXPECT_THAT(finished.body, HasSubstr("one two three"));
  EXPECT_EQ(cut.get(), 0u);
}

TEST(Worker, WhileDrainingNewWorkAndHealthAre503) {
  Worker worker({.token_delay = std::chrono::hours(1)});
  std::future<size_t> cut;
  worker.LeaveWhen("/v1/chat/completions", Chat("abcdef"), [&](const EngineStats& stats) {
    if (stats.running == 0) return false;
    if (!cut.valid()) cut = worker.StartDrain();
    // Until the drain has begun this is a 404: an unknown model is refused at once.
    const FetchResponse refused = worker.Post("/v1/chat/completions", Chat("x", R"(,"model":"none")"));
    if (refused.status != 503) return false;
    EXPECT_TRUE(refused.headers.Get("retry-after"));
    EXPECT_EQ(worker.Get("/health").status, 503);
    return true;
  });
  EXPECT_EQ(cut.get(), 0u);
}

TEST(Worker, ModelsAliasesAndAdapters) {
  WorkerOptions options;
  options.served_names = {"first", "second"};
  Worker worker({.loras = {{"tuned", "tuned.gguf"}}}, options);
  const std::string models = worker.Get("/v1/models").body;
  EXPECT_THAT(models, HasSubstr(R"({"id":"first","object":"model")"));
  EXPECT_THAT(models, HasSubstr(R"("id":"second")"));
  EXPECT_THAT(models, HasSubstr(R"("root":"tuned.gguf","parent":"first","max_model_len":32768)"));
  EXPECT_THAT(worker.Post("/v1/chat/completions", Chat("x", R"(,"model":"second")")).body,
              HasSubstr(R"("model":"first")"));
  EXPECT_THAT(worker.Post("/v1/chat/completions", Chat("x", R"(,"model":"tuned")")).body,
              HasSubstr(R"("model":"tuned")"));
}

TEST(Worker, TokenizeDetokenizeRender) {
  Worker worker;
  EXPECT_EQ(worker.Post("/tokenize", R"({"prompt":"a b","return_token_strs":true})").body,
            R"({"count":2,"max_model_len":32768,"tokens":[103,8552],"token_strs":["a","Ġb"]})");
  EXPECT_THAT(worker.Post("/tokenize", Chat("a")).body,
              HasSubstr(R"({"count":4,"max_model_len":32768,"tokens":[2,103,5,3])"));
  EXPECT_EQ(worker.Post("/detokenize", R"({"tokens":[2,103]})").body, R"({"prompt":"<|user|>a"})");
  const std::string render = worker.Post("/v1/chat/completions/render", Chat("a", R"(,"max_tokens":5)")).body;
  EXPECT_THAT(render, HasSubstr(R"("token_ids":[2,103,5,3],"token_offsets":null)"));
  EXPECT_THAT(render, HasSubstr(R"("max_tokens":5)"));
  const std::string list = worker.Post("/v1/completions/render", R"({"prompt":["a","b"]})").body;
  EXPECT_TRUE(list.starts_with("[{\"request_id\":\"cmpl-"));
  EXPECT_THAT(list, HasSubstr("-1\",\"token_ids\":[104]"));
}

TEST(Worker, Embeddings) {
  Worker worker({.embedding_size = 2});
  const FetchResponse response = worker.Post("/v1/embeddings", R"({"input":["a","bb"]})");
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body, HasSubstr(R"("data":[{"index":0,"object":"embedding","embedding":[)"));
  EXPECT_THAT(response.body, HasSubstr(R"("usage":{"prompt_tokens":2,"total_tokens":2)"));
  EXPECT_THAT(worker.Post("/v1/embeddings", R"({"input":[[103]],"encoding_format":"base64"})").body,
              HasSubstr(R"("embedding":"AAAAAAAAgD8=")"));
}

TEST(Worker, AdminRoutes) {
  WorkerOptions options;
  options.kv_events.enable_kv_cache_events = true;
  options.kv_events.topic = "kv@x@echo";
  Worker worker({}, options);
  EXPECT_EQ(worker.Get("/version").body, R"({"version":"9.9"})");
  EXPECT_EQ(worker.Get("/load").body, R"({"server_load":0})");
  EXPECT_EQ(worker.Call("POST", "/ping", "", {}).status, 200);
  EXPECT_EQ(worker.Call("POST", "/reset_prefix_cache", "", {}).body, R"({"success":true})");
  EXPECT_THAT(worker.Get("/kv_event_sources").body,
              HasSubstr(R"({"0":{"enable_kv_cache_events":true,"publisher":"zmq")"));
}

TEST(Worker, MetricsAfterRequests) {
  Worker worker;
  const std::string text = "a question that is long enough to fill more than one block of sixteen tokens";
  worker.Post("/v1/chat/completions", Chat(text));
  worker.Post("/v1/chat/completions", Chat(text, R"(,"max_tokens":2)"));
  const std::string text_now = worker.Get("/metrics").body;
  for (const char* line :
       {R"(vllm:request_success_total{engine="0",finished_reason="stop",model_name="echo"} 1)",
        R"(vllm:request_success_total{engine="0",finished_reason="length",model_name="echo"} 1)",
        R"(vllm:num_requests_running{engine="0",model_name="echo"} 0)",
        R"(vllm:prompt_tokens_by_source_total{engine="0",model_name="echo",source="local_cache_hit"} 32)",
        R"(vllm:prefix_cache_hits_total{engine="0",model_name="echo"} 32)",
        R"(vllm:time_to_first_token_seconds_count{engine="0",model_name="echo"} 2)",
        R"(vllm:request_params_max_tokens_bucket{engine="0",model_name="echo",le="2)",
        R"(http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"} 2)"}) {
    EXPECT_THAT(text_now, HasSubstr(line));
  }
}

}  // namespace
}  // namespace sluice::worker
