#include "parse/parser_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::parse {
namespace {

using testing::HasSubstr;

ParserTable All() {
  std::vector<std::string> types;
  for (const Parser& parser : AllParsers()) types.emplace_back(parser.type);
  return *ParserTable::Build(types);
}

TEST(ParserTable, TheLongestSuffixWins) {
  struct Case {
    std::string_view path, parser;
    Api api;
  };
  const Case cases[] = {
      {"/v1/chat/completions", "openai-parser", Api::kChat},
      {"/v1/chat/completions?x=/generate", "openai-parser", Api::kChat},
      {"/v1/completions", "openai-parser", Api::kCompletions},
      {"/foo/bar-completions/", "openai-parser", Api::kCompletions},
      {"/v1/chat/completions/render", "openai-parser", Api::kChat},
      {"/v1/completions/render", "openai-parser", Api::kCompletions},
      {"/v1/embeddings", "openai-parser", Api::kEmbeddings},
      {"/v1/responses", "openai-parser", Api::kResponses},
      {"/v1/conversations", "openai-parser", Api::kConversations},
      {"/v1/images/generations", "openai-parser", Api::kImages},
      {"/tokenize", "openai-parser", Api::kModelOnly},
      {"/detokenize", "openai-parser", Api::kModelOnly},
      {"/v1/messages", "anthropic-parser", Api::kMessages},
      {"/v1/messages/count_tokens", "anthropic-parser", Api::kModelOnly},
      {"/inference/v1/generate", "vllmhttp-parser", Api::kVllmGenerate},
      {"/generate", "sglanghttp-parser", Api::kSglangGenerate},
      {"/v2/generate", "passthrough-parser", Api::kOpaque},
      {"/x/tokenize", "passthrough-parser", Api::kOpaque},
      {"/vllm.grpc.engine.VllmEngine/Generate", "vllmgrpc-parser", Api::kVllmGrpcGenerate},
      {"/vllm.grpc.engine.VllmEngine/Embed", "vllmgrpc-parser", Api::kVllmGrpcEmbed},
      {"/google.cloud.aiplatform.v1.PredictionService/ChatCompletions", "vertexai-parser", Api::kVertexChat},
      {"/google.cloud.aiplatform.v1.PredictionService/RawPredict", "vertexai-parser", Api::kVertexRaw},
      {"/google.cloud.aiplatform.v1.PredictionService/StreamRawPredict", "vertexai-parser", Api::kVertexStreamRaw},
      {"/v1/audio/speech", "passthrough-parser", Api::kOpaque},
      {"", "openai-parser", Api::kCompletions},
      {"/", "passthrough-parser", Api::kOpaque},
  };
  const ParserTable table = All();
  for (const Case& c : cases) {
    const auto route = table.For(c.path);
    ASSERT_TRUE(route) << c.path;
    EXPECT_EQ(route->parser->type, c.parser) << c.path;
    EXPECT_EQ(route->api, c.api) << c.path;
    EXPECT_EQ(table.Claims(c.path), c.api != Api::kOpaque) << c.path;
  }
}

TEST(ParserTable, NoSpellingOfAPathGoesRoundItsParser) {
  const ParserTable table = All();
  for (const std::string_view path : {"/v1/chat/completion%73", "/v1/chat%2Fcompletions", "//v1/chat/completions//",
                                      "/v1/chat/completions%2f", "/v1/chat/completions?", "/v1/chat/completions#x"}) {
    EXPECT_EQ(table.For(path)->api, Api::kChat) << path;
  }
  EXPECT_EQ(table.For("/v1/chat/completions%")->api, Api::kOpaque);  // no engine has such a path
}

TEST(ParserTable, WithoutAFallbackAnUnknownPathIsTheCallersMistake) {
  const std::vector<std::string> types = {"openai-parser", "openai-parser"};
  const auto table = ParserTable::Build(types);
  ASSERT_TRUE(table);
  EXPECT_FALSE(table->has_fallback());
  const auto route = table->For("/v1/messages");
  ASSERT_FALSE(route);
  EXPECT_EQ(route.error().code, Code::kInvalidArgument);
  EXPECT_EQ(route.error().message, "no parser registered matching path suffix for: /v1/messages");
}

TEST(ParserTable, NothingCountsBehindTheFallback) {
  const std::vector<std::string> types = {"openai-parser", "passthrough-parser", "anthropic-parser"};
  EXPECT_EQ(ParserTable::Build(types)->For("/v1/messages")->api, Api::kOpaque);
  EXPECT_EQ(ParserTable::Default().For("/v1/messages")->api, Api::kMessages);
  EXPECT_EQ(ParserTable::Default().For("/generate")->api, Api::kOpaque);
}

TEST(ParserTable, AnUnknownParserIsNamedWithTheNearest) {
  const std::vector<std::string> types = {"antropic-parser"};
  const auto table = ParserTable::Build(types);
  ASSERT_FALSE(table);
  EXPECT_THAT(table.error().message, HasSubstr("did you mean 'anthropic-parser'?"));
}

TEST(PathOf, TheFirstHeaderThatHasOne) {
  model::Request request;
  EXPECT_EQ(PathOf(request), "/v1/completions");
  request.headers = {{"x-forwarded-path", "/c"}, {"x-original-path", "/b"}};
  EXPECT_EQ(PathOf(request), "/b");
  request.headers.emplace_back(":path", "/a?q");
  EXPECT_EQ(PathOf(request), "/a?q");
}

}  // namespace
}  // namespace sluice::parse
