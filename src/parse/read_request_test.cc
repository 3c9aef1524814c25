#include "parse/read_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "openai/golden.h"
#include "parse/proto_reader.h"

namespace sluice::parse {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

const ParserTable& All() {
  static const ParserTable table = [] {
    std::vector<std::string> types;
    for (const Parser& parser : AllParsers()) types.emplace_back(parser.type);
    return *ParserTable::Build(types);
  }();
  return table;
}

// A body read, with what its views point into.
struct Read {
  explicit Read(std::string_view path, std::string body_, std::string_view content_type = "application/json")
      : body(std::move(body_)) {
    request.headers = {{"content-type", content_type}};
    facts = ReadRequest(*All().For(path), reader, body, request);
  }
  std::string error() const { return facts ? "" : facts.error().message; }
  const std::vector<std::string_view>& text() const { return request.prompts.at(0).text; }

  std::string body;
  codec::JsonReader reader;
  model::Request request;
  Result<BodyFacts> facts;
};

constexpr std::string_view kChat = "/v1/chat/completions";

TEST(ReadChat, WhatRoutingNeedsInUpstreamsOrder) {
  const Read read(kChat, R"({"model":"m","stream":true,"cache_salt":"s","max_tokens":9,"max_completion_tokens":7,)"
                         R"("messages":[{"role":"system","content":"be brief"},{"role":"user","content":)"
                         R"([{"type":"text","text":"hi"},{"type":"text","text":"there"}]}],"tools":[ {"a":1.0} ]})");
  ASSERT_TRUE(read.facts) << read.error();
  EXPECT_FALSE(read.facts->transfer_params);
  EXPECT_TRUE(read.facts->can_rewrite_model);
  EXPECT_EQ(read.request.model, "m");
  EXPECT_EQ(read.request.target_model, "m");
  EXPECT_TRUE(read.request.streaming);
  EXPECT_EQ(read.request.cache_salt, "s");
  EXPECT_EQ(read.request.output_tokens_max, 7u);
  EXPECT_EQ(read.request.body_bytes, read.body.size());
  ASSERT_EQ(read.request.prompts.size(), 1u);
  EXPECT_THAT(read.text(), ElementsAre("[ {\"a\":1.0} ]", "system", "be brief", "user", "hi", "there"));
}

TEST(ReadChat, MediaStandsApartInItsPlace) {
  const Read read(kChat, R"({"messages":[{"role":"user","content":[{"type":"text","text":"see"},)"
                         R"({"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},)"
                         R"({"type":"video_url","video_url":{"url":"http://v"}},{"type":"text","text":"and"},)"
                         R"({"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}},)"
                         R"({"type":"input_image","image_url":"http://i"}]}]})");
  ASSERT_TRUE(read.facts) << read.error();
  EXPECT_THAT(read.text(), ElementsAre("user", "see", "and"));
  const auto& media = read.request.prompts[0].media;
  ASSERT_EQ(media.size(), 4u);
  EXPECT_EQ(media[0].content, "data:image/png;base64,AA");
  EXPECT_EQ(media[0].before_text, 2u);
  EXPECT_EQ(media[1].kind, model::Media::Kind::kVideo);
  EXPECT_EQ(media[2].kind, model::Media::Kind::kAudio);
  EXPECT_EQ(media[2].content, "UklG");
  EXPECT_EQ(media[2].before_text, 3u);
  EXPECT_EQ(media[3].content, "http://i");
}

