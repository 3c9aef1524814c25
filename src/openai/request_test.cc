#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "openai/chat_request.h"
#include "openai/completion_request.h"
#include "openai/embedding_request.h"
#include "openai/error_body.h"
#include "openai/golden.h"
#include "openai/tokenize_request.h"

namespace sluice::openai {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ModelLimits Limits() {
  ModelLimits limits;
  limits.names = {"smollm2"};
  limits.max_model_len = 1024;
  limits.vocab_size = 49152;
  return limits;
}

ChatRequest Chat(const std::string& fields) {
  const std::string body =
      R"({"messages":[{"role":"user","content":"hi"}])" + (fields.empty() ? "" : "," + fields) + "}";
  auto parsed = ParseChatRequest(body, Limits());
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed ? std::move(*parsed) : ChatRequest{};
}

Error ChatFault(const std::string& fields) {
  const std::string body = R"({"messages":[{"role":"user","content":"hi"}],)" + fields + "}";
  const auto parsed = ParseChatRequest(body, Limits());
  EXPECT_FALSE(parsed) << body;
  return parsed ? Error{} : parsed.error();
}

Error CompletionFault(const std::string& fields) {
  const auto parsed = ParseCompletionRequest("{\"prompt\":\"x\"," + fields + "}", Limits());
  EXPECT_FALSE(parsed) << fields;
  return parsed ? Error{} : parsed.error();
}

// Every fault of a request that vLLM reports before it tokenizes, byte for byte.
class RecordedFault : public testing::TestWithParam<const char*> {};

TEST_P(RecordedFault, IsAnsweredAlike) {
  const std::string name = GetParam();
  const std::string request = GoldenFile(name + ".request.http");
  Error error;
  if (request.starts_with("POST /v1/chat/completions")) {
    const auto parsed = ParseChatRequest(Body(request), Limits());
    ASSERT_FALSE(parsed);
    error = parsed.error();
  } else {
    const auto parsed = ParseCompletionRequest(Body(request), Limits());
    if (parsed) {  // what depends on the prompt's length is said after tokenizing
      const auto fits = MaxTokens(parsed->generation, 5, Limits());
      ASSERT_FALSE(fits);
      error = fits.error();
    } else {
      error = parsed.error();
    }
  }
  EXPECT_EQ(ErrorBody(error), GoldenResponse(name));
  EXPECT_EQ(Info(error.code).http_status, GoldenStatus(name));
}

INSTANTIATE_TEST_SUITE_P(Vllm, RecordedFault,
                         testing::Values("err-cache-salt", "err-completions-context-max-tokens",
                                         "err-completions-model", "err-empty-body", "err-empty-messages",
                                         "err-empty-prompt", "err-image", "err-messages-type", "err-missing-messages",
                                         "err-missing-prompt", "err-model", "err-n0", "err-priority-type",
                                         "err-stream-model", "err-stream-options-without-stream", "err-temperature",
                                         "err-token-out-of-vocab", "err-top-logprobs", "err-type", "chat-max-tokens-0",
                                         "render-err-model"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

// Every recorded request that vLLM answered is accepted.
TEST(Recorded, GoodRequestsAreAccepted) {
  for (const char* name :
       {"chat", "chat-n2", "chat-logprobs", "chat-json-schema", "chat-stop", "chat-tools-required", "chat-tools-named",
        "chat-return-token-ids", "chat-stream-usage-continuous", "err-unknown-field"}) {
    EXPECT_TRUE(ParseChatRequest(GoldenRequest(name), Limits())) << name;
  }
  for (const char* name :
       {"completions", "completions-batch", "completions-echo", "completions-logprobs", "completions-n2",
        "completions-token-ids", "completions-kv-transfer-ignored", "completions-stream-batch"}) {
    EXPECT_TRUE(ParseCompletionRequest(GoldenRequest(name), Limits())) << name;
  }
}

TEST(Recorded, JsonFaultNamesTheByte) {
  const auto parsed = ParseChatRequest(GoldenRequest("err-json"), Limits());
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().param, "body.34");
  EXPECT_THAT(ErrorBody(parsed.error()),
              HasSubstr(R"('type': 'json_invalid', 'loc': 'body.34', 'msg': 'JSON decode error')"));
  EXPECT_THAT(ErrorBody(parsed.error()), HasSubstr(R"("type":"Bad Request")"));
}

TEST(Recorded, ContextFaults) {
  Generation generation;
  generation.max_tokens = 12;
  const auto over = MaxTokens(generation, 1025, Limits());
  ASSERT_FALSE(over);
  EXPECT_EQ(ErrorBody(over.error()), GoldenResponse("err-context"));
  EXPECT_EQ(ErrorBody(over.error()), GoldenResponse("err-completions-context"));
}

TEST(MaxTokens, AtTheLimitAndOneBeyond) {
  Generation generation;
  EXPECT_EQ(MaxTokens(generation, 1000, Limits()), 24);
  EXPECT_EQ(MaxTokens(generation, 1023, Limits()), 1);
  EXPECT_FALSE(MaxTokens(generation, 1024, Limits()));
  EXPECT_FALSE(MaxTokens(generation, 0, Limits()));
  generation.max_tokens = 24;
  EXPECT_EQ(MaxTokens(generation, 1000, Limits()), 24);
  generation.max_tokens = 25;
  const auto over = MaxTokens(generation, 1000, Limits());
  ASSERT_FALSE(over);
  EXPECT_THAT(over.error().message, HasSubstr("for a total of at least 1025 tokens"));
}

TEST(Chat, DefaultsAreVllms) {
  const ChatRequest request = Chat("");
  EXPECT_EQ(request.model, "smollm2");
  const Generation& g = request.generation;
  EXPECT_EQ(g.n, 1);
  EXPECT_EQ(g.temperature, 1.0);
  EXPECT_EQ(g.top_p, 1.0);
  EXPECT_EQ(g.top_k, 0);
  EXPECT_FALSE(g.max_tokens);
  EXPECT_FALSE(g.logprobs);
  EXPECT_FALSE(g.stream);
  EXPECT_TRUE(g.skip_special_tokens);
  EXPECT_EQ(request.conversation.messages, R"([{"role":"user","content":"hi"}])");
  EXPECT_TRUE(request.conversation.add_generation_prompt);
  EXPECT_FALSE(request.conversation.add_special_tokens);
  EXPECT_EQ(request.tool_choice, ToolChoice::kNone);
}

TEST(Chat, ReadsEveryField) {
  const ChatRequest request = Chat(
      R"("n":2,"temperature":"0.5","top_p":0.9,"top_k":40,"min_p":0.1,"presence_penalty":1,"frequency_penalty":-1,
      "repetition_penalty":1.1,"seed":-7,"logit_bias":{"5":200,"6":-1.5},"max_tokens":9,"max_completion_tokens":7.0,"min_tokens":2,
      "ignore_eos":true,"stop":"END","stop_token_ids":[3],"include_stop_str_in_output":true,"skip_special_tokens":false,
      "logprobs":true,"top_logprobs":3,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},
      "cache_salt":"s","priority":"5","session_id":"sid","user":"u","return_token_ids":true,"request_id":"rid",
      "chat_template_kwargs":{"enable_thinking":false},"unknown_one":1)");
  const Generation& g = request.generation;
  EXPECT_EQ(g.n, 2);
  EXPECT_EQ(g.temperature, 0.5);
  EXPECT_EQ(g.top_k, 40);
  EXPECT_EQ(g.seed, -7);
  EXPECT_EQ(g.logit_bias.at(5), 100.0F);
  EXPECT_EQ(g.logit_bias.at(6), -1.5F);
  EXPECT_EQ(g.max_tokens, 7);
  EXPECT_EQ(g.min_tokens, 2);
  EXPECT_TRUE(g.ignore_eos);
  EXPECT_THAT(g.stop, ElementsAre("END"));
  EXPECT_THAT(g.stop_token_ids, ElementsAre(3));
  EXPECT_TRUE(g.include_stop_str_in_output);
  EXPECT_FALSE(g.skip_special_tokens);
  EXPECT_EQ(g.logprobs, 3);
  EXPECT_TRUE(g.stream && g.include_usage && g.continuous_usage);
  EXPECT_EQ(g.cache_salt, "s");
  EXPECT_EQ(g.priority, 5);
  EXPECT_EQ(g.session_id, "sid");
  EXPECT_EQ(g.request_id, "rid");
  EXPECT_TRUE(g.return_token_ids);
  EXPECT_EQ(request.conversation.template_kwargs.at("enable_thinking"), "false");
  EXPECT_THAT(request.unknown_fields, ElementsAre("unknown_one"));
}

TEST(Chat, RangesInVllmsWords) {
  EXPECT_EQ(ChatFault(R"("top_p":0)").message, "top_p must be in (0, 1], got 0.0. (parameter=top_p, value=0.0)");
  EXPECT_EQ(ChatFault(R"("top_k":-2)").message, "top_k must be 0 (disable), or at least 1, got -2.");
  EXPECT_EQ(ChatFault(R"("min_p":-0.1)").message, "min_p must be in [0, 1], got -0.1.");
  EXPECT_EQ(ChatFault(R"("presence_penalty":2.1)").message, "presence_penalty must be in [-2, 2], got 2.1.");
  EXPECT_EQ(ChatFault(R"("frequency_penalty":-2.1)").message, "frequency_penalty must be in [-2, 2], got -2.1.");
  EXPECT_EQ(ChatFault(R"("repetition_penalty":0)").message, "repetition_penalty must be greater than zero, got 0.0.");
  EXPECT_EQ(ChatFault(R"("min_tokens":-1)").message, "min_tokens must be greater than or equal to 0, got -1.");
  EXPECT_EQ(ChatFault(R"("min_tokens":5,"max_tokens":4)").message,
            "min_tokens must be less than or equal to max_tokens=4, got 5.");
  EXPECT_EQ(ChatFault(R"("stop":["a",""])").message, "stop cannot contain an empty string.");
  EXPECT_EQ(ChatFault(R"("logprobs":true,"top_logprobs":21)").message,
            "Requested sample logprobs of 21, which is greater than max allowed: 20 (parameter=logprobs, value=21)");
  EXPECT_EQ(ChatFault(R"("max_completion_tokens":-1)").param, "max_tokens");
}

TEST(Chat, LimitsHold) {
  EXPECT_EQ(Chat(R"("n":128)").generation.n, 128);
  EXPECT_THAT(ChatFault(R"("n":129)").message, HasSubstr("at most 128"));
  EXPECT_EQ(Chat(R"("stop":["1","2","3","4"])").generation.stop.size(), 4u);
  EXPECT_EQ(ChatFault(R"("stop":["1","2","3","4","5"])").param, "body.stop");
  EXPECT_THAT(ChatFault("\"stop\":\"" + std::string(1025, 'x') + "\"").message, HasSubstr("1025 bytes"));
  EXPECT_THAT(ChatFault("\"cache_salt\":\"" + std::string(1025, 'x') + "\"").param, "body.cache_salt");
  EXPECT_THAT(ChatFault(R"("logit_bias":{"49152":1})").message, HasSubstr("out-of-vocab"));
  EXPECT_THAT(ChatFault(R"("logit_bias":{"x":1})").message, HasSubstr("must be an integer"));
  EXPECT_THAT(ChatFault(R"("stop_token_ids":[49152])").message, "Token id 49152 is out of vocabulary");
  std::string biases;
  for (int i = 0; i <= 300; ++i) biases += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":1";
  EXPECT_EQ(ChatFault("\"logit_bias\":{" + biases + "}").param, "logit_bias");
}

TEST(Chat, SeveralFormFaultsAreReportedTogether) {
  const Error error = ChatFault(R"("n":[],"temperature":{},"stream":"perhaps","seed":1.5)");
  EXPECT_THAT(error.message, HasSubstr("4 validation errors:"));
  EXPECT_THAT(
      error.message,
      HasSubstr("'loc': 'body.temperature', 'msg': 'Input should be a valid number', 'input': '<dict of 0 items>'"));
  EXPECT_THAT(error.message, HasSubstr("'int_from_float'"));
  EXPECT_EQ(error.code, Code::kInvalidArgument);
}

TEST(Chat, WhatChangesTheAnswerAndIsNotCarriedOutIsRefused) {
  EXPECT_EQ(ChatFault(R"("bad_words":["x"])").param, "bad_words");
  EXPECT_EQ(ChatFault(R"("use_beam_search":true)").param, "use_beam_search");
  EXPECT_EQ(ChatFault(R"("allowed_token_ids":[1])").param, "allowed_token_ids");
  EXPECT_EQ(ChatFault(R"("chat_template":"{{x}}")").param, "chat_template");
  EXPECT_THAT(Chat(R"("bad_words":[],"use_beam_search":false,"suffix":null)").unknown_fields, IsEmpty());
}

TEST(Chat, ClientsKvTransferParamsAreDropped) {
  const ChatRequest request = Chat(R"("kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false})");
  EXPECT_THAT(request.unknown_fields, IsEmpty());
}

