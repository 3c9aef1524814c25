#include "tokenize/vllm_chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/read_file.h"
#include "tokenize/gguf_tokenizer.h"

namespace sluice::tokenize {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

Json Golden() { return Json::parse(*ReadFile(SLUICE_SOURCE_DIR "/test/golden/hf/chat.json", size_t{1} << 20)); }

std::unique_ptr<VllmChat> Load(const std::string& source) {
  auto chat = VllmChat::Load({.chat_template = source,
                              .tool_use_template = {},
                              .special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}}});
  EXPECT_TRUE(chat.has_value()) << (chat ? "" : chat.error().message);
  return chat ? std::move(*chat) : nullptr;
}

TEST(VllmChat, GivesWhatJinja2GivesInTheFormOfVllm) {
  const Json golden = Golden();
  ASSERT_GT(golden["cases"].size(), 50U);
  for (const Json& c : golden["cases"]) {
    const auto chat = Load(golden["templates"][c["template"].get<std::string>()].get<std::string>());
    ASSERT_NE(chat, nullptr);
    const auto prompt = chat->Render(c["body"].dump());
    ASSERT_TRUE(prompt.has_value()) << prompt.error().message << c.dump(1);
    EXPECT_EQ(prompt->text, c["prompt"].get<std::string>()) << c["template"] << c["body"].dump(1);
    EXPECT_FALSE(prompt->add_special_tokens);
  }
}

TEST(VllmChat, KnowsWhetherContentIsIterated) {
  const Json golden = Golden();
  EXPECT_FALSE(IteratesContent(golden["templates"]["chatml"]));
  EXPECT_FALSE(IteratesContent(golden["templates"]["lines"]));
  EXPECT_TRUE(IteratesContent(golden["templates"]["parts"]));
  EXPECT_TRUE(IteratesContent(golden["templates"]["macro"]));
  EXPECT_TRUE(
      IteratesContent("{%- for m in messages -%}{%- for c in m.content | list -%}{%- endfor -%}{%- endfor -%}"));
  EXPECT_TRUE(IteratesContent("{% for content in content %}{% endfor %}"));
  EXPECT_FALSE(IteratesContent("{% for m in messages %}{% for c in m.tool_calls %}{% endfor %}{% endfor %}"));
  EXPECT_FALSE(IteratesContent("{% for m in other %}{% for c in m.content %}{% endfor %}{% endfor %}"));
  EXPECT_FALSE(IteratesContent("{% for"));
}

TEST(VllmChat, WhatOnlyTheEngineCanKnowIsNotGuessed) {
  const auto chat = Load("{% for m in messages %}{{ m.content }}{% endfor %}");
  const std::string messages = R"("messages":[{"role":"user","content":"x"}])";
  for (
      const std::string& body :
      {std::string(R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"a"}}]}]})"),
       "{" + messages + R"(,"chat_template":"{{ 1 }}"})", "{" + messages + R"(,"truncate_prompt_tokens":5})",
       "{" + messages + R"(,"chat_template_kwargs":{"tools":[]}})",
       "{" + messages + R"(,"chat_template_kwargs":{"a":1.0}})",
       "{" + messages + R"(,"tools":[{"function":{"name":"f","parameters":{"default":1e300}}}]})",
       std::string(
           R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":0.12345678}"}}]}]})")}) {
    const auto prompt = chat->Render(body);
    ASSERT_FALSE(prompt.has_value()) << body;
    EXPECT_EQ(prompt.error().code, Code::kUnimplemented) << body << prompt.error().message;
  }
}

TEST(VllmChat, WhatTheEngineWouldRefuseIsAnError) {
  const auto chat = Load(
      "{% for m in messages %}{% if m.role == 'bad' %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}");
  std::string deep = R"({"messages":)";
  for (int i = 0; i < 5000; ++i) deep += "[";
  for (const std::string& body :
       {std::string(), std::string("[]"), std::string("{}"), std::string(R"({"messages":[]})"),
        std::string(R"({"messages":[1]})"), std::string(R"({"messages":[{"content":"x"}]})"),
        std::string(R"({"messages":[{"role":"user","content":7}]})"),
        std::string(R"({"messages":[{"role":"user","content":"x"}],"tools":[{}]})"),
        std::string(R"({"messages":[{"role":"assistant","tool_calls":[1]}]})"),
        std::string(R"({"messages":[{"role":"user","content":"x"}],"continue_final_message":true})"), deep,
        std::string(R"({"messages":[{"role":"bad","content":"x"}]})")}) {
    const auto prompt = chat->Render(body);
    EXPECT_FALSE(prompt.has_value()) << body.substr(0, 100);
  }
  EXPECT_THAT(chat->Render(R"({"messages":[{"role":"bad","content":"x"}]})").error().message,
              HasSubstr("no such role"));
}

TEST(VllmChat, ATemplateForToolsIsUsedWithTools) {
  auto chat = VllmChat::Load({.chat_template = "plain", .tool_use_template = "tools", .special_tokens = {}});
  ASSERT_TRUE(chat.has_value());
  EXPECT_EQ((*chat)->Render(R"({"messages":[{"role":"user","content":"x"}]})")->text, "plain");
  EXPECT_EQ((*chat)->Render(R"({"messages":[{"role":"user","content":"x"}],"tools":[]})")->text, "tools");
}

TEST(VllmChat, BadTemplatesAreRefusedAtLoad) {
  for (const char* bad : {"{% for m in messages %}", "{% if %}", "{{"}) {
    EXPECT_FALSE(VllmChat::Load({.chat_template = bad, .tool_use_template = {}, .special_tokens = {}}).has_value())
        << bad;
  }
}

// Recorded: what a real vLLM's render endpoint made of a chat, against its model's vocabulary and template as GGUF.
TEST(VllmChat, EqualsARealVllmsRender) {
  const std::string model = SLUICE_SOURCE_DIR "/build/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "no model: run `make setup`";
  const auto tokenizer = GgufTokenizer::Open(model);
  ASSERT_TRUE(tokenizer.has_value());
  const auto chat = Load((*tokenizer)->FileChatTemplate());
  for (const char* name : {"render-chat", "render-chat-salt-kv"}) {
    const std::string folder = SLUICE_SOURCE_DIR "/test/golden/vllm/http/" + std::string(name);
    const auto request = ReadFile(folder + ".request.http", 1 << 20),
               response = ReadFile(folder + ".response.http", 1 << 20);
    ASSERT_TRUE(request.has_value() && response.has_value());
    const Json answer = Json::parse(response->substr(response->find("\r\n\r\n") + 4));
    const auto prompt = chat->Render(request->substr(request->find("\r\n\r\n") + 4));
    ASSERT_TRUE(prompt.has_value()) << prompt.error().message;
    EXPECT_EQ((*tokenizer)->Encode(prompt->text, prompt->add_special_tokens, true),
              answer["token_ids"].get<std::vector<TokenId>>());
  }
}

}  // namespace
}  // namespace sluice::tokenize
