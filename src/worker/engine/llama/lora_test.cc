// Adapters: a LoRA made here (random, strong enough to change the answer) beside the base model in one engine.
#include <ggml.h>
#include <gguf.h>

#include "base/rng.h"
#include "worker/engine/llama/engine_fixture.h"

namespace sluice::worker {
namespace {

constexpr int kEmbed = 576;
constexpr int kRank = 4;

// Writes a LoRA for the query projections of all 30 layers.
std::string WriteLora(uint64_t seed) {
  Rng rng(seed);
  ggml_context* ctx = ggml_init({.mem_size = 16U << 20, .mem_buffer = nullptr, .no_alloc = false});
  gguf_context* file = gguf_init_empty();
  gguf_set_val_str(file, "general.type", "adapter");
  gguf_set_val_str(file, "general.architecture", "llama");
  gguf_set_val_str(file, "adapter.type", "lora");
  gguf_set_val_f32(file, "adapter.lora.alpha", 8.0F);
  const auto add = [&](const std::string& name, int columns, int rows) {
    ggml_tensor* t = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, columns, rows);
    ggml_set_name(t, name.c_str());
    auto* data = static_cast<float*>(t->data);
    for (int i = 0; i < columns * rows; ++i) data[i] = static_cast<float>(rng.Uniform() - 0.5) * 0.6F;
    gguf_add_tensor(file, t);
  };
  for (int layer = 0; layer < 30; ++layer) {
    const std::string base = "blk." + std::to_string(layer) + ".attn_q.weight";
    add(base + ".lora_a", kEmbed, kRank);
    add(base + ".lora_b", kRank, kEmbed);
  }
  const std::string path = ::testing::TempDir() + "/lora-" + std::to_string(seed) + ".gguf";
  EXPECT_TRUE(gguf_write_to_file(file, path.c_str(), false));
  gguf_free(file);
  ggml_free(ctx);
  return path;
}

TEST_F(EngineTest, AdaptersAnswerBesideTheBaseModel) {
  LlamaOptions o = Options();
  o.loras = {{"first", WriteLora(1)}, {"second", WriteLora(2)}};
  auto e = Open(o);
  ASSERT_TRUE(e);
  const auto ask = [&](const std::string& lora) {
    GenerateRequest r = Ask(*e, Chat("What is the capital of France? Answer in one sentence, please."), 16);
    r.lora = lora;
    r.ignore_eos = true;
    return r;
  };
  // Alone, then all at once: a step never mixes adapters, so the texts stay what they are.
  std::map<std::string, std::string> alone;
  for (const std::string lora : {"", "first", "second"}) {
    const Output fresh = Run(*e, ask(lora));
    EXPECT_EQ(fresh.usage.cached_tokens, 0) << "blocks of another adapter must not be found";
    const Output again = Run(*e, ask(lora));
    EXPECT_GT(again.usage.cached_tokens, 0);
    EXPECT_EQ(fresh.text, again.text);
    alone[lora] = fresh.text;
  }
  EXPECT_NE(alone[""], alone["first"]);
  EXPECT_NE(alone["first"], alone["second"]);
  std::vector<std::pair<std::string, std::shared_ptr<Collect>>> together;
  for (int round = 0; round < 2; ++round) {
    for (const std::string lora : {"", "first", "second"}) together.emplace_back(lora, Send(*e, ask(lora)));
  }
  for (auto& [lora, listener] : together) {
    const Output out = listener->Wait();
    EXPECT_EQ(out.tokens.size(), 16U);
    EXPECT_EQ(out.text.substr(0, 12), alone[lora].substr(0, 12)) << lora;
  }
}

}  // namespace
}  // namespace sluice::worker
