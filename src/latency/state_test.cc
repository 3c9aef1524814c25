// Save and Restore: nothing is lost, and nothing wrong gets in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <string>

#include "base/rng.h"
#include "latency/model.h"

namespace sluice::latency {
namespace {

using ::testing::HasSubstr;

constexpr Model::Options kOptions = {.kinds_max = 4, .endpoints_max = 8};

Features Prompt(float tokens) { return {.request = {.prompt_tokens = tokens, .output_tokens = 50}, .endpoint = {}}; }

void Teach(Model& model, KindId kind, uint64_t seed) {
  Rng rng(seed);
  for (int i = 0; i < 80; ++i) {
    const auto tokens = static_cast<float>(100 + rng.Below(4'000));
    const float noise = 0.9F + 0.2F * static_cast<float>(rng.Uniform());
    ASSERT_TRUE(model.ObserveTtft(kind, {0, 1}, Prompt(tokens), (20 + tokens * 0.2F) * noise));
    const auto running = static_cast<float>(1 + rng.Below(20));
    ASSERT_TRUE(model.ObserveItl(kind, {0, 1}, {.running = running, .resident_tokens = running * 1'000},
                                 (15 + running) * noise));
  }
}

std::string Saved() {
  Model model(kOptions);
  Teach(model, model.Intern("a|L40S|vllm"), 1);
  Teach(model, model.Intern("b \"x\"|cpu|sluice"), 2);
  return model.Save();
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

// Restores into a model that knows something already and checks that a failure leaves it as it was.
std::string Refusal(const std::string& text) {
  Model model(kOptions);
  Teach(model, model.Intern("own|H100|vllm"), 3);
  const std::string before = model.Save();
  const Status status = model.Restore(text);
  if (!status) EXPECT_EQ(model.Save(), before);
  return status ? "" : status.error().message;
}

TEST(State, ARestartChangesNoBit) {
  const std::string saved = Saved();
  Model model(kOptions);
  const KindId early = model.Intern("b \"x\"|cpu|sluice");  // the pool was there before the file was read
  ASSERT_TRUE(model.Restore(saved));
  Model original(kOptions);
  const KindId first = original.Intern("a|L40S|vllm");
  Teach(original, first, 1);
  const KindId second = original.Intern("b \"x\"|cpu|sluice");
  Teach(original, second, 2);
  EXPECT_EQ(model.name(early), "b \"x\"|cpu|sluice");
  constexpr model::EndpointId kUnknown{7, 1};  // factors of single endpoints are not kept
  for (const auto [old, now] : {std::pair(first, model.Intern("a|L40S|vllm")), std::pair(second, early)}) {
    const Prediction a = original.Predict(old, kUnknown, Prompt(1'234));
    const Prediction b = model.Predict(now, kUnknown, Prompt(1'234));
    EXPECT_EQ(std::bit_cast<uint32_t>(a.ttft_ms), std::bit_cast<uint32_t>(b.ttft_ms));
    EXPECT_EQ(std::bit_cast<uint32_t>(a.itl_ms), std::bit_cast<uint32_t>(b.itl_ms));
    EXPECT_EQ(a.ttft_plus_minus_ms, b.ttft_plus_minus_ms);
    EXPECT_EQ(original.TtftErrors(old).samples, model.TtftErrors(now).samples);
  }
  Model empty(kOptions);
  ASSERT_TRUE(empty.Restore(saved));
  EXPECT_EQ(empty.Save(), saved);
}

TEST(State, NamesWhatItCannotRead) {
  const std::string saved = Saved();
  EXPECT_EQ(Refusal(saved), "");
  EXPECT_THAT(Refusal(Replaced(saved, "\"version\":1", "\"version\":2")),
              HasSubstr("version 2, this program reads version 1"));
  EXPECT_THAT(Refusal(Replaced(saved, "sluice-latency-model", "something")), HasSubstr("no saved latency model"));
  EXPECT_THAT(Refusal("[]"), HasSubstr("no saved latency model"));
  EXPECT_THAT(Refusal(saved.substr(0, saved.size() / 2)), HasSubstr("invalid JSON"));
  EXPECT_THAT(Refusal(Replaced(saved, "\"residual\"", "\"residuel\"")), HasSubstr("did you mean 'residual'?"));
  EXPECT_THAT(Refusal(Replaced(saved, "\"kinds\":[", "\"kinds\":[7,")), HasSubstr("kinds[0] is not an object"));
  EXPECT_THAT(Refusal(Replaced(saved, "b \\\"x\\\"|cpu|sluice", "a|L40S|vllm")), HasSubstr("occurs twice"));
  EXPECT_THAT(Refusal(Replaced(saved, "\"gram\":[", "\"gram\":[1.0,")), HasSubstr("list of 45 numbers"));
}

TEST(State, RefusesNumbersThatWouldSteerTrafficWrong) {
  const std::string saved = Saved();
  for (const char* bad : {"-1.0", "1e300", "null", "\"x\"", "true"}) {
    EXPECT_NE(Refusal(Replaced(saved, "\"multiplier\":1.0", std::string("\"multiplier\":") + bad)), "") << bad;
  }
  EXPECT_NE(Refusal(Replaced(saved, "\"prior\":25.0", "\"prior\":0.0")), "");
  // A matrix that no observations can have given: the fit would diverge.
  const size_t at = saved.rfind("\"gram\":[") + 8;
  const size_t comma = saved.find(',', at);
  const std::string crooked =
      saved.substr(0, at) + "0.0," + std::to_string(1e6) + saved.substr(saved.find(',', comma + 1));
  EXPECT_THAT(Refusal(crooked), HasSubstr("sums of squares"));
}

TEST(State, LimitsHold) {
  const std::string saved = Saved();  // two kinds
  Model small({.kinds_max = 1, .endpoints_max = 8});
  const Status refused = small.Restore(saved);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
  EXPECT_THAT(refused.error().message, HasSubstr("limit of 1"));
  Model fits({.kinds_max = 2, .endpoints_max = 8});
  EXPECT_TRUE(fits.Restore(saved));
  EXPECT_EQ(fits.kinds(), 3U);
  EXPECT_EQ(fits.Restore(saved + std::string(Model::kStateBytesMax, ' ')).error().code, Code::kTooLarge);
}

}  // namespace
}  // namespace sluice::latency
