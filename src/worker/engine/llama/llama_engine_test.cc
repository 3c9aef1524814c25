#include "worker/engine/llama/llama_engine.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <future>

#include "worker/engine/llama/engine_fixture.h"

namespace sluice::worker {
namespace {

using ::testing::HasSubstr;

// llama.cpp's attention has one kernel for 64 tokens and more at once and another for fewer; between them
// log-probabilities move by 0.07 on average and were seen to move by 0.17.
constexpr double kLogprobTolerance = 0.35;

TEST_F(EngineTest, ModelInfoAndGreedyText) {
  auto e = Open();
  ASSERT_TRUE(e);
  EXPECT_EQ(e->Model().max_model_len, 2048);
  EXPECT_EQ(e->Model().num_blocks, 256);
  EXPECT_EQ(e->Model().vocab_size, 49152);
  EXPECT_EQ(e->Model().embedding_size, 576);
  EXPECT_EQ(e->Model().eos_text, "<|im_end|>");
  EXPECT_EQ(e->Model().name, "SmolLM2-135M-Instruct.Q4_1");
  EXPECT_EQ(e->Model().fingerprint.size(), 16U);
  EXPECT_FALSE(e->ChatTemplate().empty());
  const Output a = Run(*e, Ask(*e, Chat("What is the capital of France?"), 32));
  EXPECT_THAT(a.text, HasSubstr("Paris"));
  EXPECT_EQ(a.finish, FinishReason::kStop);
  EXPECT_FALSE(a.stop_token) << "EOS is no stop_token_ids member";
  EXPECT_EQ(a.text.find("<|im_end|>"), std::string::npos);
  EXPECT_EQ(a.tokens.back(), e->Model().eos) << "EOS counts as a token, as in vLLM";
  EXPECT_EQ(a.usage.completion_tokens, static_cast<int>(a.tokens.size()));
  const Output b = Run(*e, Ask(*e, Chat("What is the capital of France?"), 32));
  EXPECT_EQ(a.text, b.text);
}

TEST_F(EngineTest, ReusesWholeBlocksAndSaysSo) {
  auto e = Open();
  const std::string shared = LongText(120);
  GenerateRequest first = Ask(*e, Chat(shared + "What is this about?"));
  const size_t prompt = first.prompt.size();
  EXPECT_EQ(Run(*e, first).usage.cached_tokens, 0);
  // The same prompt again: every full block but the one that would leave no token to compute.
  first.id = "again";
  EXPECT_EQ(Run(*e, first).usage.cached_tokens, static_cast<int>((prompt - 1) / 16 * 16));
  // Another question after the same text: the common full blocks.
  GenerateRequest other = Ask(*e, Chat(shared + "Who carries baskets?"));
  size_t common = 0;
  while (other.prompt[common] == first.prompt[common]) ++common;
  const Output out = Run(*e, other);
  EXPECT_EQ(out.usage.cached_tokens, static_cast<int>(common / 16 * 16));
  // A salt keeps caches apart, and finds its own.
  GenerateRequest salted = first;
  salted.id = "salted";
  salted.cache_salt = "tenant";
  EXPECT_EQ(Run(*e, salted).usage.cached_tokens, 0);
  salted.id = "salted again";
  EXPECT_EQ(Run(*e, salted).usage.cached_tokens, static_cast<int>((prompt - 1) / 16 * 16));
  const EngineStats stats = e->Stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.kv_usage, 0.0);
  EXPECT_EQ(stats.prefix_hits_tokens, (prompt - 1) / 16 * 16 * 2 + common / 16 * 16);
  EXPECT_EQ(stats.prefix_queries_tokens, prompt * 4 + other.prompt.size());
}

// What is reused is not computed again: the observer counts the tokens that went through the model.
TEST_F(EngineTest, ReusedTokensAreNotComputed) {
  struct Count : EngineObserver {
    void OnStep(const StepReport& r) override {
      prompt += r.prompt_tokens;
      generated += r.generation_tokens;
    }
    void OnFirstToken(const FirstTokenReport& r) override { ttft = r.ttft_seconds; }
    void OnInterToken(double) override { ++inter; }
    void OnFinish(const FinishReport& r) override { last = r; }
    std::atomic<int> prompt{0}, generated{0}, inter{0};
    double ttft = 0;
    FinishReport last;
  } count;
  LlamaOptions o = Options();
  o.observer = &count;
  auto e = Open(o);
  GenerateRequest r = Ask(*e, Chat(LongText(100)), 8);
  r.ignore_eos = true;
  const int prompt = static_cast<int>(r.prompt.size());
  Run(*e, r);
  EXPECT_EQ(count.prompt, prompt);
  EXPECT_EQ(count.generated, 8);
  EXPECT_EQ(count.inter, 7);
  const double miss = count.ttft;
  count.prompt = 0;
  r.id = "again";
  const int cached = Run(*e, r).usage.cached_tokens;
  EXPECT_EQ(count.prompt, prompt - cached);
  EXPECT_LT(count.ttft, miss);
  e->Shutdown();
  EXPECT_EQ(count.last.reason, FinishReason::kLength);
  EXPECT_EQ(count.last.prompt_tokens, prompt);
  EXPECT_EQ(count.last.completion_tokens, 8);
  EXPECT_NEAR(count.last.e2e_seconds, count.last.queue_seconds + count.last.inference_seconds, 0.05);
  EXPECT_GT(count.last.mean_seconds_per_token, 0);
}

// Natural questions short enough that llama.cpp's attention takes the same kernel with and without the cache: the text
// is equal, wherever the cells are.
TEST_F(EngineTest, TextIsEqualWithAndWithoutTheCache) {
  auto e = Open();
  for (const char* question :
       {"Write two sentences about the sea and its ships.", "Which three fruits are red or yellow?",
        "Please explain in a few words what a bridge is.", "Tell me a short story about a dog and a cat."}) {
    GenerateRequest r = Ask(*e, Chat(question), 24);
    ASSERT_TRUE(e->ResetPrefixCache());
    const Output fresh = Run(*e, r);
    ASSERT_EQ(fresh.usage.cached_tokens, 0);
    Run(*e, Ask(*e, Chat("Say something."), 7));  // so that the answer's own cells are elsewhere
    r.id += " again";
    const Output reused = Run(*e, r);
    ASSERT_GT(reused.usage.cached_tokens, 0);
    EXPECT_EQ(fresh.text, reused.text) << question;
  }
}

// Prompts of 64 tokens and more are computed by another kernel than the few that are left after a hit.
TEST_F(EngineTest, LogprobsAgreeWithAndWithoutTheCache) {
  auto e = Open();
  for (const char* question : {"What is described here?", "What do the children learn?"}) {
    GenerateRequest r = Ask(*e, Chat(LongText(80) + question), 1);
    r.logprobs = 5;
    ASSERT_TRUE(e->ResetPrefixCache());
    const Output fresh = Run(*e, r);
    r.id += " again";
    const Output reused = Run(*e, r);
    ASSERT_GT(reused.usage.cached_tokens, 0);
    std::map<TokenId, float> before;
    for (const auto& t : fresh.logprobs[0].top) before[t.token] = t.logprob;
    int compared = 0;
    for (const auto& t : reused.logprobs[0].top) {
      if (!before.contains(t.token)) continue;
      EXPECT_NEAR(before[t.token], t.logprob, kLogprobTolerance);
      ++compared;
    }
    EXPECT_GE(compared, 3);
  }
}

TEST_F(EngineTest, ChatTurnsReuseTheEarlierOnes) {
  auto e = Open();
  std::string conversation = Chat("Name a colour.");
  const Output one = Run(*e, Ask(*e, conversation, 40));
  conversation += one.text + "<|im_end|>\n" + Chat("And another one?");
  GenerateRequest second = Ask(*e, conversation, 8);
  const Output two = Run(*e, second);
  EXPECT_GT(two.usage.cached_tokens, one.usage.prompt_tokens / 16 * 16 - 1) << "the answer's blocks are cached too";
  EXPECT_EQ(two.usage.cached_tokens % 16, 0);
}

TEST_F(EngineTest, EightAtOnceAllFinish) {
  auto e = Open();
  std::vector<std::shared_ptr<Collect>> all;
  for (int i = 0; i < 8; ++i) {
    GenerateRequest r = Ask(*e, Chat(LongText(40) + "Question " + std::to_string(i) + "?"), 20);
    r.ignore_eos = true;
    all.push_back(Send(*e, r));
  }
  for (auto& l : all) {
    const Output out = l->Wait();
    EXPECT_EQ(out.finish, FinishReason::kLength);
    EXPECT_EQ(out.tokens.size(), 20U);
    EXPECT_FALSE(out.text.empty());
  }
  EXPECT_EQ(e->Stats().running, 0);
}

TEST_F(EngineTest, PreemptedRequestsStillGiveFullAnswers) {
  LlamaOptions o = Options();
  o.max_model_len = 128;
  o.num_blocks = 16;  // 256 tokens: four requests of up to 100 do not fit
  auto e = Open(o);
  std::vector<std::shared_ptr<Collect>> all;
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(Ask(*e, Chat("Tell me about the number " + std::to_string(i) + "."), 80));
    requests.back().ignore_eos = true;
    requests.back().logprobs = 0;
  }
  for (const auto& r : requests) all.push_back(Send(*e, r));
  for (auto& l : all) {
    const Output out = l->Wait();
    EXPECT_EQ(out.finish, FinishReason::kLength);
    EXPECT_EQ(out.tokens.size(), 80U);
    EXPECT_EQ(out.logprobs.size(), 80U);
    EXPECT_EQ(e->Tokens().Decode(out.tokens, true), out.text) << "nothing is said twice after a preemption";
  }
  EXPECT_GT(e->Stats().preemptions, 0U);
  EXPECT_EQ(e->Stats().kv_usage, 0.0);
}

