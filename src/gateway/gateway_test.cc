// The gateway between a client and small endpoints, all on one loop over loopback sockets: what a user sees when things
// work, when an endpoint dies, when the client leaves and when the input is wrong.
#include "gateway/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>

#include "net/http_client.h"
#include "tokenize/hf_model.h"

namespace sluice::gateway {
namespace {

using runtime::AnyOf;
using runtime::Loop;
using runtime::Task;
using testing::HasSubstr;

// An endpoint whose way of answering a test chooses; it notes what it was asked.
class FakeEndpoint {
 public:
  FakeEndpoint(Loop& loop, std::string model)
      : loop_(loop), model_(std::move(model)), server_(loop, {}, [this](net::ServerExchange& e) { return Handle(e); }) {
    const Status status = server_.Listen({"127.0.0.1", 0});
    EXPECT_TRUE(status) << status.error().message;
  }
  const net::Address& address() const { return server_.address(); }

  std::vector<std::string> bodies;
  std::vector<std::string> request_ids;
  int clients_gone = 0;
  enum class Mode : uint8_t { kAnswer, kHang, kBreakStream, kCloseAtOnce } mode = Mode::kAnswer;
  runtime::Event& hung() { return hung_; }

 private:
  Task<> Handle(net::ServerExchange& exchange) {
    const std::array<net::Header, 1> json = {net::Header{"content-type", "application/json"}};
    const std::array<net::Header, 1> stream = {net::Header{"content-type", "text/event-stream"}};
    if (exchange.head().path() == "/v1/models") {
      const std::string models = R"({"object":"list","data":[{"id":")" + model_ + R"(","object":"model"}]})";
      co_await exchange.Respond(200, json, models);
      co_return;
    }
    if (exchange.head().path() == "/metrics") {
      co_await exchange.Respond(200, json, "vllm:num_requests_waiting 2\nvllm:num_requests_running 1\n");
      co_return;
    }
    auto body = co_await exchange.ReadBody();
    bodies.push_back(body ? *body : "");
    request_ids.emplace_back(exchange.head().headers.Get("x-request-id").value_or(""));
    const bool streaming = body && body->find("\"stream\":true") != std::string::npos;
    if (mode == Mode::kCloseAtOnce) {
      exchange.Start(200, json);
      exchange.Abort();
    } else if (mode == Mode::kHang) {
      hung_.Set();
      while (exchange.ClientThere()) co_await AnyOf(exchange.ClientReadable());
      ++clients_gone;
    } else if (mode == Mode::kBreakStream) {
      exchange.Start(200, stream);
      exchange.Write("data: {\"n\":1}\n\n");
      exchange.Abort();
    } else if (streaming) {
      exchange.Start(200, stream);
      exchange.Write("data: {\"n\":1}\n\n");
      exchange.Write("data: {\"n\":2}\n\ndata: [DONE]\n\n", true);
    } else {
      co_await exchange.Respond(200, json, R"({"ok":true,"usage":{"prompt_tokens":3,"completion_tokens":4}})");
    }
  }

  Loop& loop_;
  std::string model_;
  runtime::Event hung_{loop_};
  net::HttpServer server_;
};

constexpr std::string_view kChat = R"({"model":"m","messages":[{"role":"user","content":"hello"}]})";
constexpr std::string_view kStream = R"({"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]})";