TEST(ReadChat, ToolCallsAreText) {
  const Read read(kChat,
                  R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","function":)"
                  R"({"name":"f","arguments":"{\"x\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"2"}]})");
  ASSERT_TRUE(read.facts) << read.error();
  EXPECT_THAT(read.text(), ElementsAre("assistant", "f", "{\"x\":1}", "tool", "2"));
}

TEST(ReadRequest, WhatNoEngineCouldRead) {
  struct Case {
    std::string_view path, body, error;
  };
  const Case cases[] = {
      {kChat, "{", "error unmarshaling request bodyMap: "},
      {kChat, "", "error unmarshaling request bodyMap: "},
      {kChat, "{\"model\":\"\xff\"}", "error unmarshaling request bodyMap: "},
      {kChat, "[]", "the request body must be a JSON object"},
      {kChat, "null", "the request body must be a JSON object"},
      {kChat, R"({"model":"m"})", "invalid chat completions request: must have valid messages field"},
      {kChat, R"({"messages":[]})", "invalid chat completions request: must have valid messages field"},
      {kChat, R"({"messages":"hi"})", "invalid chat completions request: must have valid messages field"},
      {kChat, R"({"messages":["hi"]})", "invalid chat completions request: must have valid messages field"},
      {kChat, R"({"messages":[{}],"messages":7})", "invalid chat completions request: must have valid messages field"},
      {kChat, R"({"model":7,"messages":[{}]})", "`model` must be a string"},
      {kChat, R"({"stream":"yes","messages":[{}]})", "`stream` must be true or false"},
      {"/v1/completions", "{}", "invalid completions request: must have prompt field"},
      {"/v1/completions", R"({"prompt":null})", "invalid completions request: must have prompt field"},
      {"/v1/completions", R"({"prompt":7})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":{}})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[1,"a"]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":["a",1]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[-1]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[5.0]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[1.5]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[4294967296]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[18446744073709551615]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[true]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[[1],[[2]]]})", "`prompt` must be a string"},
      {"/v1/completions", R"({"prompt":[[1],2]})", "`prompt` must be a string"},
      {"/v1/embeddings", "{}", "invalid embeddings request: must have input field"},
      {"/v1/embeddings", R"({"input":[1.0]})", "`input` must be a string"},
      {"/v1/responses", "{}", "invalid responses request: must have input field"},
      {"/v1/responses", R"({"input":7})", "invalid responses request: must have input field"},
      {"/v1/conversations", "{}", "invalid conversations request: must have items field"},
      {"/v1/images/generations", R"({"prompt":["a"]})", "invalid images generations request: must have prompt field"},
      {"/v1/messages", R"({"messages":[]})", "invalid messages request: must have at least one message"},
      {"/v1/messages", "{}", "invalid messages request: must have at least one message"},
      {"/inference/v1/generate", "{}", "invalid generate request: must have token_ids field"},
      {"/inference/v1/generate", R"({"token_ids":"a"})", "`token_ids` must be a list of token ids"},
      {"/inference/v1/generate", R"({"token_ids":[[1]]})", "`token_ids` must be a list of token ids"},
      {"/generate", "{}", "invalid generate request: must have input_ids or text field"},
      {"/generate", R"({"input_ids":[[1],[2]]})", "`input_ids` must be a list of token ids"},
      {"/generate", R"({"input_ids":[1.0]})", "`input_ids` must be a list of token ids"},
      {"/tokenize", "[]", "the request body must be a JSON object"},
  };
  for (const Case& c : cases) {
    const Read read(c.path, std::string(c.body));
    ASSERT_FALSE(read.facts) << c.path << ' ' << c.body;
    EXPECT_EQ(read.facts.error().code, Code::kInvalidArgument) << c.body;
    EXPECT_THAT(read.error(), StartsWith(std::string(c.error))) << c.path << ' ' << c.body;
  }
}

TEST(ReadRequest, HugeNestingIsRefusedAndDeepNestingSurvived) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_THAT(Read(kChat, R"({"messages":[{}],"x":)" + deep + "}").error(), StartsWith("error unmarshaling"));
  const std::string some = std::string(100, '[') + "\"deep\"" + std::string(100, ']');
  const Read read("/v1/responses", R"({"input":[)" + some + "]}");
  ASSERT_TRUE(read.facts) << read.error();
  EXPECT_THAT(read.text(), IsEmpty());  // beyond what is followed
  std::string content = "\"x\"";
  for (int i = 0; i < 35; ++i) content = R"([{"type":"tool_result","content":)" + content + "}]";
  EXPECT_TRUE(Read("/v1/messages", R"({"messages":[{"content":)" + content + "}]}").facts);
}