// Many different prompts through a small cache: eviction keeps going, and what is said to be cached answers alike.
TEST_F(EngineTest, EvictionUnderManyPrompts) {
  LlamaOptions o = Options();
  o.max_model_len = 256;
  o.num_blocks = 16;
  auto e = Open(o);
  const GenerateRequest keep = Ask(*e, Chat(LongText(40) + "What is described here?"), 6);
  GenerateRequest r = keep;
  r.id = "first";
  const Output fresh = Run(*e, r);
  bool evicted = false;
  for (int i = 0; i < 16; ++i) {
    Run(*e, Ask(*e, std::to_string(i * 7919) + " is a number. " + LongText(30), 2));
    if (i % 8 != 7) continue;
    r = keep;
    r.id = "check-" + std::to_string(i);
    const Output out = Run(*e, r);
    evicted |= out.usage.cached_tokens == 0;
    EXPECT_EQ(out.tokens[0], fresh.tokens[0]);
  }
  EXPECT_TRUE(evicted);
  EXPECT_EQ(e->Stats().kv_usage, 0.0);
}

TEST_F(EngineTest, AbortFreesBlocksAndEndsTheStream) {
  auto e = Open();
  GenerateRequest r = Ask(*e, Chat(LongText(100)), 1000);
  r.ignore_eos = true;
  auto listener = Send(*e, r);
  listener->WaitTokens(3);
  EXPECT_GT(e->Stats().kv_usage, 0.0);
  EXPECT_FALSE(e->ResetPrefixCache()) << "a running request holds blocks";
  e->Abort("no such request");
  e->Abort(r.id);
  const Output out = listener->Wait();
  EXPECT_EQ(out.finish, FinishReason::kAbort);
  EXPECT_LT(out.tokens.size(), 1000U);
  EXPECT_EQ(e->Stats().kv_usage, 0.0);
  EXPECT_EQ(e->Stats().running, 0);
  EXPECT_TRUE(e->ResetPrefixCache());
  r.id = "after reset";
  r.max_tokens = 1;
  EXPECT_EQ(Run(*e, r).usage.cached_tokens, 0);
}

