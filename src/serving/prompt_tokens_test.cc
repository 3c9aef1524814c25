// Exact tokens before a decision: in process and by a render endpoint, and what happens when they cannot be had.
#include "serving/prompt_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>

#include "base/read_file.h"
#include "net/http_server.h"

namespace sluice::serving {
namespace {

using runtime::Task;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Api = parse::Api;
using Mode = schedule::TokenSource::Mode;

const std::string kGolden = SLUICE_SOURCE_DIR "/test/golden/";

std::string Chat(const std::string& text) {
  return R"({"model":"m","messages":[{"role":"user","content":")" + text + R"("}]})";
}

// A render endpoint that answers what a test says.
class RenderServer {
 public:
  explicit RenderServer(runtime::Loop& loop)
      : server_(loop, {}, [this](net::ServerExchange& exchange) { return Handle(exchange); }) {
    EXPECT_TRUE(server_.Listen({"127.0.0.1", 0}));
  }
  std::string Url() const { return "http://" + server_.address().ToString(); }

  std::string answer;
  int status = 200;
  std::vector<std::string> targets, bodies;

 private:
  Task<> Handle(net::ServerExchange& exchange) {
    auto body = co_await exchange.ReadBody();
    targets.emplace_back(exchange.head().target);
    bodies.push_back(body ? *body : "");
    const std::array<net::Header, 1> json = {net::Header{"content-type", "application/json"}};
    co_await exchange.Respond(status, json, answer);
  }
  net::HttpServer server_;
};

class PromptTokensTest : public ::testing::Test {
 protected:
  std::shared_ptr<PromptTokens> Open(schedule::TokenSource source) {
    auto opened = PromptTokens::Open(loop_, client_, metrics_, "pool", std::move(source));
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
    return opened ? *opened : nullptr;
  }
  std::shared_ptr<PromptTokens> OpenPath(const std::string& path) {
    return Open({.mode = Mode::kTokenizer, .path = path, .cache_bytes = 1 << 20});
  }
  std::shared_ptr<PromptTokens> OpenRender(const std::string& url) {
    return Open({.mode = Mode::kVllm,
                 .url = url,
                 .model_name = "org/model",
                 .timeout = std::chrono::seconds(5),
                 .media_timeout = std::chrono::seconds(30)});
  }
  PromptTokens::Made Make(PromptTokens& tokens, Api api, const std::string& body, size_t prompts = 1) {
    model::Request request;
    request.id = "r";
    request.model = request.target_model = "m";
    request.prompts.resize(prompts);
    return Make(tokens, api, body, request);
  }
  PromptTokens::Made Make(PromptTokens& tokens, Api api, const std::string& body, const model::Request& request) {
    PromptTokens::Made made;
    runtime::TaskScope scope(loop_);
    scope.Spawn(Run(this, &tokens, api, &body, &request, &made));
    loop_.Run();
    loop_.Resume();
    return made;
  }
  static Task<> Run(PromptTokensTest* test, PromptTokens* tokens, Api api, const std::string* body,
                    const model::Request* request, PromptTokens::Made* out) {
    *out = co_await tokens->Make(api, *body, *request);
    test->loop_.Stop();
  }