// A loop with endpoints, a gateway in front of them and a client.
class World {
 public:
  explicit World(std::vector<std::string> models = {"m", "m"}, std::string config = {}) {
    for (std::string& model : models) endpoints.push_back(std::make_unique<FakeEndpoint>(loop, std::move(model)));
    GatewayOptions options;
    options.listen = {"127.0.0.1", 0};
    options.seed = 1;
    serving::PoolOptions pool;
    if (!config.empty()) {
      config_path_ = std::filesystem::path(testing::TempDir()) / ("epp-" + std::to_string(EntropySeed()) + ".yaml");
      std::ofstream(config_path_) << config;
      pool.config_path = config_path_;
    }
    for (const auto& endpoint : endpoints) {
      const net::Address& a = endpoint->address();
      pool.endpoints.push_back({.id = a.ToString(), .name = a.ToString(), .address = a.host, .port = a.port});
    }
    options.pools.push_back(pool);
    auto opened = Gateway::Open(loop, std::move(options));
    EXPECT_TRUE(opened) << opened.error().message;
    gateway = std::move(*opened);
    EXPECT_TRUE(gateway->Listen());
    Run(UntilReady(this));
  }
  ~World() {
    if (!config_path_.empty()) std::filesystem::remove(config_path_);
  }

  void Run(Task<> task) {
    scope.Spawn(ThenStop(this, std::move(task)));
    loop.Run();
    loop.Resume();
  }
  net::FetchResponse Ask(std::string_view method, std::string_view target, std::string_view body = {},
                         std::vector<net::Header> headers = {}) {
    Result<net::FetchResponse> out = Fail(Code::kInternal, "not run");
    Run(AskTask(this, method, target, body, &headers, &out));
    EXPECT_TRUE(out) << out.error().message;
    return out ? *out : net::FetchResponse{};
  }
  // All at once; request ids are "many-0" and on.
  void ChatAll(const std::vector<std::string>& bodies) { Run(ChatAllTask(this, &bodies)); }
  net::FetchResponse Chat(std::string_view body = kChat, std::vector<net::Header> headers = {}) {
    return Ask("POST", "/v1/chat/completions", body, std::move(headers));
  }

  Loop loop;
  std::vector<std::unique_ptr<FakeEndpoint>> endpoints;
  net::HttpClient client{loop, {}};
  std::unique_ptr<Gateway> gateway;
  runtime::TaskScope scope{loop};

 private:
  static Task<> ThenStop(World* world, Task<> task) {
    co_await std::move(task);
    world->loop.Stop();
  }
  static Task<> AskTask(World* world, std::string_view method, std::string_view target, std::string_view body,
                        std::vector<net::Header>* headers, Result<net::FetchResponse>* out) {
    const net::ClientRequest request{
        .address = world->gateway->address(), .method = method, .target = target, .headers = *headers, .body = body};
    *out = co_await world->client.Fetch(request, std::chrono::seconds(10), 1 << 20);
  }
  static Task<> ChatOnce(World* world, const std::string* body, size_t index, size_t* left, runtime::Event* done) {
    const std::string id = "many-" + std::to_string(index);
    const std::array<net::Header, 1> headers = {net::Header{"x-request-id", id}};
    net::HttpClient client(world->loop, {});
    const net::ClientRequest request{.address = world->gateway->address(),
                                     .method = "POST",
                                     .target = "/v1/chat/completions",
                                     .headers = headers,
                                     .body = *body};
    const auto response = co_await client.Fetch(request, std::chrono::seconds(30), 1 << 20);
    EXPECT_TRUE(response && response->status == 200);
    if (--*left == 0) done->Set();
  }
  static Task<> ChatAllTask(World* world, const std::vector<std::string>* bodies) {
    size_t left = bodies->size();
    runtime::Event done(world->loop);
    runtime::TaskScope all(world->loop);
    for (size_t i = 0; i < bodies->size(); ++i) all.Spawn(ChatOnce(world, &(*bodies)[i], i, &left, &done));
    co_await AnyOf(done);
  }
  static Task<> UntilReady(World* world) {
    for (;;) {
      const auto ready = co_await world->client.Fetch({.address = world->gateway->address(), .target = "/ready"},
                                                      std::chrono::seconds(5), 1000);
      if (ready && ready->status == 200) co_return;
      co_await runtime::SleepFor(world->loop, std::chrono::milliseconds(1));
    }
  }