TEST(ReadCompletions, EveryShapeOfPrompt) {
  const auto prompts = [](std::string_view prompt) {
    const Read read("/v1/completions", R"({"prompt":)" + std::string(prompt) + "}");
    return read.facts ? static_cast<int>(read.request.prompts.size()) : -1;
  };
  EXPECT_EQ(prompts(R"("hello")"), 1);
  EXPECT_EQ(prompts(R"(["a","b","c"])"), 3);
  EXPECT_EQ(prompts("[[1,2],[3]]"), 2);
  EXPECT_EQ(prompts("[]"), 0);
  const Read ids("/v1/completions/render", R"({"prompt":[0,5,4294967295],"max_tokens":3})");
  ASSERT_TRUE(ids.facts);
  EXPECT_THAT(ids.request.prompts.at(0).tokens, ElementsAre(0, 5, 4294967295));
  EXPECT_EQ(ids.request.output_tokens_max, 3u);
  EXPECT_TRUE(Read("/v1/completions", R"({"prompt_embeds":"AAAA"})").facts);
}

TEST(ReadRequest, ARepeatedKeyHasItsLastValue) {
  const Read read("/v1/completions", R"({"model":"a","prompt":"one","prompt":"two","model":"b"})");
  ASSERT_TRUE(read.facts);
  EXPECT_EQ(read.request.model, "b");
  EXPECT_THAT(read.text(), ElementsAre("two"));
}

TEST(ReadRequest, LimitsThatAreNoneAreLeftToTheEngine) {
  for (const std::string_view value : {"-1", "1.5", "\"7\"", "null", "99999999999"}) {
    const Read read("/v1/completions", R"({"prompt":"a","max_tokens":)" + std::string(value) + "}");
    ASSERT_TRUE(read.facts) << value;
    EXPECT_FALSE(read.request.output_tokens_max) << value;
  }
}

TEST(ReadEmbeddings, TextTokensAndChats) {
  EXPECT_EQ(Read("/v1/embeddings", R"({"input":["a","b"]})").request.prompts.size(), 2u);
  EXPECT_THAT(Read("/v1/embeddings", R"({"input":[7,8]})").request.prompts.at(0).tokens, ElementsAre(7, 8));
  const Read chat("/v1/embeddings", R"({"messages":[{"role":"user","content":"x"}]})");
  ASSERT_TRUE(chat.facts);
  EXPECT_THAT(chat.text(), ElementsAre("user", "x"));
}

TEST(ReadResponses, InstructionsToolsInput) {
  const Read plain("/v1/responses", R"({"model":"m","input":"ask","tools":[{}],"instructions":"be kind",)"
                                    R"("max_output_tokens":8,"stream":true})");
  ASSERT_TRUE(plain.facts) << plain.error();
  EXPECT_THAT(plain.text(), ElementsAre("be kind", "[{}]", "ask"));
  EXPECT_EQ(plain.request.output_tokens_max, 8u);
  EXPECT_TRUE(plain.request.streaming);
  const Read items("/v1/responses", R"({"input":[{"role":"user","content":[{"type":"input_text","text":"see"},)"
                                    R"({"type":"input_image","image_url":"data:x"}]},)"
                                    R"({"type":"function_call_output","output":"42"}]})");
  ASSERT_TRUE(items.facts) << items.error();
  EXPECT_THAT(items.text(), ElementsAre("user", "see", "type", "function_call_output", "output", "42"));
  EXPECT_EQ(items.request.prompts[0].media.size(), 1u);
}

TEST(ReadConversations, ItemsAndImages) {
  const Read read("/v1/conversations", R"({"items":[{"type":"message","role":"user","content":"hi"}]})");
  ASSERT_TRUE(read.facts) << read.error();
  EXPECT_THAT(read.text(), ElementsAre("user", "hi"));
  EXPECT_THAT(Read("/v1/images/generations", R"({"prompt":"a cat"})").text(), ElementsAre("a cat"));
}