TEST(Chat, MessagesAreMadeUniform) {
  const auto parsed = ParseChatRequest(
      R"({"messages":[{"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
      {"role":"tool","tool_call_id":"1","content":"r"}]})",
      Limits());
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_THAT(parsed->conversation.messages, HasSubstr(R"({"role":"system","content":"a\nb"})"));
  EXPECT_THAT(parsed->conversation.messages, HasSubstr(R"("content":null,"tool_calls")"));
}

TEST(Chat, BadMessagesAreNamed) {
  const auto fault = [](const std::string& messages) {
    const auto parsed = ParseChatRequest("{\"messages\":" + messages + "}", Limits());
    return parsed ? std::string("accepted") : parsed.error().param;
  };
  EXPECT_EQ(fault("[5]"), "body.messages.0");
  EXPECT_EQ(fault("[{}]"), "body.messages.0.role");
  EXPECT_EQ(fault(R"([{"role":5,"content":"x"}])"), "body.messages.0.role");
  EXPECT_EQ(fault(R"([{"role":"user"}])"), "body.messages.0.content");
  EXPECT_EQ(fault(R"([{"role":"user","content":5}])"), "body.messages.0.content");
  EXPECT_EQ(fault(R"([{"role":"user","content":[{"type":"text"}]}])"), "body.messages.0.content.0.text");
  EXPECT_EQ(fault(R"([{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}])"),
            "body.messages.0.tool_calls.0.function.arguments");
}