  std::filesystem::path config_path_;
};

TEST(Gateway, RelaysAnAnswerAndSaysWhoServedIt) {
  World world;
  const auto response = world.Chat(kChat, {{"x-request-id", "my-id"}});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"ok":true,"usage":{"prompt_tokens":3,"completion_tokens":4}})");
  EXPECT_EQ(response.headers.Get("x-request-id"), "my-id");
  const std::string served(response.headers.Get("x-gateway-destination-endpoint-served").value_or(""));
  size_t asked = 0;
  for (const auto& endpoint : world.endpoints) {
    for (const std::string& body : endpoint->bodies) {
      EXPECT_EQ(body, kChat) << "the body is forwarded byte-identical";
      EXPECT_EQ(endpoint->address().ToString(), served);
      EXPECT_EQ(endpoint->request_ids.back(), "my-id");
      ++asked;
    }
  }
  EXPECT_EQ(asked, 1u);
}

TEST(Gateway, TheSecondIdenticalPromptGoesToTheSameEndpointAndTheReceiptSaysWhy) {
  World world;
  const auto first = world.Chat(kChat, {{"x-request-id", "one"}});
  const auto second = world.Chat(kChat, {{"x-request-id", "two"}});
  EXPECT_EQ(first.headers.Get("x-gateway-destination-endpoint-served"),
            second.headers.Get("x-gateway-destination-endpoint-served"));
  const auto receipt = world.Ask("GET", "/debug/decisions/two");
  EXPECT_EQ(receipt.status, 200);
  codec::JsonReader reader;
  const auto root = reader.Parse(receipt.body);
  ASSERT_TRUE(root);
  EXPECT_EQ(root->Find("request_id")->String(), "two");
  EXPECT_EQ(root->Find("pick")->String(), second.headers.Get("x-gateway-destination-endpoint-served"));
  EXPECT_EQ(root->Find("candidates")->Count(), 2u);
  EXPECT_THAT(receipt.body, HasSubstr("\"prefix-cache-scorer\":1.0"));
  EXPECT_EQ(world.Ask("GET", "/debug/decisions/unknown").status, 404);
}

TEST(Gateway, TheOldCriticalityNamesArePriorities) {
  World world({"m"});
  world.Chat(kChat, {{"x-request-id", "low"}, {"x-gateway-inference-objective", "Sheddable"}});
  world.Chat(kChat, {{"x-request-id", "high"}, {"x-llm-d-inference-objective", "critical"}});
  world.Chat(kChat, {{"x-request-id", "none"}, {"x-llm-d-inference-objective", "gold"}});
  EXPECT_THAT(world.Ask("GET", "/debug/decisions/low").body, HasSubstr("\"priority\":-1,"));
  EXPECT_THAT(world.Ask("GET", "/debug/decisions/high").body, HasSubstr("\"priority\":1,"));
  EXPECT_THAT(world.Ask("GET", "/debug/decisions/none").body, HasSubstr("\"priority\":0,"));
}

TEST(Gateway, StreamsArriveWhole) {
  World world;
  const auto response = world.Chat(kStream);
  EXPECT_EQ(response.headers.Get("content-type"), "text/event-stream");
  EXPECT_EQ(response.body, "data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n");
}

TEST(Gateway, ADeadEndpointIsReplacedWithinTheRequest) {
  World world;
  const std::string dead = world.endpoints[0]->address().ToString();
  world.endpoints.erase(world.endpoints.begin());  // its port is closed from now on
  for (int i = 0; i < 8; ++i) {
    const std::string body = R"({"model":"m","messages":[{"role":"user","content":"q)" + std::to_string(i) + "\"}]}";
    const auto response = world.Chat(body);
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_NE(response.headers.Get("x-gateway-destination-endpoint-served"), dead);
  }
  EXPECT_EQ(world.endpoints[0]->bodies.size(), 8u) << "each accepted request was answered once";
}