TEST(ReadMessages, ToolsSystemMessages) {
  const Read read(
      "/v1/messages",
      R"({"model":"claude","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"q"},)"
      R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}},)"
      R"({"type":"image","source":{"type":"url","url":"http://i"}}]},)"
      R"({"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t",)"
      R"("name":"ls","input":{"path":"/"}}]},{"role":"user","content":[{"type":"tool_result",)"
      R"("tool_use_id":"t","content":[{"type":"text","text":"bin"}]}]}],)"
      R"("system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=1; h=9f"},)"
      R"({"type":"text","text":"You are kind."}],"tools":[{"name":"ls"}]})");
  ASSERT_TRUE(read.facts) << read.error();
  EXPECT_THAT(read.text(), ElementsAre("[{\"name\":\"ls\"}]", "system", "You are kind.", "user", "q", "assistant", "hm",
                                       "ls", "path", "/", "user", "bin"));
  ASSERT_EQ(read.request.prompts[0].media.size(), 2u);
  EXPECT_EQ(read.request.prompts[0].media[0].content, "iVBO");
  EXPECT_EQ(read.request.prompts[0].media[0].before_text, 5u);
  EXPECT_EQ(read.request.prompts[0].media[1].content, "http://i");
  EXPECT_EQ(read.request.output_tokens_max, 5u);
}

TEST(ReadMessages, TheBillingHeaderIsNoPartOfThePrompt) {
  const auto text = [](std::string_view system) {
    const Read read("/v1/messages", R"({"system":)" + std::string(system) + R"(,"messages":[{"role":"user"}]})");
    return std::vector<std::string>(read.text().begin(), read.text().end());
  };
  EXPECT_THAT(text(R"("x-anthropic-billing-header: 1")"), ElementsAre("user"));
  EXPECT_THAT(text(R"([{"type":"text","text":"x-anthropic-billing-header"}])"), ElementsAre("user"));
  EXPECT_THAT(text(R"("see x-anthropic-billing-header")"),
              ElementsAre("system", "see x-anthropic-billing-header", "user"));
}

TEST(ReadModelOnly, PathsWhosePromptsDoNotMatter) {
  for (const std::string_view path : {"/v1/messages/count_tokens", "/tokenize", "/detokenize"}) {
    const Read read(path, R"({"model":"m","prompt":"a","messages":[]})");
    ASSERT_TRUE(read.facts) << path;
    EXPECT_EQ(read.request.model, "m");
    EXPECT_THAT(read.request.prompts, IsEmpty());
    EXPECT_FALSE(All().For("/v1/messages/count_tokens")->answer_has_usage());
  }
}

TEST(ReadVllmGenerate, TokensFeaturesAndLimit) {
  const Read read("/inference/v1/generate",
                  R"({"model":"m","token_ids":[1,2],"sampling_params":{"max_tokens":4},"cache_salt":"s","stream":true,)"
                  R"("features":{"mm_hashes":{"image":["aa","bb"],"audio":["cc"]},"mm_placeholders":{}}})");
  ASSERT_TRUE(read.facts) << read.error();
  EXPECT_THAT(read.request.prompts.at(0).tokens, ElementsAre(1, 2));
  ASSERT_EQ(read.request.prompts[0].media.size(), 3u);
  EXPECT_EQ(read.request.prompts[0].media[1].content, "bb");
  EXPECT_EQ(read.request.prompts[0].media[2].kind, model::Media::Kind::kAudio);
  EXPECT_EQ(read.request.output_tokens_max, 4u);
  EXPECT_EQ(read.request.cache_salt, "s");
  EXPECT_TRUE(read.facts->can_rewrite_model);
}

TEST(ReadSglangGenerate, HasNoModelAndItsOwnSalt) {
  const Read read("/generate", R"({"model":"m","input_ids":[1,2],"extra_key":"tenant","cache_salt":"no",)"
                               R"("sampling_params":{"max_new_tokens":4}})");
  ASSERT_TRUE(read.facts) << read.error();
  EXPECT_EQ(read.request.model, "");
  EXPECT_EQ(read.request.cache_salt, "tenant");
  EXPECT_EQ(read.request.output_tokens_max, 4u);
  EXPECT_THAT(read.request.prompts.at(0).tokens, ElementsAre(1, 2));
  EXPECT_FALSE(read.facts->can_rewrite_model);
  EXPECT_THAT(Read("/generate", R"({"text":"hello"})").text(), ElementsAre("hello"));
}

