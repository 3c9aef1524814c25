#include "schedule/plugins/produce/token_producer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "kvindex/approx_prefix_index.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using model::Media;
using testing::ConfigOf;
using ::testing::ElementsAre;
using testing::Harness;

constexpr std::string_view kWideUrl =  // a GIF of 640 x 480
    "data:image/gif;base64,R0lGODdhgALgAQ==";

class TokenProducerTest : public ::testing::Test {
 protected:
  void Configure(std::string_view parameters) {
    harness_ = std::make_unique<Harness>(ConfigOf("plugins:\n- {type: token-producer, parameters: {" +
                                                  std::string(parameters) + "}}\n- {type: context-length-aware}\n"));
  }
  const TokenizedPrompt& Run(const model::Request& request) {
    const Plugin* plugin = harness_->config.policy->Find("token-producer");
    const model::PoolView pool = testing::MakePool({{.name = "a"}});
    const Board board;
    const PluginStates states(harness_->config.policy->plugins.size());
    const DecisionInput in{request, pool, board, states, {}, harness_->rng};
    EXPECT_TRUE(dynamic_cast<const Producer*>(plugin)->Produce(in, Candidates(), out_));
    return out_;
  }
  // Tokens of one of them.
  uint32_t Count(Media::Kind kind, std::string_view content,
                 std::vector<std::pair<std::string_view, std::string_view>> headers = {}) {
    model::Request request;
    request.headers = std::move(headers);
    request.prompts.push_back({.text = {}, .tokens = {}, .media = {{kind, content, 0}}});
    const TokenizedPrompt& tokens = Run(request);
    EXPECT_EQ(tokens.media.size(), 1u);
    EXPECT_EQ(tokens.media[0].length, tokens.size());
    return tokens.media[0].length;
  }

  std::unique_ptr<Harness> harness_;
  TokenizedPrompt out_;
};

uint32_t Packed(const char (&text)[5]) {
  uint32_t token;
  std::memcpy(&token, text, 4);
  return token;
}

TEST_F(TokenProducerTest, MediaStandBetweenTextOnWholeTokens) {
  Configure("estimate: {image: {mode: static, static: {staticToken: 2}}}");
  model::Request request;
  request.prompts.push_back({.text = {"user", "ab", "cd", "e"},
                             .tokens = {},
                             .media = {{Media::Kind::kImage, "cat", 2}, {Media::Kind::kAudio, "moo", 4}}});
  request.prompts.push_back({.text = {"abcd"}, .tokens = {}, .media = {}});
  const TokenizedPrompt& tokens = Run(request);
  const auto cat = static_cast<uint32_t>(kvindex::ContentHash("cat"));
  const auto moo = static_cast<uint32_t>(kvindex::ContentHash("moo"));
  EXPECT_THAT(tokens.tokens, ElementsAre(Packed("user"), 0x6261, cat, cat, 0x656463, moo, Packed("abcd")));
  EXPECT_THAT(tokens.prompt_end, ElementsAre(6, 7));
  ASSERT_EQ(tokens.media.size(), 2u);
  EXPECT_EQ(tokens.media[0].begin, 2u);
  EXPECT_EQ(tokens.media[0].length, 2u);
  EXPECT_EQ(tokens.media[0].hash, kvindex::ContentHash("cat"));
  EXPECT_EQ(tokens.media[1].begin, 5u);
  EXPECT_EQ(tokens.media[1].kind, Media::Kind::kAudio);
  EXPECT_TRUE(tokens.estimated);
}

// XXH64 of nothing and of "a", seed 0, as published.
TEST_F(TokenProducerTest, TheFeatureHashIsXxh64) {
  EXPECT_EQ(kvindex::ContentHash(""), 0xef46db3751d8e999u);
  EXPECT_EQ(kvindex::ContentHash("a"), 0xd24ec4f1a98c6e5bu);
}

TEST_F(TokenProducerTest, ImagesArePixelsByTheFactor) {
  Configure("");
  EXPECT_EQ(Count(Media::Kind::kImage, "https://example.org/x"), 225u);  // 640 x 360 / 1024
  EXPECT_EQ(Count(Media::Kind::kImage, kWideUrl), 300u);                 // 640 x 480 / 1024
  Configure("estimate: {image: {defaultResolution: {width: 100, height: 10}, dynamic: {factor: 100}}}");
  EXPECT_EQ(Count(Media::Kind::kImage, "https://example.org/x"), 10u);
  EXPECT_EQ(Count(Media::Kind::kImage, kWideUrl), 3072u);
  Configure("estimate: {image: {mode: static, static: {staticToken: 77}}}");
  EXPECT_EQ(Count(Media::Kind::kImage, kWideUrl), 77u);
  Configure("estimate: {image: {mode: static}}");
  EXPECT_EQ(Count(Media::Kind::kImage, kWideUrl), 1u);
}

TEST_F(TokenProducerTest, VideosAreFramesByTokensAFrame) {
  Configure("");
  EXPECT_EQ(Count(Media::Kind::kVideo, "u"), 20u * 225);  // 10 s, 2 a second
  EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"x-llm-d-video-duration-seconds", "1.7"}}), 3u * 225);
  EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"X-LLM-D-Video-Resolution", "64X32"}}), 20u * 2);
  EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"x-llm-d-video-fps", "100"}}), 20u * 225);  // of the source: not sampled
  Configure(
      "estimate: {video: {maxVideoTokens: 100, frames: {minFrames: 4, maxFrames: 8, sampled: {sampleFPS: 1, "
      "temporalPatchSize: 2}}, tokensPerFrame: {mode: static, static: {numTokensPerFrame: 16}}}}");
  EXPECT_EQ(Count(Media::Kind::kVideo, "u"), 4u * 16);  // 10 frames, at most 8, two in one
  EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"x-llm-d-video-duration-seconds", "1"}}), 2u * 16);
  Configure(
      "estimate: {video: {defaultDuration: 2, maxVideoTokens: 1000, frames: {mode: strided, strided: {frameStride: 5, "
      "defaultSourceFPS: 30}}, tokensPerFrame: {mode: static, static: {numTokensPerFrame: 66}}}}");
  EXPECT_EQ(Count(Media::Kind::kVideo, "u"), 12u * 66);
  EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"x-llm-d-video-fps", "10"}}), 4u * 66);
  EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"x-llm-d-video-duration-seconds", "9"}}), 1000u);
}