TEST(Gateway, WithNoEndpointLeftTheErrorSaysSo) {
  World world({"m"});
  world.endpoints.clear();
  const auto response = world.Chat();
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("\"type\":\"ServiceUnavailableError\""));
  EXPECT_TRUE(response.headers.Get("retry-after"));
  EXPECT_TRUE(response.headers.Get("x-request-id"));
}

TEST(Gateway, AnEndpointThatClosesBeforeAnsweringIsNotTheEnd) {
  World world;
  world.endpoints[0]->mode = FakeEndpoint::Mode::kCloseAtOnce;
  world.endpoints[1]->mode = FakeEndpoint::Mode::kAnswer;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(world.Chat().status, 200);
}

TEST(Gateway, AStreamThatBreaksEndsWithAnErrorEvent) {
  World world({"m"});
  world.endpoints[0]->mode = FakeEndpoint::Mode::kBreakStream;
  const auto response = world.Chat(kStream);
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.body.starts_with("data: {\"n\":1}\n\n"));
  EXPECT_THAT(response.body, HasSubstr("data: {\"error\":{"));
  EXPECT_TRUE(response.body.ends_with("data: [DONE]\n\n")) << response.body;
}

Task<> LeaveWhileWaiting(World* world) {
  const std::string body(kChat);
  auto call = co_await world->client.Start(
      {.address = world->gateway->address(), .method = "POST", .target = "/v1/chat/completions", .body = body});
  EXPECT_TRUE(call);
  co_await AnyOf(world->endpoints[0]->hung());
  {
    net::ClientCall leave = std::move(*call);  // closes the connection: the client leaves
  }
  while (world->endpoints[0]->clients_gone == 0) co_await runtime::SleepFor(world->loop, std::chrono::milliseconds(1));
}

TEST(Gateway, WhenTheClientLeavesTheEndpointsWorkIsCancelled) {
  World world({"m"});
  world.endpoints[0]->mode = FakeEndpoint::Mode::kHang;
  world.Run(LeaveWhileWaiting(&world));
  EXPECT_EQ(world.endpoints[0]->clients_gone, 1);
}

TEST(Gateway, ModelsAreTheUnionAndDecideTheEndpoint) {
  World world({"a", "b"});
  const auto models = world.Ask("GET", "/v1/models");
  EXPECT_THAT(models.body, HasSubstr("\"id\":\"a\""));
  EXPECT_THAT(models.body, HasSubstr("\"id\":\"b\""));
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(world.Chat(R"({"model":"b","messages":[{"role":"user"}]})")
                  .headers.Get("x-gateway-destination-endpoint-served"),
              world.endpoints[1]->address().ToString());
  }
}

TEST(Gateway, WrongInputGetsTheRightErrorInOpenAisEnvelope) {
  World world;
  struct Case {
    std::string_view method, target, body;
    int status;
    std::string_view says;
  };
  const Case cases[] = {
      {"POST", "/v1/chat/completions", "{", 400, "JSON"},
      {"POST", "/v1/chat/completions", "[]", 400, "object"},
      {"POST", "/v1/chat/completions", R"({"model":"m"})", 400, "must have valid messages field"},
      {"POST", "/v1/messages", R"({"model":"m","messages":[]})", 400, "must have at least one message"},
      {"POST", "/v1/models", "{}", 405, "Method Not Allowed"},
      {"POST", "/v1/chat/completions", R"({"model":7,"messages":[]})", 400, "`model` must be a string"},
      {"POST", "/v1/chat/completions", R"({"model":"m","stream":"yes","messages":[]})", 400,
       "`stream` must be true or false"},
      {"POST", "/v1/completions", R"({"model":"m","prompt":{}})", 400, "prompt"},
      {"POST", "/v1/chat/completions", R"({"model":"nope","messages":[{"role":"user"}]})", 404,
       "The model `nope` does not exist."},
      {"GET", "/v1/chat/completions", "", 405, "Method Not Allowed"},
      {"GET", "/nowhere", "", 404, "Not Found"},
  };
  for (const Case& c : cases) {
    const auto response = world.Ask(c.method, c.target, c.body);
    EXPECT_EQ(response.status, c.status) << c.body;
    EXPECT_THAT(response.body, HasSubstr(std::string(c.says))) << c.body;
    EXPECT_TRUE(response.headers.Get("x-request-id")) << c.target;
  }
}