constexpr std::string_view kTools =
    R"("tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}])";

TEST(Chat, ToolChoices) {
  const std::string tools(kTools);
  EXPECT_EQ(Chat(tools).tool_choice, ToolChoice::kAuto);
  EXPECT_EQ(Chat(tools).tools.front().parameters, R"({"type":"object"})");
  EXPECT_EQ(Chat(tools + R"(,"tool_choice":"required")").tool_choice, ToolChoice::kRequired);
  const ChatRequest none = Chat(tools + R"(,"tool_choice":"none")");
  EXPECT_EQ(none.tool_choice, ToolChoice::kNone);
  EXPECT_TRUE(none.conversation.tools.empty());
  const ChatRequest named = Chat(tools + R"(,"tool_choice":{"type":"function","function":{"name":"get_weather"}})");
  EXPECT_EQ(named.tool_choice, ToolChoice::kNamed);
  EXPECT_EQ(named.tool_name, "get_weather");
  EXPECT_EQ(Chat(R"("tools":[],"tool_choice":"auto")").tool_choice, ToolChoice::kNone);
  EXPECT_THAT(ChatFault(tools + R"(,"tool_choice":{"type":"function","function":{"name":"get_wether"}})").message,
              HasSubstr("did you mean 'get_weather'"));
  EXPECT_EQ(ChatFault(R"("tool_choice":"auto")").message, "When using `tool_choice`, `tools` must be set.");
  EXPECT_THAT(ChatFault(tools + R"(,"tool_choice":"maybe")").message,
              HasSubstr("Invalid value for `tool_choice`: maybe!"));
  EXPECT_EQ(ChatFault(R"("tools":[{"type":"function","function":{}}])").param, "body.tools.0.function.name");
}