TEST(ReadRequest, RecordedBodies) {
  const Read messages("/v1/messages", openai::GoldenRequest("messages-stream"));
  ASSERT_TRUE(messages.facts);
  EXPECT_THAT(messages.text(), ElementsAre("user", "What is the capital of France?"));
  const Read responses("/v1/responses", openai::GoldenRequest("responses"));
  ASSERT_TRUE(responses.facts);
  EXPECT_THAT(responses.text(), ElementsAre("What is the capital of France?"));
  const Read chat(kChat, openai::GoldenRequest("chat-stream-tools-named"));
  ASSERT_TRUE(chat.facts);
  EXPECT_THAT(chat.text()[0], StartsWith("[{\"type\": \"function\""));
}

std::string Bytes(int tag, std::string_view bytes) {
  std::string out(1, static_cast<char>(tag << 3 | 2));
  size_t size = bytes.size();
  for (; size > 0x7f; size >>= 7) out += static_cast<char>(size | 0x80);
  out += static_cast<char>(size);
  return out + std::string(bytes);
}
std::string Number(int tag, char value) { return {static_cast<char>(tag << 3), value}; }

constexpr std::string_view kGenerate = "/vllm.grpc.engine.VllmEngine/Generate";

TEST(ReadVllmGrpc, TokensTextLimitAndStream) {
  const std::string sampling = Bytes(4, "\x0d\x01\x02\x03\x04" + Number(8, 77));  // a float, then max_tokens
  const Read ids(kGenerate, GrpcFrame(Bytes(1, "id") + Bytes(2, Bytes(1, "text") + Bytes(2, "\x05\xac\x02")) +
                                      sampling + Number(5, 1)));
  ASSERT_TRUE(ids.facts) << ids.error();
  EXPECT_THAT(ids.request.prompts.at(0).tokens, ElementsAre(5, 300));
  EXPECT_EQ(ids.request.output_tokens_max, 77u);
  EXPECT_TRUE(ids.request.streaming);
  EXPECT_FALSE(ids.facts->can_rewrite_model);
  EXPECT_THAT(Read(kGenerate, GrpcFrame(Bytes(2, Number(2, 5) + Number(2, 6)))).request.prompts.at(0).tokens,
              ElementsAre(5, 6));  // not packed
  EXPECT_THAT(Read(kGenerate, GrpcFrame(Bytes(3, "hello"))).text(), ElementsAre("hello"));
  EXPECT_THAT(
      Read("/vllm.grpc.engine.VllmEngine/Embed", GrpcFrame(Bytes(2, Bytes(2, "\x07")))).request.prompts.at(0).tokens,
      ElementsAre(7));
}