  observe::Registry registry_;
  RouterMetrics metrics_{registry_};
  runtime::Loop loop_;
  net::HttpClient client_{loop_, {}};
};

TEST_F(PromptTokensTest, AHuggingFaceFolderTokenizesChatsAndCompletions) {
  if (!tokenize::kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  const std::string folder = kGolden + "hf/byte-level";
  const auto tokens = OpenPath(folder);
  ASSERT_NE(tokens, nullptr);
  const auto model = tokenize::OpenHfModel(folder);
  ASSERT_TRUE(model.has_value() && model->chat != nullptr);
  const std::string body = Chat("Hello, world!");
  const auto expected = model->tokenizer->Encode(model->chat->Render(body)->text, false, true);
  const auto made = Make(*tokens, Api::kChat, body);
  ASSERT_EQ(made.prompts.size(), 1u);
  EXPECT_EQ(made.prompts[0].tokens, std::vector<uint32_t>(expected.begin(), expected.end()));
  EXPECT_EQ(made.origin.source, "tokenizer");
  EXPECT_EQ(made.origin.missing, "");
  EXPECT_GT(made.origin.tokenize_us, 0u);
  EXPECT_FALSE(made.waited);

  const auto list = Make(*tokens, Api::kCompletions, R"({"prompt":["a b","c"]})", 2);
  ASSERT_EQ(list.prompts.size(), 2u);
  const auto second = model->tokenizer->Encode("c", true, true);
  EXPECT_EQ(list.prompts[1].tokens, std::vector<uint32_t>(second.begin(), second.end()));
}

TEST_F(PromptTokensTest, ABosIsAddedWhereVllmAddsIt) {
  if (!tokenize::kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  const auto tokens = OpenPath(kGolden + "hf/metaspace/tokenizer.json");
  const auto with = Make(*tokens, Api::kCompletions, R"({"prompt":"a b"})").prompts.at(0).tokens;
  const auto without = Make(*tokens, Api::kCompletions, R"({"prompt":"a b","add_special_tokens":false})");
  EXPECT_EQ(std::vector<uint32_t>(with.begin() + 1, with.end()), without.prompts.at(0).tokens);
}

TEST_F(PromptTokensTest, LongPromptsAreMadeElsewhereAndRememberedForTheNextTurn) {
  if (!tokenize::kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  const auto tokens = OpenPath(kGolden + "hf/byte-level");
  std::string long_text;
  for (int i = 0; i < 2000; ++i) long_text += "word" + std::to_string(i) + " ";
  const auto first = Make(*tokens, Api::kChat, Chat(long_text));
  EXPECT_TRUE(first.waited);
  EXPECT_EQ(first.origin.reused_bytes, 0u);
  std::string body = Chat(long_text);
  body.insert(body.size() - 2, R"(,{"role":"assistant","content":"Yes."},{"role":"user","content":"And now?"})");
  const auto second = Make(*tokens, Api::kChat, body);
  EXPECT_GT(second.origin.reused_bytes, long_text.size());
  ASSERT_GT(second.prompts.at(0).tokens.size(), first.prompts.at(0).tokens.size());
  const auto fresh = Make(*OpenPath(kGolden + "hf/byte-level"), Api::kChat, body);
  EXPECT_EQ(second.prompts[0].tokens, fresh.prompts.at(0).tokens);
}

// The recorded answer of a real vLLM to the same body.
TEST_F(PromptTokensTest, AGgufFileGivesARealVllmsTokens) {
  const std::string model = SLUICE_SOURCE_DIR "/build/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "no model: run `make setup`";
  const auto tokens = OpenPath(model);
  ASSERT_NE(tokens, nullptr);
  RenderServer server(loop_);
  for (const auto& [name, api, prompts] : {std::tuple("render-chat", Api::kChat, size_t{1}),
                                           std::tuple("render-completions-batch", Api::kCompletions, size_t{2})}) {
    const auto request = ReadFile(kGolden + "vllm/http/" + name + ".request.http", 1 << 20);
    const auto response = ReadFile(kGolden + "vllm/http/" + name + ".response.http", 1 << 20);
    ASSERT_TRUE(request && response);
    const std::string body = request->substr(request->find("\r\n\r\n") + 4);
    server.answer = response->substr(response->find("\r\n\r\n") + 4);
    model::Request asked;
    asked.model = asked.target_model = "smollm2";
    asked.prompts.resize(prompts);
    const auto local = Make(*tokens, api, body, asked);
    const auto rendered = Make(*OpenRender(server.Url()), api, body, asked);
    ASSERT_EQ(local.prompts.size(), prompts) << local.origin.missing;
    ASSERT_EQ(rendered.prompts.size(), prompts) << rendered.origin.missing;
    for (size_t i = 0; i < prompts; ++i) EXPECT_EQ(local.prompts[i].tokens, rendered.prompts[i].tokens) << name;
    EXPECT_EQ(rendered.origin.source, "vllm");
  }
}

TEST_F(PromptTokensTest, RenderIsAskedWithTheModelReplacedAndNothingElse) {
  RenderServer server(loop_);
  const auto tokens = OpenRender(server.Url());
  server.answer =
      R"({"token_ids":[5,9,9,9,6],"features":{"mm_hashes":{"image":["abc"]},"mm_placeholders":{"image":[{"offset":1,"length":3}]}}})";
  const std::string body = R"({"messages":[{"role":"user","content":[ ]}], "model":"m","x":1.50})";
  model::Request request;
  request.model = request.target_model = "m";
  request.prompts.push_back({.text = {"t"}, .tokens = {}, .media = {{model::Media::Kind::kImage, "http://a", 0}}});
  const auto made = Make(*tokens, Api::kChat, body, request);
  EXPECT_THAT(server.targets, ElementsAre("/v1/chat/completions/render"));
  EXPECT_THAT(server.bodies,
              ElementsAre(R"({"messages":[{"role":"user","content":[ ]}], "model":"org/model","x":1.50})"));
  made.Apply(request);
  EXPECT_THAT(request.prompts[0].tokens, ElementsAre(5, 9, 9, 9, 6));
  ASSERT_EQ(request.prompts[0].media.size(), 1u);
  EXPECT_EQ(request.prompts[0].media[0].content, "abc");
  EXPECT_EQ(request.prompts[0].media[0].token_begin, 1u);
  EXPECT_EQ(request.prompts[0].media[0].token_length, 3u);
  EXPECT_EQ(request.tokens.source, "vllm");
  for (const auto& [api, target] :
       {std::pair(Api::kCompletions, "/v1/completions/render"), std::pair(Api::kResponses, "/v1/responses/render"),
        std::pair(Api::kMessages, "/v1/messages/render")}) {
    Make(*tokens, api, body);
    EXPECT_EQ(server.targets.back(), target);
  }
}

TEST_F(PromptTokensTest, WhatCannotBeHadIsSaidAndCounted) {
  RenderServer server(loop_);
  const auto tokens = OpenRender(server.Url());
  server.status = 404;
  server.answer = R"({"error":"no such model"})";
  const auto refused = Make(*tokens, Api::kChat, Chat("x"));
  EXPECT_EQ(refused.origin.source, "estimate");
  EXPECT_THAT(refused.origin.missing, HasSubstr("answered 404"));
  EXPECT_THAT(refused.origin.missing, HasSubstr("no such model"));
  server.status = 200;
  for (const char* answer : {"", "{}", "[]", R"({"token_ids":[-1]})", R"({"token_ids":["a"]})",
                             R"([{"token_ids":[1]},{"token_ids":[2]}])"}) {
    server.answer = answer;
    const auto made = Make(*tokens, Api::kChat, Chat("x"));
    EXPECT_TRUE(made.prompts.empty()) << answer;
    EXPECT_NE(made.origin.missing, "") << answer;
  }
  const auto embeddings = Make(*tokens, Api::kEmbeddings, R"({"input":"x"})");
  EXPECT_EQ(embeddings.origin.source, "estimate");
  const std::string text = registry_.Render();
  EXPECT_THAT(text, HasSubstr(R"(sluice_gateway_tokenize_failures_total{pool="pool",source="vllm",reason=)"));
  EXPECT_THAT(text, HasSubstr(R"(sluice_gateway_tokenized_requests_total{pool="pool",source="estimate"} 8)"));
}

TEST_F(PromptTokensTest, AServerThatIsNotThereIsNotAskedForEachRequest) {
  std::string url;
  {
    RenderServer gone(loop_);
    url = gone.Url();
  }
  const auto tokens = OpenRender(url);
  const auto first = Make(*tokens, Api::kChat, Chat("x"));
  const auto second = Make(*tokens, Api::kChat, Chat("x"));
  EXPECT_EQ(first.origin.source, "estimate");
  EXPECT_THAT(first.origin.missing, HasSubstr(url));
  EXPECT_EQ(second.origin.missing, first.origin.missing);
}

TEST_F(PromptTokensTest, IdsThatTheClientSentAreTaken) {
  RenderServer server(loop_);
  const auto tokens = OpenRender(server.Url());
  model::Request request;
  request.prompts.push_back({.text = {}, .tokens = {1, 2}, .media = {}});
  const auto made = Make(*tokens, Api::kCompletions, R"({"prompt":[1,2]})", request);
  made.Apply(request);
  EXPECT_THAT(request.prompts[0].tokens, ElementsAre(1, 2));
  EXPECT_EQ(request.tokens.source, "request");
  EXPECT_TRUE(server.targets.empty());
}

TEST_F(PromptTokensTest, WhatOnlyTheEngineKnowsIsEstimated) {
  if (!tokenize::kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  const auto tokens = OpenPath(kGolden + "hf/byte-level");
  const auto image = Make(*tokens, Api::kChat,
                          R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"a"}}]}]})");
  EXPECT_EQ(image.origin.source, "estimate");
  EXPECT_THAT(image.origin.missing, HasSubstr("image_url"));
  EXPECT_THAT(Make(*tokens, Api::kMessages, Chat("x")).origin.missing, HasSubstr("chats and completions"));
}

TEST_F(PromptTokensTest, WrongSourcesAreRefused) {
  const auto open = [&](schedule::TokenSource source) {
    const auto opened = PromptTokens::Open(loop_, client_, metrics_, "pool", std::move(source));
    return opened ? std::string() : opened.error().message;
  };
  for (const char* url : {"https://a:1", "http://", "http://a:x", "http://a b:1", "http://a:99999"}) {
    EXPECT_THAT(open({.mode = Mode::kVllm, .url = url}), HasSubstr("http://HOST:PORT")) << url;
  }
  EXPECT_NE(open({.mode = Mode::kTokenizer, .path = "/nowhere"}), "");
  EXPECT_NE(open({.mode = Mode::kTokenizer, .path = "/nowhere.gguf"}), "");
}

}  // namespace
}  // namespace sluice::serving
