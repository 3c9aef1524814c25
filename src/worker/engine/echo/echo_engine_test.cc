#include "worker/engine/echo/echo_engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <future>

namespace sluice::worker {
namespace {

class Collect : public Listener {
 public:
  void OnOutput(Output o) override {
    const std::lock_guard lock(mutex_);
    all.text += o.text;
    all.tokens.insert(all.tokens.end(), o.tokens.begin(), o.tokens.end());
    all.logprobs.insert(all.logprobs.end(), o.logprobs.begin(), o.logprobs.end());
    if (!o.prompt_logprobs.empty()) all.prompt_logprobs = std::move(o.prompt_logprobs);
    all.finish = o.finish;
    all.stop_reason = o.stop_reason;
    all.error = o.error;
    all.usage = o.usage;
    changed_.notify_all();
  }
  Output Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return all.finish != FinishReason::kNone; });
    return all;
  }
  void WaitToken() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !all.tokens.empty(); });
  }
  Output all;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

GenerateRequest Make(const EchoEngine& engine, std::string_view text, int max_tokens, std::string id = "r") {
  GenerateRequest request;
  request.id = std::move(id);
  request.prompt = engine.Tokens().Encode(text, true, true);
  request.max_tokens = max_tokens;
  return request;
}

Output Answer(EchoEngine& engine, GenerateRequest request) {
  const auto listener = std::make_shared<Collect>();
  const Status accepted = engine.Submit(std::move(request), listener);
  EXPECT_TRUE(accepted) << accepted.error().message;
  return listener->Wait();
}

TEST(EchoTokenizer, EveryTextComesBack) {
  const EchoTokenizer tokens;
  for (const std::string_view text :
       {"", "a", "The three primary colours", "é😀\n\n x", "\xff\xfe", "<|user|>hi<|end|>"}) {
    EXPECT_EQ(tokens.Decode(tokens.Encode(text, true, false), false), text);
    EXPECT_EQ(tokens.Decode(tokens.Encode(text, true, true), false), text);
  }
  EXPECT_EQ(tokens.Encode("<|user|>hi<|end|>", false, true),
            (std::vector<TokenId>{EchoTokenizer::kUser, tokens.Encode("hi", false, true)[0], EchoTokenizer::kEnd}));
  EXPECT_EQ(tokens.Decode({EchoTokenizer::kUser}, true), "");
}

TEST(EchoEngine, AnswersWithTheLastUserMessage) {
  EchoEngine engine({});
  const Output chat = Answer(engine, Make(engine, "<|system|>be<|end|><|user|>hello there<|end|><|assistant|>", 100));
  EXPECT_EQ(chat.text, "hello there");
  EXPECT_EQ(chat.finish, FinishReason::kStop);
  EXPECT_EQ(Answer(engine, Make(engine, "plain é😀", 100)).text, "plain é😀");
}

TEST(EchoEngine, LengthStopStringsAndIgnoreEos) {
  EchoEngine engine({});
  const Output cut = Answer(engine, Make(engine, "one two three", 2));
  EXPECT_EQ(cut.finish, FinishReason::kLength);
  EXPECT_EQ(cut.usage.completion_tokens, 2);
  GenerateRequest stop = Make(engine, "one two three", 50);
  stop.stop = {"two"};
  const Output stopped = Answer(engine, std::move(stop));
  EXPECT_EQ(stopped.text, "one ");
  EXPECT_EQ(stopped.stop_reason, "two");
  GenerateRequest on = Make(engine, "ab", 7);
  on.ignore_eos = true;
  EXPECT_EQ(Answer(engine, std::move(on)).text, "ababababababab");
}