TEST_F(EngineTest, StopRules) {
  auto e = Open();
  const std::string prompt = Chat("Count from one to ten in words.");
  const Output free = Run(*e, Ask(*e, prompt, 40));
  ASSERT_GT(free.text.size(), 20U);
  // A stop string in the middle of what it says anyway.
  const std::string stop = free.text.substr(12, 5);
  GenerateRequest r = Ask(*e, prompt, 40);
  r.stop = {stop};
  Output out = Run(*e, r);
  EXPECT_EQ(out.finish, FinishReason::kStop);
  EXPECT_EQ(out.stop_reason, stop);
  EXPECT_EQ(out.text, free.text.substr(0, free.text.find(stop)));
  r = Ask(*e, prompt, 40);
  r.stop = {stop};
  r.include_stop_in_output = true;
  out = Run(*e, r);
  EXPECT_EQ(out.text, free.text.substr(0, free.text.find(stop) + stop.size()));
  // A stop token.
  r = Ask(*e, prompt, 40);
  r.stop_token_ids = {free.tokens[4]};
  out = Run(*e, r);
  EXPECT_EQ(out.finish, FinishReason::kStop);
  EXPECT_EQ(out.stop_token, free.tokens[4]);
  EXPECT_LE(out.tokens.size(), 5U);
  EXPECT_EQ(out.text.find(e->Tokens().Piece(free.tokens[4], true), out.text.size() - 1), std::string::npos);
  // min_tokens keeps it from ending; ignore_eos too.
  r = Ask(*e, Chat("Say yes."), 30);
  r.min_tokens = 25;
  out = Run(*e, r);
  EXPECT_GE(out.tokens.size(), 25U);
  for (size_t i = 0; i + 1 < out.tokens.size(); ++i) EXPECT_NE(out.tokens[i], e->Model().eos);
}

