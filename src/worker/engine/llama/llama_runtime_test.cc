// Opening models and settings that cannot be used: a clear error each, never an abort.
#include "worker/engine/llama/llama_runtime.h"

#include <gmock/gmock.h>

#include <fstream>

#include "worker/engine/llama/engine_fixture.h"

namespace sluice::worker {
namespace {

using ::testing::HasSubstr;

Error OpenFails(LlamaOptions o) {
  tokenize::SetLlamaLog([](int, std::string_view) {});
  auto e = OpenLlamaEngine(std::move(o));
  tokenize::SetLlamaLog(nullptr);
  EXPECT_FALSE(e.has_value());
  return e ? Error{} : e.error();
}

std::string FirstBytes(size_t n) {
  std::ifstream in(kModel, std::ios::binary);
  std::string bytes(n, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(n));
  return bytes;
}

std::string WriteFile(const std::string& name, const std::string& bytes) {
  const std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST_F(EngineTest, MissingOrDamagedModel) {
  LlamaOptions o = Options();
  o.model_path = "/nonexistent/model.gguf";
  Error error = OpenFails(o);
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_THAT(error.message, HasSubstr("/nonexistent/model.gguf"));
  o.model_path = ::testing::TempDir();
  EXPECT_EQ(OpenFails(o).code, Code::kInvalidArgument);
  o.model_path = WriteFile("text.gguf", "hello, this is no model");
  EXPECT_EQ(OpenFails(o).code, Code::kInvalidArgument);
  o.model_path = WriteFile("empty.gguf", "");
  EXPECT_EQ(OpenFails(o).code, Code::kInvalidArgument);
  o.model_path = WriteFile("garbage.gguf", "GGUF" + std::string(4096, '\x7f'));
  EXPECT_EQ(OpenFails(o).code, Code::kInvalidArgument);
  for (size_t n : {24UL, 5'000UL, 1'000'000UL, 3'000'000UL, 20'000'000UL}) {  // a download that stopped
    o.model_path = WriteFile("cut.gguf", FirstBytes(n));
    error = OpenFails(o);
    EXPECT_EQ(error.code, Code::kInvalidArgument) << n;
    EXPECT_THAT(error.message, HasSubstr("cut.gguf"));
  }
}

TEST_F(EngineTest, SettingsThatDoNotFit) {
  const auto fails = [](const std::function<void(LlamaOptions&)>& change) {
    LlamaOptions o = Options();
    change(o);
    const Error e = OpenFails(o);
    EXPECT_EQ(e.code, Code::kInvalidArgument) << e.message;
    return e.param;
  };
  EXPECT_EQ(fails([](auto& o) { o.max_model_len = 10'000; }), "max_model_len");
  EXPECT_EQ(fails([](auto& o) { o.num_blocks = 10; }), "max_model_len");
  EXPECT_EQ(fails([](auto& o) { o.max_num_seqs = 0; }), "max_num_seqs");
  EXPECT_EQ(fails([](auto& o) { o.max_num_seqs = 500; }), "max_num_seqs");
  EXPECT_EQ(fails([](auto& o) { o.max_num_batched_tokens = 8; }), "max_num_batched_tokens");
  EXPECT_EQ(fails([](auto& o) { o.block_size = 0; }), "block_size");
  EXPECT_EQ(fails([](auto& o) { o.waiting_max = 0; }), "waiting_max");
  LlamaOptions o = Options();
  o.loras = {{"tuned", "/nonexistent/lora.gguf"}};
  const Error e = OpenFails(o);
  EXPECT_EQ(e.code, Code::kNotFound);
  EXPECT_THAT(e.message, HasSubstr("tuned"));
  o.loras = {{"tuned", kModel}};  // a model is no adapter
  EXPECT_EQ(OpenFails(o).code, Code::kInvalidArgument);
}

TEST_F(EngineTest, ReportsLoadingAndFitsDefaults) {
  LlamaOptions o;
  o.model_path = kModel;
  double last = -1;
  o.on_load_progress = [&](double p) { last = p; };
  auto e = OpenLlamaEngine(o);
  ASSERT_TRUE(e.has_value()) << e.error().message;
  EXPECT_EQ(last, 1.0);
  EXPECT_EQ((*e)->Model().max_model_len, 8192);
  EXPECT_EQ((*e)->Model().num_blocks, 1024);
}

}  // namespace
}  // namespace sluice::worker