TEST(Gateway, AClientsKvTransferParamsNeverReachAnEndpoint) {
  World world({"m"});
  EXPECT_EQ(world.Chat(R"({"model":"m","messages":[{}],"kv_transfer_params":{"do_remote_prefill":true}})").status, 200);
  ASSERT_EQ(world.endpoints[0]->bodies.size(), 1u);
  EXPECT_EQ(world.endpoints[0]->bodies[0], R"({"model":"m","messages":[{}]})");
}

TEST(Gateway, EachApisPathIsRoutedByItsModel) {
  World world({"m", "other"});
  struct Case {
    std::string_view path, body;
  };
  const Case cases[] = {
      {"/v1/completions", R"({"model":"m","prompt":"a"})"},
      {"/v1/embeddings", R"({"model":"m","input":"a"})"},
      {"/v1/responses", R"({"model":"m","input":"a"})"},
      {"/v1/messages", R"({"model":"m","messages":[{"role":"user","content":"a"}]})"},
      {"/v1/messages/count_tokens", R"({"model":"m","messages":[{"role":"user","content":"a"}]})"},
      {"/v1/chat/completions/render", R"({"model":"m","messages":[{"role":"user","content":"a"}]})"},
      {"/inference/v1/generate", R"({"model":"m","token_ids":[1]})"},
      {"/tokenize", R"({"model":"m","prompt":"a"})"},
      {"/detokenize", R"({"model":"m","tokens":[1]})"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(world.Ask("POST", c.path, c.body).status, 200) << c.path;
    ASSERT_FALSE(world.endpoints[0]->bodies.empty()) << c.path;
    EXPECT_EQ(world.endpoints[0]->bodies.back(), c.body) << c.path;
  }
  EXPECT_THAT(world.endpoints[1]->bodies, testing::IsEmpty());
}

TEST(Gateway, OtherPathsPassThroughUnread) {
  World world({"m"});
  EXPECT_EQ(world.Ask("POST", "/v1/audio/speech?x=1", "\xff{", {{"content-type", "text/plain"}}).status, 200);
  EXPECT_EQ(world.Ask("POST", "/invocations", R"({"a":1,"kv_transfer_params":{}})").status, 200);
  EXPECT_THAT(world.endpoints[0]->bodies, testing::ElementsAre("\xff{", R"({"a":1})"));
  EXPECT_EQ(world.Ask("GET", "/v1/audio/speech").status, 404);
}

TEST(Gateway, WithoutThePassthroughParserAnUnknownPathIsRefused) {
  World world({"m"},
              "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: queue-scorer\n"
              "requestHandler:\n  parsers:\n  - pluginRef: openai-parser\n");
  EXPECT_EQ(world.Chat().status, 200);
  const auto refused = world.Ask("POST", "/v1/messages", R"({"model":"m","messages":[{}]})");
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("no parser registered matching path suffix for: /v1/messages"));
  EXPECT_EQ(world.endpoints[0]->bodies.size(), 1u);
}

TEST(Gateway, SglangsGenerateNamesNoModel) {
  World world({"m"},
              "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: queue-scorer\n"
              "requestHandler:\n  parsers:\n  - pluginRef: sglanghttp-parser\n");
  const std::string_view body = R"({"input_ids":[1,2,3],"sampling_params":{"max_new_tokens":1}})";
  EXPECT_EQ(world.Ask("POST", "/generate", body).status, 200);
  EXPECT_THAT(world.endpoints[0]->bodies, testing::ElementsAre(body));
  EXPECT_EQ(world.Ask("POST", "/generate", R"({"input_ids":[1.5]})").status, 400);
}