TEST(EchoEngine, PrefixesHitUnlessSalted) {
  EchoEngine engine({.block_size = 4});
  const std::string prompt(60, 'x');  // 20 tokens, 5 blocks; the last token is computed anyway
  EXPECT_EQ(Answer(engine, Make(engine, prompt, 1)).usage.cached_tokens, 0);
  EXPECT_EQ(Answer(engine, Make(engine, prompt, 1)).usage.cached_tokens, 16);
  EXPECT_EQ(Answer(engine, Make(engine, prompt + "yyy", 1)).usage.cached_tokens, 20);
  GenerateRequest salted = Make(engine, prompt, 1);
  salted.cache_salt = "s";
  EXPECT_EQ(Answer(engine, std::move(salted)).usage.cached_tokens, 0);
  EXPECT_EQ(engine.Stats().prefix_hits_tokens, 36u);
  EXPECT_TRUE(engine.ResetPrefixCache());
  EXPECT_EQ(Answer(engine, Make(engine, prompt, 1)).usage.cached_tokens, 0);
}

TEST(EchoEngine, LogprobsOfPromptAndAnswer) {
  EchoEngine engine({});
  GenerateRequest request = Make(engine, "abcdef", 1);
  request.logprobs = 2;
  request.prompt_logprobs = 1;
  const Output out = Answer(engine, std::move(request));
  ASSERT_EQ(out.logprobs.size(), 1u);
  EXPECT_EQ(out.logprobs[0].top.size(), 2u);
  ASSERT_EQ(out.prompt_logprobs.size(), 2u);
  EXPECT_FALSE(out.prompt_logprobs[0]);
  EXPECT_EQ(out.prompt_logprobs[1]->top.size(), 1u);
}

TEST(EchoEngine, QueueIsBoundedAbortFreesAndDeathIsTold) {
  EchoEngine engine({.max_num_seqs = 1, .waiting_max = 1, .token_delay = std::chrono::hours(1)});
  const auto first = std::make_shared<Collect>();
  ASSERT_TRUE(engine.Submit(Make(engine, "abcdef", 9, "first"), first));
  first->WaitToken();  // runs, and waits an hour for its second token
  const auto second = std::make_shared<Collect>();
  ASSERT_TRUE(engine.Submit(Make(engine, "abcdef", 9, "second"), second));
  const Status third = engine.Submit(Make(engine, "abcdef", 9, "third"), std::make_shared<Collect>());
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code, Code::kResourceExhausted);
  EXPECT_EQ(engine.Stats().running, 1);
  EXPECT_EQ(engine.Stats().waiting, 1);
  EXPECT_GT(engine.Stats().kv_usage, 0);
  engine.Abort("first");
  EXPECT_EQ(first->Wait().finish, FinishReason::kAbort);
  second->WaitToken();
  engine.Die("test");
  const Output dead = second->Wait();
  EXPECT_EQ(dead.finish, FinishReason::kError);
  ASSERT_TRUE(dead.error);
  EXPECT_FALSE(engine.Healthy());
  EXPECT_EQ(engine.Submit(Make(engine, "a", 1), std::make_shared<Collect>()).error().code, Code::kUnavailable);
}

TEST(EchoEngine, RefusesWhatCannotFitAndDrains) {
  EchoEngine engine({.max_model_len = 8});
  EXPECT_FALSE(engine.Submit(Make(engine, "abc", 8), std::make_shared<Collect>()));
  EXPECT_EQ(Answer(engine, Make(engine, "abc", 7)).text, "abc");
  engine.Drain();
  EXPECT_EQ(engine.Submit(Make(engine, "abc", 1), std::make_shared<Collect>()).error().code, Code::kUnavailable);
}

TEST(EchoEngine, EmbeddingsAreUnitVectorsOfTheTokens) {
  EchoEngine engine({.embedding_size = 4});
  std::promise<Result<std::vector<float>>> promise;
  ASSERT_TRUE(engine.Embed({1, 1, 2}, [&](Result<std::vector<float>> r) { promise.set_value(std::move(r)); }));
  const auto vector = promise.get_future().get();
  ASSERT_TRUE(vector);
  EXPECT_NEAR((*vector)[1], 2 / std::sqrt(5.0), 1e-6);
}

}  // namespace
}  // namespace sluice::worker