TEST(Chat, Constraints) {
  EXPECT_EQ(Chat(R"("response_format":{"type":"text"})").generation.constraint.kind, Constraint::Kind::kNone);
  EXPECT_EQ(Chat(R"("response_format":{"type":"json_object"})").generation.constraint.kind,
            Constraint::Kind::kJsonObject);
  const Constraint schema =
      Chat(R"("response_format":{"type":"json_schema","json_schema":{"name":"o","schema":{"b":1,"a":2}}})")
          .generation.constraint;
  EXPECT_EQ(schema.kind, Constraint::Kind::kJsonSchema);
  EXPECT_EQ(schema.text, R"({"b":1,"a":2})");
  EXPECT_THAT(Chat(R"("structured_outputs":{"choice":["x","y"]})").generation.constraint.choices,
              ElementsAre("x", "y"));
  EXPECT_THAT(ChatFault(R"("structured_outputs":{"regex":"a"})").message, HasSubstr("regex is not supported"));
  EXPECT_THAT(ChatFault(R"("structured_outputs":{"grammar":"a","json":{}})").message, HasSubstr("multiple"));
  EXPECT_THAT(ChatFault(R"("response_format":{"type":"json_schem"})").message, HasSubstr("did you mean 'json_schema'"));
}

TEST(Completion, PromptForms) {
  const auto prompts = [](const std::string& prompt) {
    const auto parsed = ParseCompletionRequest("{\"prompt\":" + prompt + "}", Limits());
    EXPECT_TRUE(parsed) << parsed.error().message;
    return parsed ? parsed->prompts : std::vector<Prompt>{};
  };
  EXPECT_EQ(prompts("\"a\"").at(0).text, "a");
  EXPECT_EQ(prompts("[\"a\",\"b\"]").at(1).text, "b");
  EXPECT_THAT(prompts("[1,2]").at(0).tokens, ElementsAre(1, 2));
  EXPECT_THAT(prompts("[[1],[2,3]]").at(1).tokens, ElementsAre(2, 3));
  EXPECT_EQ(prompts("[[1],[2,3]]").size(), 2u);
  const auto fault = [](const std::string& prompt) {
    const auto parsed = ParseCompletionRequest("{\"prompt\":" + prompt + "}", Limits());
    return parsed ? std::string("accepted") : parsed.error().param;
  };
  EXPECT_EQ(fault("5"), "body.prompt");
  EXPECT_EQ(fault("[\"a\",5]"), "body.prompt.1");
  EXPECT_EQ(fault("[1,\"x\"]"), "body.prompt.1");
  EXPECT_EQ(fault("[[1],[-1]]"), "body.prompt.1.0");
  EXPECT_EQ(fault("[]"), "prompt");
}

