#include "openai/routing_view.h"

#include <gtest/gtest.h>

namespace sluice::openai {
namespace {

TEST(RoutingView, Chat) {
  RoutingReader reader({});
  const auto view = reader.Read(
      R"({"model":"m","stream":true,"messages":[{"role":"system","content":"be"},{"role":"user","content":[
      {"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"there"}]}],
      "max_tokens":5,"max_completion_tokens":6,"n":2,"priority":-1,"cache_salt":"c","session_id":"s","user":"u",
      "tools":[{}],"kv_transfer_params":{}})");
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_EQ(view->model, "m");
  EXPECT_TRUE(view->stream && view->is_chat && view->has_tools && view->has_kv_transfer_params);
  ASSERT_EQ(view->parts.size(), 3u);
  EXPECT_EQ(view->parts[0].role, "system");
  EXPECT_EQ(view->parts[2].text, "there");
  EXPECT_EQ(view->text_bytes, 9u);
  EXPECT_EQ(view->max_tokens, 6);
  EXPECT_EQ(view->n, 2);
  EXPECT_EQ(view->priority, -1);
  EXPECT_EQ(view->cache_salt, "c");
  EXPECT_EQ(view->session_id, "s");
}

TEST(RoutingView, CompletionPromptForms) {
  RoutingReader reader({});
  EXPECT_EQ(reader.Read(R"({"prompt":"a b"})")->parts.at(0).text, "a b");
  const auto list = reader.Read(R"({"prompt":["a","b"]})");
  EXPECT_EQ(list->prompts, 2u);
  EXPECT_EQ(list->parts.size(), 2u);
  EXPECT_EQ(reader.Read(R"({"prompt":[1,2,3]})")->tokens, (std::vector<int32_t>{1, 2, 3}));
  const auto lists = reader.Read(R"({"prompt":[[1,2],[3]]})");
  EXPECT_EQ(lists->tokens, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(lists->prompts, 2u);
}

TEST(RoutingView, SurvivesWrongTypes) {
  RoutingReader reader({});
  const auto view =
      reader.Read(R"({"model":5,"stream":"x","messages":{"a":1},"n":"x","tools":null,"kv_transfer_params":null})");
  ASSERT_TRUE(view);
  EXPECT_FALSE(view->model);
  EXPECT_FALSE(view->stream);
  EXPECT_TRUE(view->parts.empty());
  EXPECT_EQ(view->n, 1);
  EXPECT_FALSE(view->has_kv_transfer_params);
  EXPECT_FALSE(reader.Read("[]"));
  EXPECT_FALSE(reader.Read("{"));
}

TEST(RoutingView, RepeatedFieldsTakeTheLastAsEnginesDo) {
  RoutingReader reader({});
  const auto view = reader.Read(
      R"({"model":"shown","messages":[{"role":"user","content":"shown"}],"model":"meant","messages":[{"role":"user","content":"meant"}]})");
  EXPECT_EQ(view->model, "meant");
  ASSERT_EQ(view->parts.size(), 1u);
  EXPECT_EQ(view->parts[0].text, "meant");
  EXPECT_EQ(view->text_bytes, 5u);
}

}  // namespace
}  // namespace sluice::openai