TEST(Gateway, MetricsHaveUpstreamsNames) {
  World world;
  world.Chat();
  const std::string text = world.Ask("GET", "/metrics").body;
  const std::string labels = R"({model_name="m",target_model_name="m",fairness_id="default-flow",priority="0"})";
  EXPECT_THAT(text, HasSubstr("llm_d_epp_request_total" + labels + " 1\n"));
  EXPECT_THAT(text, HasSubstr("llm_d_epp_request_input_tokens_sum" + labels + " 3\n"));
  EXPECT_THAT(text, HasSubstr("llm_d_epp_request_running" + labels + " 0\n"));
  EXPECT_THAT(text, HasSubstr("llm_d_epp_ready_endpoints{name=\"default\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("llm_d_epp_average_queue_size{name=\"default\"} 2\n"));
}

TEST(Gateway, AConfigurationWithAMistakeIsRefusedWithTheNearestName) {
  Loop loop;
  const auto path = std::filesystem::path(testing::TempDir()) / ("epp-" + std::to_string(EntropySeed()) + ".yaml");
  std::ofstream(path) << "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: quue-scorer\n";
  GatewayOptions options;
  options.pools.push_back(
      {.config_path = path, .endpoints = {{.id = "a", .name = "a", .address = "127.0.0.1", .port = 1}}});
  const auto opened = Gateway::Open(loop, std::move(options));
  std::filesystem::remove(path);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("queue-scorer"));
}

// Long prompts are tokenized while other requests run over the same reader: each keeps its own text and ids.
TEST(Gateway, ExactTokensReachTheDecision) {
  if (!tokenize::kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  World world({"m", "m"},
              "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
              "- {type: token-producer, parameters: {tokenizer: {path: " SLUICE_SOURCE_DIR
              "/test/golden/hf/byte-level}}}\n- {type: context-length-aware}\n"
              "schedulingProfiles:\n- name: default\n  plugins: [{pluginRef: context-length-aware}]\n");
  const auto model = tokenize::OpenHfModel(SLUICE_SOURCE_DIR "/test/golden/hf/byte-level");
  ASSERT_TRUE(model.has_value());
  std::vector<std::string> bodies;
  for (int i = 0; i < 8; ++i) {
    std::string text;
    for (int word = 0; word < (i % 2 == 0 ? 2500 : 20); ++word) text += std::to_string(word * (i + 3)) + " words ";
    bodies.push_back(R"({"model":"m","messages":[{"role":"user","content":")" + text + R"("}]})");
  }
  world.ChatAll(bodies);
  for (size_t i = 0; i < bodies.size(); ++i) {
    const auto tokens = model->tokenizer->Encode(model->chat->Render(bodies[i])->text, false, true).size();
    const std::string receipt = world.Ask("GET", "/debug/decisions/many-" + std::to_string(i)).body;
    EXPECT_THAT(receipt, HasSubstr("\"prompt_tokens\":" + std::to_string(tokens) +
                                   ","
                                   "\"prompt_tokens_estimated\":false,\"token_source\":\"tokenizer\""));
  }
  const auto dry = world.Ask("POST", "/debug/decide", bodies[0]);
  EXPECT_THAT(dry.body, HasSubstr("\"token_source\":\"tokenizer\""));
  const std::string image =
      R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://a/b"}}]}]})";
  EXPECT_EQ(world.Chat(image, {{"x-request-id", "pic"}}).status, 200);
  EXPECT_THAT(world.Ask("GET", "/debug/decisions/pic").body, HasSubstr("tokens are estimated from bytes: "));
}

}  // namespace
}  // namespace sluice::gateway