TEST(Completion, DefaultsEchoAndLogprobs) {
  const auto plain = ParseCompletionRequest(R"({"prompt":"x"})", Limits());
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->generation.max_tokens, 16);
  EXPECT_TRUE(plain->add_special_tokens);
  EXPECT_FALSE(ParseCompletionRequest(R"({"prompt":"x","max_tokens":null})", Limits())->generation.max_tokens);
  const auto echo = ParseCompletionRequest(R"({"prompt":"x","echo":true,"max_tokens":0,"logprobs":1})", Limits());
  ASSERT_TRUE(echo);
  EXPECT_EQ(echo->generation.prompt_logprobs, 1);
  EXPECT_EQ(CompletionFault(R"("max_tokens":0)").param, "max_tokens");
  EXPECT_EQ(CompletionFault(R"("suffix":"x")").param, "suffix");
}

TEST(Completion, SequencesAreBounded) {
  ModelLimits limits = Limits();
  limits.sequences_max = 4;
  EXPECT_TRUE(ParseCompletionRequest(R"({"prompt":["a","b"],"n":2})", limits));
  EXPECT_FALSE(ParseCompletionRequest(R"({"prompt":["a","b"],"n":3})", limits));
}

TEST(Embedding, FormsAndFaults) {
  const auto parsed =
      ParseEmbeddingRequest(R"({"input":["a","b"],"encoding_format":"base64","model":"smollm2"})", Limits());
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->base64);
  EXPECT_EQ(parsed->inputs.size(), 2u);
  const auto param = [](const std::string& body) {
    const auto result = ParseEmbeddingRequest(body, Limits());
    return result ? std::string("accepted") : result.error().param;
  };
  EXPECT_EQ(param("{}"), "body.input");
  EXPECT_EQ(param(R"({"input":""})"), "input");
  EXPECT_EQ(param(R"({"input":"a","encoding_format":"hex"})"), "body.encoding_format");
  EXPECT_EQ(param(R"({"input":"a","dimensions":8})"), "dimensions");
  EXPECT_EQ(param(R"({"input":"a","model":"x"})"), "model");
}