TEST_F(EngineTest, SeedsRepeatAndDiffer) {
  auto e = Open();
  GenerateRequest r = Ask(*e, Chat("Invent a name for a ship."), 24);
  r.sampling.temperature = 1.0;
  r.sampling.top_p = 0.95;
  r.sampling.top_k = 50;
  r.sampling.seed = 7;
  Run(*e, r);  // the prompt is cached from here on: the next two compute alike
  r.id = "b";
  const Output b = Run(*e, r);
  r.id = "c";
  EXPECT_EQ(Run(*e, r).tokens, b.tokens);
  r.id = "d";
  r.sampling.seed = 8;
  EXPECT_NE(Run(*e, r).tokens, b.tokens);
}

TEST_F(EngineTest, LogprobsOfAnswerAndPrompt) {
  auto e = Open();
  GenerateRequest r = Ask(*e, "The capital of France is", 4);
  r.logprobs = 3;
  r.prompt_logprobs = 2;
  const Output out = Run(*e, r);
  ASSERT_EQ(out.logprobs.size(), out.tokens.size());
  for (size_t i = 0; i < out.tokens.size(); ++i) {
    EXPECT_EQ(out.logprobs[i].token, out.tokens[i]);
    ASSERT_EQ(out.logprobs[i].top.size(), 3U);
    EXPECT_EQ(out.logprobs[i].top[0].token, out.tokens[i]) << "greedy takes the most likely";
    EXPECT_LE(out.logprobs[i].logprob, 0.0F);
    EXPECT_GE(out.logprobs[i].top[0].logprob, out.logprobs[i].top[1].logprob);
  }
  ASSERT_EQ(out.prompt_logprobs.size(), r.prompt.size());
  EXPECT_FALSE(out.prompt_logprobs[0]);
  for (size_t i = 1; i < r.prompt.size(); ++i) {
    ASSERT_TRUE(out.prompt_logprobs[i]);
    EXPECT_EQ(out.prompt_logprobs[i]->token, r.prompt[i]);
  }
  EXPECT_GT(out.prompt_logprobs.back()->logprob, -3) << "'is' is likely there";
  // Only about the prompt, and longer than one step's rows.
  r = Ask(*e, LongText(90), 0);
  r.prompt_logprobs = 0;
  const Output prompt_only = Run(*e, r);
  EXPECT_EQ(prompt_only.finish, FinishReason::kLength);
  EXPECT_TRUE(prompt_only.tokens.empty());
  ASSERT_EQ(prompt_only.prompt_logprobs.size(), r.prompt.size());
  EXPECT_TRUE(prompt_only.prompt_logprobs.back());
}

