#include "tokenize/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::tokenize {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// SmolLM2's: knows no tools, adds a default system message.
constexpr const char* kPlain =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are "
    "helpful<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// In the manner of Qwen 2.5.
constexpr const char* kHermes =
    "{%- if tools %}{{- '<|im_start|>system\nTools:\n' }}{%- for tool in tools %}{{- tool | tojson }}{{- '\n' }}{%- "
    "endfor "
    "%}{{- 'Answer with <tool_call>{\"name\": ..., \"arguments\": ...}</tool_call><|im_end|>\n' }}{%- endif %}{%- for "
    "message in messages %}{%- if message.role == 'tool' %}{{- '<|im_start|>user\n<tool_response>\n' + message.content "
    "+ "
    "'\n</tool_response><|im_end|>\n' }}{%- elif message.tool_calls %}{{- '<|im_start|>assistant' }}{%- for call in "
    "message.tool_calls %}{%- set call = call.function %}{{- '\n<tool_call>\n{\"name\": \"' + call.name + '\", "
    "\"arguments\": ' }}{{- call.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- "
    "else "
    "%}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}{%- if "
    "add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}";

constexpr const char* kTools =
    R"([{"type":"function","function":{"name":"get_weather","description":"Weather of a city","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}])";

std::unique_ptr<ChatTemplate> Load(const char* source) {
  auto t = ChatTemplate::Load(source, "<s>", "</s>");
  EXPECT_TRUE(t.has_value()) << (t ? "" : t.error().message);
  return t ? std::move(*t) : nullptr;
}

std::string Render(const ChatTemplate& t, const std::string& messages, const std::string& tools = {}) {
  auto r = t.Render({.messages_json = messages, .tools_json = tools});
  EXPECT_TRUE(r.has_value()) << (r ? "" : r.error().message);
  return r.value_or("");
}

TEST(ChatTemplate, RendersExactly) {
  const auto t = Load(kPlain);
  EXPECT_EQ(Render(*t, R"([{"role":"user","content":"Hi"}])"),
            "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  auto without = t->Render(
      {.messages_json = R"([{"role":"system","content":"S"},{"role":"user","content":[{"type":"text","text":"a"}]}])",
       .add_generation_prompt = false});
  ASSERT_TRUE(without.has_value()) << without.error().message;
  EXPECT_EQ(*without, "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n");
}

TEST(ChatTemplate, BosIsTheTemplatesToWrite) {
  const auto t = Load("{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
  EXPECT_EQ(Render(*t, R"([{"role":"user","content":"x"}])"), "<s>x</s>");
}

TEST(ChatTemplate, GenericToolPromptForTemplatesWithoutTools) {
  const auto t = Load(kPlain);
  EXPECT_FALSE(t->NativeTools());
  const std::string prompt =
      Render(*t, R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Weather?"}])", kTools);
  EXPECT_THAT(prompt, HasSubstr("<|im_start|>system\nBe brief.\n\nYou may call functions"));
  EXPECT_THAT(prompt, HasSubstr(R"({"name":"get_weather","description":"Weather of a city",)"));
  EXPECT_THAT(prompt, HasSubstr("<tool_call>\n{\"name\": "));
  EXPECT_THAT(Render(*t, R"([{"role":"user","content":"Weather?"}])", kTools),
              HasSubstr("<|im_start|>system\nYou may call functions"));
}

TEST(ChatTemplate, EarlierCallsAndResultsBecomeTextWithoutTools) {
  const auto t = Load(kPlain);
  const std::string prompt = Render(*t, R"([
    {"role":"user","content":"Weather?"},
    {"role":"assistant","content":null,"tool_calls":[
      {"id":"1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Oslo\"}"}},
      {"id":"2","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Rome\"}"}}]},
    {"role":"tool","tool_call_id":"1","content":"cold"},
    {"role":"tool","tool_call_id":"2","content":"warm"}])");
  EXPECT_THAT(prompt, HasSubstr("<|im_start|>assistant\n<tool_call>\n{\"name\":\"get_weather\",\"arguments\":{\"city\":"
                                "\"Oslo\"}}\n</tool_call>\n<tool_call>"));
  EXPECT_THAT(Render(*t, R"([{"role":"tool","content":{"a":1}}])"), HasSubstr(R"(<tool_response>
{"a":1}
</tool_response>)"));
  EXPECT_THAT(prompt, HasSubstr("<|im_start|>user\n<tool_response>\ncold\n</tool_response>\n<tool_response>\nwarm\n"
                                "</tool_response><|im_end|>"));
}

TEST(ChatTemplate, NativeToolsAreLeftToTheTemplate) {
  const auto t = Load(kHermes);
  EXPECT_TRUE(t->NativeTools());
  const std::string prompt = Render(*t, R"([{"role":"user","content":"Weather?"}])", kTools);
  EXPECT_THAT(prompt, HasSubstr("Tools:\n"));
  EXPECT_THAT(prompt, HasSubstr("get_weather"));
  EXPECT_THAT(prompt, Not(HasSubstr("You may call functions")));
}

TEST(ChatTemplate, KwargsReachTheTemplate) {
  const auto t = Load("{{ mood }}{% for m in messages %}{{ m.content }}{% endfor %}");
  auto r =
      t->Render({.messages_json = R"([{"role":"user","content":"x"}])", .template_kwargs = {{"mood", "\"calm \""}}});
  ASSERT_TRUE(r.has_value()) << r.error().message;
  EXPECT_EQ(*r, "calm x");
}

TEST(ChatTemplate, ContinuesTheFinalMessage) {
  const auto t = Load(kPlain);
  auto r =
      t->Render({.messages_json = R"([{"role":"user","content":"Count"},{"role":"assistant","content":"one, two"}])",
                 .continue_final_message = true});
  ASSERT_TRUE(r.has_value()) << r.error().message;
  EXPECT_TRUE(r->ends_with("<|im_start|>assistant\none, two")) << *r;
}

TEST(ChatTemplate, BadTemplatesAreRefusedAtLoad) {
  for (const char* bad : {"", "{% for m in messages %}", "{{ raise_exception('no') }}", "{% if %}"}) {
    auto t = ChatTemplate::Load(bad, "", "");
    ASSERT_FALSE(t.has_value()) << bad;
    EXPECT_EQ(t.error().code, Code::kInvalidArgument);
  }
}

TEST(ChatTemplate, BadInputIsTheCallersFault) {
  const auto t = Load(kPlain);
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "[";
  for (const std::string& messages :
       {std::string("{}"), std::string("nonsense"), std::string("[]"), std::string("[1]"), std::string("[{}]"),
        std::string(R"([{"role":"user"}])"), std::string(R"([{"role":"user","content":7}])"),
        std::string(R"([{"role":7,"content":"x"}])"),
        std::string(R"([{"role":"assistant","tool_calls":[{"function":{"name":7}}]}])"), deep}) {
    auto r = t->Render({.messages_json = messages});
    ASSERT_FALSE(r.has_value()) << messages.substr(0, 60);
    EXPECT_EQ(r.error().code, Code::kInvalidArgument);
  }
  EXPECT_FALSE(t->Render({.messages_json = R"([{"role":"user","content":"x"}])", .tools_json = "{}"}).has_value());
}

}  // namespace
}  // namespace sluice::tokenize