TEST(Tokenize, BothForms) {
  const auto prompt = ParseTokenizeRequest(GoldenRequest("tokenize-prompt"), Limits());
  ASSERT_TRUE(prompt);
  EXPECT_EQ(prompt->prompt, "The three primary colours are");
  EXPECT_TRUE(prompt->return_token_strs);
  EXPECT_TRUE(prompt->add_special_tokens);
  const auto chat = ParseTokenizeRequest(GoldenRequest("tokenize-chat"), Limits());
  ASSERT_TRUE(chat && chat->conversation);
  EXPECT_FALSE(chat->add_special_tokens);
  EXPECT_EQ(ParseTokenizeRequest("{}", Limits()).error().param, "body.prompt");
  const auto tokens = ParseDetokenizeRequest(GoldenRequest("detokenize"), Limits());
  ASSERT_TRUE(tokens);
  EXPECT_EQ(tokens->tokens.size(), 5u);
  EXPECT_FALSE(ParseDetokenizeRequest(R"({"tokens":[49152]})", Limits()));
  EXPECT_EQ(ParseDetokenizeRequest("{}", Limits()).error().param, "body.tokens");
}

TEST(Model, ErrorsListWhatIsServedAndBoundTheEcho) {
  ModelLimits limits = Limits();
  limits.names = {"a", "b"};
  const auto unknown = CheckModel(std::string(1000, 'x'), limits);
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("Valid aliases: a, b."));
  EXPECT_LT(unknown.error().message.size(), 400u);
  EXPECT_EQ(CheckModel(std::nullopt, limits), "a");
  EXPECT_EQ(CheckModel("b", limits), "b");
}

TEST(Truncate, KeepsTheRightEnd) {
  Generation g;
  std::vector<TokenId> tokens = {1, 2, 3, 4};
  TruncatePrompt(g, Limits(), tokens);
  EXPECT_EQ(tokens.size(), 4u);
  g.truncate_prompt_tokens = 2;
  TruncatePrompt(g, Limits(), tokens);
  EXPECT_THAT(tokens, ElementsAre(3, 4));
  g.truncate_prompt_tokens = 1;
  g.truncate_from_right = true;
  TruncatePrompt(g, Limits(), tokens);
  EXPECT_THAT(tokens, ElementsAre(3));
}

}  // namespace
}  // namespace sluice::openai