TEST_F(EngineTest, LogitBiasAndPenaltiesReachTheSampler) {
  auto e = Open();
  const Output free = Run(*e, Ask(*e, Chat("Say hello."), 4));
  GenerateRequest r = Ask(*e, Chat("Say hello."), 4);
  r.sampling.logit_bias = {{free.tokens[0], -100.0F}};
  EXPECT_NE(Run(*e, r).tokens[0], free.tokens[0]);
}

TEST_F(EngineTest, RefusesWhatCannotRun) {
  LlamaOptions o = Options();
  o.max_model_len = 64;
  o.num_blocks = 8;
  auto e = Open(o);
  const auto code = [&](const std::function<void(GenerateRequest&)>& change) {
    GenerateRequest r = Ask(*e, "Hello there", 4);
    change(r);
    auto s = e->Submit(std::move(r), std::make_shared<Collect>());
    return s ? std::optional<Code>() : std::optional<Code>(s.error().code);
  };
  EXPECT_EQ(code([](auto& r) { r.prompt.clear(); }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.prompt.push_back(49152); }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.prompt.push_back(-1); }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.max_tokens = 64; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.max_tokens = 0; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.min_tokens = 5; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.grammar = "root ::= \"unclosed"; }), Code::kInvalidArgument);
  EXPECT_EQ(code([](auto& r) { r.grammar = "root ::= root \"x\""; }), Code::kInvalidArgument) << "left recursion";
  EXPECT_EQ(code([](auto& r) { r.lora = "none"; }), Code::kNotFound);
  EXPECT_EQ(code([](auto& r) { r.sampling.logit_bias = {{70000, 1.0F}}; }), Code::kInvalidArgument);
  GenerateRequest r = Ask(*e, "Hello there", 40);
  r.ignore_eos = true;
  auto listener = Send(*e, r);
  auto twice = e->Submit(r, std::make_shared<Collect>());
  ASSERT_FALSE(twice.has_value());
  EXPECT_EQ(twice.error().code, Code::kConflict);
  EXPECT_EQ(listener->Wait().finish, FinishReason::kLength);
}

TEST_F(EngineTest, WaitingQueueIsBounded) {
  LlamaOptions o = Options();
  o.max_num_seqs = 1;
  o.waiting_max = 2;
  auto e = Open(o);
  GenerateRequest r = Ask(*e, Chat("Hello"), 500);
  r.ignore_eos = true;
  std::vector<std::shared_ptr<Collect>> all{Send(*e, r)};
  all[0]->WaitTokens(1);
  for (int i = 0; i < 2; ++i) {
    r.id = "waiting-" + std::to_string(i);
    all.push_back(Send(*e, r));
  }
  EXPECT_EQ(e->Stats().waiting, 2);
  r.id = "one too many";
  auto refused = e->Submit(r, std::make_shared<Collect>());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  e->Abort("waiting-0");
  EXPECT_EQ(all[1]->Wait().finish, FinishReason::kAbort);
  EXPECT_TRUE(e->Submit(r, std::make_shared<Collect>()).has_value());
}

TEST_F(EngineTest, DrainAndShutdown) {
  auto e = Open();
  GenerateRequest r = Ask(*e, Chat("Hello"), 12);
  r.ignore_eos = true;
  auto finishes = Send(*e, r);
  finishes->WaitTokens(1);
  e->Drain();
  r.id = "late";
  auto late = e->Submit(r, std::make_shared<Collect>());
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().code, Code::kUnavailable);
  EXPECT_EQ(finishes->Wait().finish, FinishReason::kLength);

  auto other = Open();
  r.id = "long";
  r.max_tokens = 1500;
  auto cut = Send(*other, r);
  r.id = "waiting";
  auto waiting = Send(*other, r);
  cut->WaitTokens(2);
  other->Shutdown();
  EXPECT_EQ(cut->Wait().finish, FinishReason::kAbort);
  EXPECT_EQ(waiting->Wait().finish, FinishReason::kAbort);
  EXPECT_FALSE(other->Submit(r, std::make_shared<Collect>()).has_value());
}

