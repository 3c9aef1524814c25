// Recorded answers are taken apart into our structs and written again: the bytes must be the recorded ones.
#include "openai/response.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "openai/chat_request.h"
#include "openai/error_body.h"
#include "openai/golden.h"
#include "openai/stream.h"

namespace sluice::openai {
namespace {

using Json = nlohmann::ordered_json;

std::string Text(const Json& json) { return json.is_string() ? json.get<std::string>() : std::string(); }

ResponseHead Head(const Json& json) {
  return {json["id"], json["created"], json["model"],
          json.contains("system_fingerprint") ? Text(json["system_fingerprint"]) : ""};
}

Usage ReadUsage(const Json& json) {
  Usage usage{json["prompt_tokens"], json["completion_tokens"], 0, {}};
  if (json.contains("prompt_tokens_details")) {
    const Json& details = json["prompt_tokens_details"];
    usage.cached_tokens = details["cached_tokens"];
    if (details.contains("created_cache_tokens") && details["created_cache_tokens"].is_number()) {
      usage.created_cache_tokens = details["created_cache_tokens"];
    }
  }
  return usage;
}

Finish ReadFinish(const Json& choice) {
  static std::vector<std::unique_ptr<std::string>> kept;  // Finish has a view
  kept.push_back(std::make_unique<std::string>(Text(choice["finish_reason"])));
  return {*kept.back(), {}, {}};
}

TokenText ReadToken(const Json& json) {
  std::string bytes;
  for (const auto& byte : json["bytes"]) bytes += static_cast<char>(byte.get<int>());
  return {0, bytes, json["logprob"]};
}

std::optional<std::vector<TokenLogprobs>> ChatLogprobs(const Json& json) {
  if (json.is_null()) return std::nullopt;
  std::vector<TokenLogprobs> out;
  for (const Json& entry : json["content"]) {
    TokenLogprobs token{ReadToken(entry), {}};
    for (const Json& top : entry["top_logprobs"]) token.top.push_back(ReadToken(top));
    out.push_back(std::move(token));
  }
  return out;
}

std::optional<std::vector<TokenLogprobs>> Legacy(const Json& json) {
  if (json.is_null()) return std::nullopt;
  std::vector<TokenLogprobs> out;
  for (size_t i = 0; i < json["tokens"].size(); ++i) {
    TokenLogprobs token{{0, json["tokens"][i], json["token_logprobs"][i]}, {}};
    for (const auto& [text, logprob] : json["top_logprobs"][i].items()) token.top.push_back({0, text, logprob});
    out.push_back(std::move(token));
  }
  return out;
}

std::optional<std::vector<TokenId>> Ids(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return json.get<std::vector<TokenId>>();
}

TEST(ChatBody, EqualsEveryRecording) {
  for (const char* name : {"chat", "chat-n2", "chat-logprobs", "chat-json-schema", "chat-stop", "chat-tools-required",
                           "chat-tools-named", "chat-return-token-ids", "chat-request-id"}) {
    const std::string recorded = GoldenResponse(name);
    const Json json = Json::parse(recorded);
    std::vector<ChatChoice> choices;
    for (const Json& c : json["choices"]) {
      ChatChoice choice{c["index"],    Text(c["message"]["content"]), {},
                        ReadFinish(c), ChatLogprobs(c["logprobs"]),   Ids(c["token_ids"])};
      if (c["message"].contains("tool_calls")) {
        for (const Json& call : c["message"]["tool_calls"]) {
          choice.tool_calls.push_back({call["id"], call["function"]["name"], call["function"]["arguments"]});
        }
      }
      choices.push_back(std::move(choice));
    }
    PromptExtras prompt{Ids(json["prompt_token_ids"]), {}};
    EXPECT_EQ(ChatBody(Head(json), choices, ReadUsage(json["usage"]), prompt, TokenStyle::kText), recorded) << name;
  }
}

TEST(CompletionBody, EqualsEveryRecording) {
  for (const char* name : {"completions", "completions-batch", "completions-echo", "completions-logprobs",
                           "completions-n2", "completions-token-ids", "completions-kv-transfer-ignored"}) {
    const std::string recorded = GoldenResponse(name);
    const Json json = Json::parse(recorded);
    std::vector<CompletionChoice> choices;
    for (const Json& c : json["choices"]) {
      choices.push_back({c["index"],
                         Text(c["text"]),
                         ReadFinish(c),
                         Legacy(c["logprobs"]),
                         Ids(c["token_ids"]),
                         {Ids(c["prompt_token_ids"]), {}},
                         {}});
    }
    EXPECT_EQ(CompletionBody(Head(json), choices, ReadUsage(json["usage"]), TokenStyle::kText), recorded) << name;
  }
}

// Writes a recorded stream again from its own contents.
template <class WriteChoice, class WriteUsage>
std::string Rewrite(const std::vector<std::string>& events, WriteChoice&& choice, WriteUsage&& usage) {
  std::string out;
  for (const std::string& event : events) {
    if (event == "data: [DONE]\n\n") {
      out += event;
      continue;
    }
    const Json json = Json::parse(event.substr(6));
    if (json["choices"].empty())
      usage(out, json);
    else
      choice(out, json);
  }
  return out;
}

ResponseHead StreamHead(const std::vector<std::string>& events) {
  ResponseHead head = Head(Json::parse(events.front().substr(6)));
  for (const std::string& event : events) {
    if (const size_t at = event.find("\"system_fingerprint\":\""); at != std::string::npos) {
      head.fingerprint = event.substr(at + 22, event.find('"', at + 22) - at - 22);
    }
  }
  return head;
}

TEST(ChatStream, EqualsEveryRecording) {
  for (const char* name :
       {"chat-stream", "chat-stream-usage", "chat-stream-n2", "chat-stream-logprobs", "chat-stream-return-token-ids",
        "chat-stream-tools-required", "chat-stream-tools-named", "chat-stream-usage-continuous"}) {
    const auto events = GoldenEvents(name);
    ASSERT_GT(events.size(), 3u);
    const ChatStream stream(StreamHead(events), TokenStyle::kText);
    const auto write_choice = [&](std::string& out, const Json& json) {
      const Json& c = json["choices"][0];
      std::optional<Usage> usage;
      if (json.contains("usage")) usage = ReadUsage(json["usage"]);
      if (c["delta"].contains("role")) {
        const auto ids = Ids(json["prompt_token_ids"]);
        stream.AppendRole(out, c["index"], ids ? &*ids : nullptr, usage ? &*usage : nullptr);
        return;
      }
      const std::string content = c["delta"].contains("content") ? Text(c["delta"]["content"]) : "";
      std::vector<ToolDelta> tools;
      if (c["delta"].contains("tool_calls")) {
        for (const Json& t : c["delta"]["tool_calls"]) {
          const Json& f = t["function"];
          tools.push_back({t["index"], t.contains("id") ? Text(t["id"]) : "", f.contains("name") ? Text(f["name"]) : "",
                           f.contains("arguments") ? Text(f["arguments"]) : ""});
        }
      }
      const Finish finish = ReadFinish(c);
      const auto logprobs = ChatLogprobs(c["logprobs"]);
      const auto ids = Ids(c["token_ids"]);
      StreamDelta delta{.index = c["index"], .content = content, .tool_calls = tools};
      if (!c["finish_reason"].is_null()) delta.finish = &finish;
      if (logprobs) delta.logprobs = *logprobs;
      if (ids) delta.token_ids = *ids;
      if (usage) delta.usage = &*usage;
      delta.last = json.contains("system_fingerprint");
      stream.AppendDelta(out, delta);
    };
    const std::string again = Rewrite(events, write_choice, [&](std::string& out, const Json& json) {
      stream.AppendUsageEvent(out, ReadUsage(json["usage"]));
    });
    EXPECT_EQ(again, GoldenResponse(name)) << name;
  }
}

TEST(CompletionStream, EqualsEveryRecording) {
  for (const char* name : {"completions-stream", "completions-stream-batch", "completions-stream-logprobs",
                           "completions-stream-n2", "completions-stream-token-ids", "completions-stream-usage"}) {
    const auto events = GoldenEvents(name);
    ASSERT_GT(events.size(), 3u);
    CompletionStream stream(StreamHead(events), TokenStyle::kText, 2);
    const auto write_choice = [&](std::string& out, const Json& json) {
      const Json& c = json["choices"][0];
      const std::string text = Text(c["text"]);
      const Finish finish = ReadFinish(c);
      const auto logprobs = Legacy(c["logprobs"]);
      const auto ids = Ids(c["token_ids"]);
      const auto prompt_ids = Ids(c["prompt_token_ids"]);
      StreamDelta delta{.index = c["index"], .content = text};
      if (!c["finish_reason"].is_null()) delta.finish = &finish;
      if (logprobs) delta.logprobs = *logprobs;
      if (ids) delta.token_ids = *ids;
      if (prompt_ids) delta.prompt_token_ids = &*prompt_ids;
      delta.last = json.contains("system_fingerprint");
      stream.AppendDelta(out, delta);
    };
    const std::string again = Rewrite(events, write_choice, [&](std::string& out, const Json& json) {
      stream.AppendUsageEvent(out, ReadUsage(json["usage"]));
    });
    EXPECT_EQ(again, GoldenResponse(name)) << name;
  }
}

TEST(Bodies, ModelsTokenizeDetokenize) {
  const std::string models = GoldenResponse("models");
  const Json json = Json::parse(models);
  const Json& card = json["data"][0];
  EXPECT_EQ(ModelsBody({{card["id"], card["root"], "", card["permission"][0]["id"]}}, card["created"], 1024), models);
  const Json chat = Json::parse(GoldenResponse("tokenize-chat"));
  EXPECT_EQ(TokenizeBody(chat["tokens"].get<std::vector<TokenId>>(), 1024, {}), GoldenResponse("tokenize-chat"));
  const Json prompt = Json::parse(GoldenResponse("tokenize-prompt"));
  EXPECT_EQ(TokenizeBody(prompt["tokens"].get<std::vector<TokenId>>(), 1024,
                         prompt["token_strs"].get<std::vector<std::string>>()),
            GoldenResponse("tokenize-prompt"));
  EXPECT_EQ(DetokenizeBody("The three primary colours are"), GoldenResponse("detokenize"));
}

TEST(Render, EqualsRecordingsWithoutTheClientsKvTransferParams) {
  ModelLimits limits;
  limits.names = {"smollm2"};
  limits.max_model_len = 1024;
  limits.vocab_size = 49152;
  const auto rendered = [](const Json& json) {
    return Rendered{json["request_id"], json["token_ids"].get<std::vector<TokenId>>(),
                    json["sampling_params"]["max_tokens"]};
  };
  const auto chat = ParseChatRequest(GoldenRequest("render-chat"), limits);
  ASSERT_TRUE(chat);
  std::string out;
  AppendRendered(out, rendered(Json::parse(GoldenResponse("render-chat"))), chat->generation, chat->model);
  EXPECT_EQ(out, GoldenResponse("render-chat"));

  const auto salted = ParseChatRequest(GoldenRequest("render-chat-salt-kv"), limits);
  ASSERT_TRUE(salted);
  out.clear();
  AppendRendered(out, rendered(Json::parse(GoldenResponse("render-chat-salt-kv"))), salted->generation, salted->model);
  EXPECT_EQ(out.find("remote"), std::string::npos);
  Json want = Json::parse(GoldenResponse("render-chat-salt-kv"));
  want["sampling_params"].erase("extra_args");
  EXPECT_EQ(out, want.dump());

  const auto batch = ParseCompletionRequest(GoldenRequest("render-completions-batch"), limits);
  ASSERT_TRUE(batch);
  out = "[";
  for (const Json& one : Json::parse(GoldenResponse("render-completions-batch"))) {
    if (out.size() > 1) out += ',';
    AppendRendered(out, rendered(one), batch->generation, batch->model);
  }
  EXPECT_EQ(out + "]", GoldenResponse("render-completions-batch"));
}

TEST(Embeddings, FloatsAndBase64) {
  const ResponseHead head{"embd-1", 7, "m", ""};
  EXPECT_EQ(
      EmbeddingBody(head, {{{0.5F, -1.0F}}}, false, 3),
      R"({"id":"embd-1","object":"list","created":7,"model":"m","data":[{"index":0,"object":"embedding","embedding":[0.5,-1.0]}],)"
      R"("usage":{"prompt_tokens":3,"total_tokens":3,"completion_tokens":0,"prompt_tokens_details":null}})");
  const std::string coded = EmbeddingBody(head, {{{1.0F}}, {{1.0F, 2.0F}}}, true, 3);
  EXPECT_NE(coded.find("\"AACAPw==\""), std::string::npos);
  EXPECT_NE(coded.find("\"AACAPwAAAEA=\""), std::string::npos);
}

TEST(Logprobs, EchoedPromptsPartialCharactersAndIds) {
  std::string out;
  LegacyLogprobs legacy(TokenStyle::kText);
  const PromptLogprobs prompt = {std::nullopt, TokenLogprobs{{5, "é", -1.0}, {{5, "é", -1.0}, {6, "x", -2.0}}}};
  const std::vector<TokenLogprobs> tokens = {{{7, "b", -3.0}, {}}};
  legacy.AppendWithPrompt(out, {4, "ab", 0}, prompt, tokens);
  EXPECT_EQ(out, R"({"text_offset":[0,2,3],"token_logprobs":[null,-1.0,-3.0],"tokens":["ab","é","b"],)"
                 R"("top_logprobs":[null,{"é":-1.0,"x":-2.0},{"b":-3.0}]})");
  out.clear();
  AppendPromptLogprobs(out, prompt);
  EXPECT_EQ(
      out,
      R"([null,{"5":{"logprob":-1.0,"rank":1,"decoded_token":"é"},"6":{"logprob":-2.0,"rank":2,"decoded_token":"x"}}])");
  out.clear();
  AppendChatLogprobs(out, std::vector<TokenLogprobs>{{{9, "\xc3", -1e9}, {}}}, TokenStyle::kText);
  EXPECT_EQ(out,
            "{\"content\":[{\"token\":\"\xef\xbf\xbd\",\"logprob\":-9999.0,\"bytes\":[195],\"top_logprobs\":[]}]}");
  out.clear();
  AppendChatLogprobs(out, std::vector<TokenLogprobs>{{{9, "x", -1}, {}}}, TokenStyle::kId);
  EXPECT_NE(out.find("\"token\":\"token_id:9\""), std::string::npos);
}

TEST(Errors, Envelopes) {
  EXPECT_EQ(DetailBody("Not Found"), R"({"detail":"Not Found"})");
  EXPECT_EQ(UnauthorizedBody(), R"({"error":"Unauthorized"})");
  EXPECT_EQ(
      ErrorBody({Code::kInternal, "EngineCore encountered an issue.", ""}),
      R"({"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError","param":null,"code":500}})");
  std::string out;
  AppendErrorEvent(out, {Code::kUnavailable, "x", ""});
  EXPECT_EQ(
      out,
      "data: {\"error\":{\"message\":\"x\",\"type\":\"ServiceUnavailableError\",\"param\":null,\"code\":503}}\n\n");
}

TEST(Ids, ClientsOwnOrSixteenHexDigits) {
  Rng rng(1);
  EXPECT_EQ(MakeId("chatcmpl-", "req-from-client-1", rng), "chatcmpl-req-from-client-1");
  const std::string id = MakeId("cmpl-", "", rng);
  EXPECT_EQ(id.size(), 5u + 16u);
  EXPECT_NE(id, MakeId("cmpl-", "", rng));
}

}  // namespace
}  // namespace sluice::openai