TEST_F(TokenProducerTest, HeadersThatAreNoNumbersCountAsNothing) {
  Configure("");
  for (const std::string_view value : {"", "long", "-3", "0", "nan", "inf"}) {
    EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"x-llm-d-video-duration-seconds", value}}), 20u * 225) << value;
  }
  for (const std::string_view value : {"640", "x", "640x", "x360", "-1x5", "ax5"}) {
    EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"x-llm-d-video-resolution", value}}), 20u * 225) << value;
  }
}

TEST_F(TokenProducerTest, SoundsAreAQuarterOfTheirBytes) {
  Configure("");
  EXPECT_EQ(Count(Media::Kind::kAudio, "12345"), 2u);
  EXPECT_EQ(Count(Media::Kind::kAudio, ""), 1u);
}

// A few bytes of a client must not become gigabytes of tokens.
TEST_F(TokenProducerTest, ClaimsOfGreatSizeAreBounded) {
  Configure("");
  constexpr std::string_view kHuge = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUv//////////";  // 4G x 4G pixels
  EXPECT_EQ(Count(Media::Kind::kImage, kHuge), MediaEstimate::kTokensMax);
  EXPECT_EQ(Count(Media::Kind::kVideo, "u", {{"x-llm-d-video-duration-seconds", "1e300"}}), MediaEstimate::kTokensMax);
  model::Request request;
  request.prompts.emplace_back();
  for (int i = 0; i < 1000; ++i) request.prompts[0].media.push_back({Media::Kind::kImage, kHuge, 0});
  EXPECT_LE(Run(request).size(), TokenProducer::kMediaTokensMax + 1000);
  EXPECT_EQ(out_.media.back().length, 1u);
}

TEST_F(TokenProducerTest, MediaOfATokenizedPromptAreInItAlready) {
  Configure("");
  model::Request request;
  request.prompts.push_back({.text = {}, .tokens = {1, 2}, .media = {{Media::Kind::kImage, "cat", 0}}});
  EXPECT_THAT(Run(request).tokens, ElementsAre(1, 2));
  EXPECT_FALSE(out_.estimated);
  ASSERT_EQ(out_.media.size(), 1u);
  EXPECT_EQ(out_.media[0].hash, kvindex::ContentHash("cat"));
  EXPECT_EQ(out_.media[0].length, 0u);
}

TEST_F(TokenProducerTest, UnknownFieldsAndModesAreRefused) {
  const auto message = [](std::string_view estimate) {
    const auto config = LoadConfig(
        ConfigOf("plugins:\n- {type: token-producer, parameters: {estimate: " + std::string(estimate) + "}}\n"),
        BuiltinRegistry());
    return config ? std::string() : config.error().message;
  };
  EXPECT_THAT(message("{image: {mode: statik}}"), ::testing::HasSubstr("static"));
  EXPECT_THAT(message("{video: {frames: {mode: strided, strided: {frameStrid: 2}}}}"),
              ::testing::HasSubstr("frameStride"));
  EXPECT_THAT(message("{image: {dynamic: {factor: -1}}}"), ::testing::HasSubstr("estimate.image.dynamic.factor"));
}

TEST_F(TokenProducerTest, SaysWhoMakesTheTokens) {
  Configure("tokenizer: {path: /models/a, prefixCacheBytes: 1000}");
  TokenSource source = TokenProducer::SourceOf(*harness_->config.policy);
  EXPECT_EQ(source.mode, TokenSource::Mode::kTokenizer);
  EXPECT_EQ(source.path, "/models/a");
  EXPECT_EQ(source.cache_bytes, 1000);
  Configure("modelName: org/m, vllm: {url: 'http://render:8000', timeout: 2s}");
  source = TokenProducer::SourceOf(*harness_->config.policy);
  EXPECT_EQ(source.mode, TokenSource::Mode::kVllm);
  EXPECT_EQ(source.url, "http://render:8000");
  EXPECT_EQ(source.model_name, "org/m");
  EXPECT_EQ(source.timeout, std::chrono::seconds(2));
  EXPECT_EQ(source.media_timeout, std::chrono::seconds(30));
  Configure("estimate: {}");
  EXPECT_EQ(TokenProducer::SourceOf(*harness_->config.policy).mode, TokenSource::Mode::kEstimate);
}

TEST_F(TokenProducerTest, PlaceholdersOfGivenIdsKeepTheirPlace) {
  Configure("estimate: {}");
  model::Request request;
  request.prompts.push_back({.text = {}, .tokens = {1, 2}, .media = {}});
  request.prompts.push_back({.text = {}, .tokens = {7, 9, 9, 8}, .media = {{Media::Kind::kImage, "abc", 0, 1, 2}}});
  const TokenizedPrompt& tokens = Run(request);
  EXPECT_FALSE(tokens.estimated);
  ASSERT_EQ(tokens.media.size(), 1u);
  EXPECT_EQ(tokens.media[0].begin, 3u);
  EXPECT_EQ(tokens.media[0].length, 2u);
}

}  // namespace
}  // namespace sluice::schedule