// A decode that fails ends every request with an error and the engine's health; nobody hangs.
class FailingEngine : public LlamaEngine {
 public:
  static std::unique_ptr<FailingEngine> Make(LlamaOptions o) {
    auto runtime = LlamaRuntime::Open(o);
    EXPECT_TRUE(runtime.has_value());
    auto e = std::unique_ptr<FailingEngine>(new FailingEngine(std::move(o), std::move(*runtime)));
    e->Start();
    return e;
  }
  ~FailingEngine() override { Shutdown(); }
  std::atomic<int> steps_left{5};
  std::atomic<LlamaRuntime::Outcome> outcome{LlamaRuntime::Outcome::kFailed};

 protected:
  FailingEngine(LlamaOptions o, std::unique_ptr<LlamaRuntime> r) : LlamaEngine(std::move(o), std::move(r), nullptr) {}
  LlamaRuntime::Outcome Decode(std::span<const LlamaRuntime::Token> tokens, int adapter) override {
    return --steps_left < 0 ? outcome.load() : LlamaEngine::Decode(tokens, adapter);
  }
};

TEST_F(EngineTest, DecodeFailureTellsEveryone) {
  for (auto outcome : {LlamaRuntime::Outcome::kFailed, LlamaRuntime::Outcome::kNoRoom}) {
    LlamaOptions o = Options();
    o.max_num_seqs = 2;
    o.on_warning = [](std::string_view) {};
    auto e = FailingEngine::Make(o);
    e->outcome = outcome;
    std::vector<std::shared_ptr<Collect>> all;
    for (int i = 0; i < 4; ++i) {
      GenerateRequest r = Ask(*e, Chat("Hello"), 100);
      r.ignore_eos = true;
      auto l = std::make_shared<Collect>();
      if (e->Submit(r, l)) all.push_back(l);
    }
    ASSERT_FALSE(all.empty());
    for (auto& l : all) {
      const Output out = l->Wait();
      EXPECT_EQ(out.finish, FinishReason::kError);
      ASSERT_TRUE(out.error);
      EXPECT_EQ(out.error->code, Code::kInternal);
    }
    EXPECT_FALSE(e->Healthy());
    auto refused = e->Submit(Ask(*e, "x", 1), std::make_shared<Collect>());
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Code::kUnavailable);
  }
}

TEST_F(EngineTest, EmbeddingsAreNormalisedAndRepeat) {
  auto e = Open();
  // Answers go on beside them.
  GenerateRequest r = Ask(*e, Chat("Tell me a story."), 40);
  r.ignore_eos = true;
  auto answer = Send(*e, r);
  const auto embed = [&](const std::string& text) {
    std::promise<Result<std::vector<float>>> promise;
    auto s = e->Embed(e->Tokens().Encode(text, false, false), [&](auto v) { promise.set_value(std::move(v)); });
    EXPECT_TRUE(s.has_value());
    auto v = promise.get_future().get();
    EXPECT_TRUE(v.has_value());
    return *v;
  };
  const auto dot = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
  };
  const auto cat = embed("The cat sleeps on the warm sofa.");
  ASSERT_EQ(cat.size(), 576U);
  EXPECT_NEAR(dot(cat, cat), 1.0, 1e-5);
  EXPECT_EQ(cat, embed("The cat sleeps on the warm sofa."));
  const auto kitten = embed("A kitten is asleep on the couch.");
  const auto law = embed("Section 12 of the act shall come into force on 1 March.");
  EXPECT_GT(dot(cat, kitten), dot(cat, law));
  const auto long_text = embed(LongText(500));
  EXPECT_NEAR(dot(long_text, long_text), 1.0, 1e-5) << "longer than the first context";
  EXPECT_EQ(answer->Wait().tokens.size(), 40U);
  EXPECT_FALSE(e->Embed({}, [](auto) {}).has_value());
  EXPECT_FALSE(e->Embed({60000}, [](auto) {}).has_value());
}

}  // namespace
}  // namespace sluice::worker
