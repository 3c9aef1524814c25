// Grammars on the real engine: what they force, when they begin, and that they end.
#include "worker/engine/llama/grammar_constraint.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tokenize/grammar.h"
#include "tokenize/tool_format.h"
#include "worker/engine/llama/engine_fixture.h"

namespace sluice::worker {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kTools =
    R"([{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string","maxLength":20},"unit":{"enum":["C","F"]}},"required":["city","unit"]}}}])";

json CallIn(const std::string& text) {
  const size_t begin = text.find(tokenize::kToolCallBegin);
  const size_t end = text.find(tokenize::kToolCallEnd);
  if (begin == std::string::npos || end == std::string::npos) return json();
  const size_t body = begin + tokenize::kToolCallBegin.size();
  return json::parse(text.substr(body, end - body), nullptr, false);
}

TEST_F(EngineTest, SchemaHoldsTheAnswer) {
  auto e = Open();
  auto grammar = tokenize::JsonSchemaGrammar(
      R"({"type":"object","properties":{"name":{"type":"string","maxLength":30},"age":{"type":"integer","minimum":0,"maximum":150},"tags":{"type":"array","items":{"type":"string","maxLength":12},"maxItems":3}},"required":["name","age","tags"],"additionalProperties":false})");
  ASSERT_TRUE(grammar.has_value());
  for (double temperature : {0.0, 1.0}) {
    GenerateRequest r = Ask(*e, Chat("Describe a person as JSON with name, age and tags."), 200);
    r.sampling.temperature = temperature;
    r.sampling.seed = 3;
    r.grammar = *grammar;
    const Output out = Run(*e, r);
    ASSERT_EQ(out.finish, FinishReason::kStop) << out.text;
    const json j = json::parse(out.text, nullptr, false);
    ASSERT_TRUE(j.is_object()) << out.text;
    EXPECT_TRUE(j["name"].is_string() && j["age"].is_number_integer() && j["tags"].is_array()) << out.text;
  }
}

TEST_F(EngineTest, JsonObject) {
  auto e = Open();
  GenerateRequest r = Ask(*e, Chat("Give me a JSON object with the key \"colour\" and one value."), 120);
  r.grammar = *tokenize::JsonObjectGrammar();
  const Output out = Run(*e, r);
  if (out.finish == FinishReason::kStop) EXPECT_TRUE(json::parse(out.text, nullptr, false).is_object()) << out.text;
  EXPECT_EQ(out.text.front(), '{');
}

TEST_F(EngineTest, RequiredToolCallIsMade) {
  auto e = Open();
  auto grammar = tokenize::ToolCallGrammar(kTools, tokenize::ToolChoice::kRequired, "get_weather", false);
  ASSERT_TRUE(grammar.has_value()) << grammar.error().message;
  GenerateRequest r = Ask(*e, Chat("What is the weather in Oslo?"), 120);
  r.grammar = grammar->grammar;
  const Output out = Run(*e, r);
  EXPECT_EQ(out.finish, FinishReason::kStop);
  const json call = CallIn(out.text);
  ASSERT_TRUE(call.is_object()) << out.text;
  EXPECT_EQ(call["name"], "get_weather");
  EXPECT_TRUE(call["arguments"]["city"].is_string());
  EXPECT_TRUE(call["arguments"]["unit"] == "C" || call["arguments"]["unit"] == "F");
}

// A lazy grammar lets text pass; once the marker is written (here: forced by a prefix the model repeats) it holds.
TEST_F(EngineTest, LazyGrammarBeginsAtItsTrigger) {
  auto e = Open();
  auto grammar = tokenize::ToolCallGrammar(kTools, tokenize::ToolChoice::kAuto, "", false);
  ASSERT_TRUE(grammar.has_value());
  GenerateRequest r = Ask(*e, Chat("What is two plus two?"), 24);
  const Output plain = Run(*e, r);
  r.id = "lazy";
  r.grammar = grammar->grammar;
  r.grammar_lazy = true;
  r.grammar_triggers = grammar->triggers;
  EXPECT_EQ(Run(*e, r).text, plain.text) << "without a trigger nothing changes";
}

std::vector<bool> Check(Constraint& c, std::vector<TokenId> tokens) {
  std::vector<bool> allowed;
  c.Check(tokens, allowed);
  return allowed;
}

class ConstraintTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    auto runtime = LlamaRuntime::Open(Options());
    ASSERT_TRUE(runtime.has_value());
    runtime_ = std::move(*runtime);
    tokenizer_ = std::make_unique<tokenize::GgufTokenizer>(runtime_->Vocab());
  }
  TokenId One(const std::string& text) {
    const auto t = tokenizer_->Encode(text, false, false);
    EXPECT_EQ(t.size(), 1U) << text;
    return t[0];
  }
  void Feed(Constraint& c, const std::string& text) {
    for (TokenId t : tokenizer_->Encode(text, false, false)) EXPECT_TRUE(c.Accept(t).has_value());
  }
  std::unique_ptr<LlamaRuntime> runtime_;
  std::unique_ptr<tokenize::GgufTokenizer> tokenizer_;
};

TEST_F(ConstraintTest, HoldsFromTheTriggerOn) {
  const std::string grammar = "root ::= \"<go>\" [0-9]+ \"!\"";
  auto c = GrammarConstraint::Create(runtime_->Vocab(), grammar, true, {"<go>"});
  ASSERT_TRUE(c.has_value());
  const TokenId digit = One("7"), letter = One("a"), mark = One("!");
  const TokenId eos = tokenizer_->Eos();
  EXPECT_EQ(Check(**c, {digit, letter, eos}), (std::vector<bool>{true, true, true}));
  Feed(**c, "some words and <g then < go> not yet");
  EXPECT_EQ(Check(**c, {digit, letter, eos}), (std::vector<bool>{true, true, true}));
  Feed(**c, " now <go>");
  EXPECT_EQ(Check(**c, {digit, letter, mark, eos}), (std::vector<bool>{true, false, false, false}));
  Feed(**c, "42");
  EXPECT_EQ(Check(**c, {digit, letter, mark, eos}), (std::vector<bool>{true, false, true, false}));
  Feed(**c, "!");
  EXPECT_EQ(Check(**c, {digit, letter, mark, eos}), (std::vector<bool>{false, false, false, true}));
  EXPECT_TRUE((*c)->Accept(eos).has_value());
}

TEST_F(ConstraintTest, MisuseIsAnErrorNotACrash) {
  auto c = GrammarConstraint::Create(runtime_->Vocab(), "root ::= \"a\"", false, {});
  ASSERT_TRUE(c.has_value());
  EXPECT_TRUE((*c)->Accept(tokenizer_->Eos()).has_value()) << "llama.cpp itself would abort here";
  EXPECT_FALSE((*c)->Accept(One("7")).has_value());
  EXPECT_FALSE(GrammarConstraint::Create(runtime_->Vocab(), "", false, {}).has_value());
  EXPECT_FALSE(GrammarConstraint::Create(runtime_->Vocab(), "nonsense", false, {}).has_value());
  EXPECT_FALSE(GrammarConstraint::Create(runtime_->Vocab(), "root ::= \"a\"", true, {}).has_value());
}

}  // namespace
}  // namespace sluice::worker