TEST(ReadVllmGrpc, BrokenFramesAndMessages) {
  const std::string good = GrpcFrame(Bytes(3, "hello"));
  std::string compressed = good;
  compressed[0] = 1;
  EXPECT_THAT(Read(kGenerate, compressed).error(), HasSubstr("compressed"));
  EXPECT_THAT(Read(kGenerate, "abc").error(), HasSubstr("no gRPC frame"));
  EXPECT_THAT(Read(kGenerate, good + "x").error(), HasSubstr("the gRPC frame says 7 bytes and has 8"));
  EXPECT_THAT(Read(kGenerate, good.substr(0, 8)).error(), HasSubstr("the gRPC frame says"));
  EXPECT_THAT(Read(kGenerate, GrpcFrame("")).error(), HasSubstr("must have tokenized or text input"));
  for (const std::string_view broken :
       {std::string_view("\x1a\x7f"), std::string_view("\x1b"), std::string_view("\x00\x01", 2),
        std::string_view("\x08"), std::string_view("\x09\x01"),
        std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")}) {
    EXPECT_THAT(Read(kGenerate, GrpcFrame(broken)).error(), HasSubstr("no valid protobuf"))
        << testing::PrintToString(broken);
  }
  EXPECT_THAT(Read(kGenerate, GrpcFrame(Bytes(2, Bytes(2, "\xff\xff\xff\xff\x7f")))).error(),
              HasSubstr("no valid protobuf"));
}

TEST(ReadVertex, OpenAiWithinHttpBody) {
  const auto wrap = [](std::string_view json) {
    return GrpcFrame(Bytes(1, "projects/p") + Bytes(2, Bytes(1, "application/json") + Bytes(2, json)));
  };
  const std::string service = "/google.cloud.aiplatform.v1beta1.PredictionService/";
  const Read chat(service + "ChatCompletions",
                  wrap(R"({"model":"m","tools":[0],"messages":[{"role":"user"}],"stream":true})"));
  ASSERT_TRUE(chat.facts) << chat.error();
  EXPECT_THAT(chat.text(), ElementsAre("[0]", "user"));
  EXPECT_TRUE(chat.request.streaming);
  EXPECT_FALSE(chat.facts->can_rewrite_model);
  const Read raw(service + "StreamRawPredict", wrap(R"({"input":"hello"})"));
  ASSERT_TRUE(raw.facts) << raw.error();
  EXPECT_THAT(raw.text(), ElementsAre("hello"));
  EXPECT_TRUE(raw.request.streaming);
  EXPECT_FALSE(Read(service + "RawPredict", wrap(R"({"input":"hello"})")).request.streaming);
  EXPECT_THAT(Read(service + "RawPredict", wrap("")).error(), HasSubstr("error unmarshaling"));
  EXPECT_THAT(Read(service + "RawPredict", GrpcFrame("\x12\x05")).error(), HasSubstr("no valid protobuf"));
  EXPECT_THAT(Read(service + "RawPredict", wrap(R"({"input":"a","kv_transfer_params":{}})")).error(),
              HasSubstr("may not send transfer parameters"));
}

TEST(TransferParams, AreSeenWhereverAnEngineReadsThem) {
  for (const std::string_view field :
       {R"("kv_transfer_params":{"x":1})", R"("kv\u005ftransfer_params":null)", R"("ec_transfer_params":{})",
        R"("vllm_xargs":{"kv_transfer_params":"a"})", R"("sampling_params":{"extra_args":{"kv_transfer_params":1}})"}) {
    const std::string body = R"({"prompt":"a",)" + std::string(field) + "}";
    for (const std::string_view path : {"/v1/completions", "/invocations"}) {
      const Read read(path, body);
      ASSERT_TRUE(read.facts) << read.error();
      EXPECT_TRUE(read.facts->transfer_params) << path << ' ' << field;
      const auto without = RemoveTransferParams(*All().For(path), body);
      ASSERT_TRUE(without);
      EXPECT_FALSE(Read(path, *without).facts->transfer_params) << *without;
      EXPECT_THAT(*without, StartsWith(R"({"prompt":"a")"));
    }
  }
  const std::string grpc = GrpcFrame(Bytes(3, "hello") + Bytes(6, "h") + Number(5, 1) + Bytes(8, "{}"));
  EXPECT_TRUE(Read(kGenerate, grpc).facts->transfer_params);
  EXPECT_EQ(*RemoveTransferParams(*All().For(kGenerate), grpc), GrpcFrame(Bytes(3, "hello") + Number(5, 1)));
}

TEST(ReadOpaque, NothingIsReadAndNothingSlipsThrough) {
  const Read bytes("/v1/audio/transcriptions", "--x\r\n\xff\xfe{", "multipart/form-data; boundary=x");
  ASSERT_TRUE(bytes.facts) << bytes.error();
  EXPECT_FALSE(bytes.facts->can_rewrite_model);
  const Read json("/rerank", R"({"model":"m","query":"q"})");
  ASSERT_TRUE(json.facts);
  EXPECT_EQ(json.request.model, "");
  EXPECT_THAT(json.request.prompts, IsEmpty());
  EXPECT_TRUE(Read("/pause", "").facts);
  EXPECT_TRUE(Read("/batch", "{}\n{}\n", "application/x-ndjson").facts);
  // What Python reads as JSON and we do not.
  EXPECT_FALSE(Read("/invocations", R"({"x":NaN,"kv_transfer_params":{}})").facts);
  EXPECT_FALSE(Read("/invocations", R"( {"x":NaN,"kv_transfer_params":{}})", "").facts);
  EXPECT_FALSE(Read("/invocations", std::string("{\0\"\0", 4), "").facts);
  EXPECT_FALSE(Read("/invocations", "\xff\xfe{\x01", "").facts);
  EXPECT_FALSE(Read("/invocations", R"({"x":NaN})", "Application/Vnd.x+JSON ; charset=utf-8").facts);
}

}  // namespace
}  // namespace sluice::parse
