// What tokenizing costs: our way in against the crate called from Rust, and a conversation's second turn.
#include <benchmark/benchmark.h>

#include "tokenize/hf_fixture.h"
#include "tokenize/hf_tokenizers_c.h"
#include "tokenize/prefix_cache.h"

namespace sluice::tokenize {
namespace {

std::string Prose(size_t bytes) {
  static constexpr std::string_view kSentences[] = {
      "The harbour master writes each arrival in a ledger, with the hour and the draught. ",
      "In 1842 they counted 3,117 ships; größere Schiffe warteten draußen. ",
      "for (int i = 0; i < n; ++i) sum += x[i];\n",
      "Routing follows the cache: a replica that holds the prefix answers sooner.\n\n"};
  std::string text;
  for (size_t i = 0; text.size() < bytes; ++i) text += kSentences[i % 4];
  text.resize(bytes);
  while ((static_cast<unsigned char>(text.back()) & 0x80) != 0) text.pop_back();
  return text;
}

// Of about `tokens` tokens in messages of 200 or so.
std::string Conversation(const Tokenizer& tokenizer, size_t tokens) {
  std::string text;
  for (int turn = 0; tokenizer.Encode(text, false, true).size() < tokens; ++turn) {
    text += (turn % 2 == 0 ? "<|im_start|>user\n" : "<|im_start|>assistant\n") + std::to_string(turn) + " " +
            Prose(600) + "<|im_end|>\n";
  }
  return text;
}

const HfTokenizer* Golden(benchmark::State& state) {
  static const std::unique_ptr<HfTokenizer> tokenizer = OpenGoldenHf("byte-level");
  if (tokenizer == nullptr) state.SkipWithError("built without cargo");
  return tokenizer.get();
}

void BM_HfTokenizer(benchmark::State& state) {
  const HfTokenizer* tokenizer = Golden(state);
  if (tokenizer == nullptr) return;
  const std::string text = Prose(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer->Encode(text, false, true));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}
BENCHMARK(BM_HfTokenizer)->Arg(200)->Arg(4'000)->Arg(40'000);

void BM_CrateFromRust(benchmark::State& state) {
#if SLUICE_HF_TOKENIZERS
  const auto json = ReadFile(GoldenHfFolder("byte-level") + "/tokenizer.json", HfTokenizer::kFileBytesMax);
  SluiceHfBytes error{};
  SluiceHfHandle* handle = sluice_hf_open(reinterpret_cast<const uint8_t*>(json->data()), json->size(), &error);
  const std::string text = Prose(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        sluice_hf_encode_rounds(handle, reinterpret_cast<const uint8_t*>(text.data()), text.size(), 1));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
  sluice_hf_close(handle);
#else
  state.SkipWithError("built without cargo");
#endif
}
BENCHMARK(BM_CrateFromRust)->Arg(200)->Arg(4'000)->Arg(40'000);

void BM_SecondTurn(benchmark::State& state) {
  const HfTokenizer* tokenizer = Golden(state);
  if (tokenizer == nullptr) return;
  const std::string first = Conversation(*tokenizer, static_cast<size_t>(state.range(0)));
  PrefixCache cache(*tokenizer, size_t{64} << 20);
  cache.Encode(first, false);
  size_t turn = 0;
  for (auto _ : state) {
    const std::string second = first + "<|im_start|>user\nAnd what of number " + std::to_string(++turn) + "? " +
                               Prose(300) + "<|im_end|>\n<|im_start|>assistant\n";
    benchmark::DoNotOptimize(cache.Encode(second, false));
  }
}
BENCHMARK(BM_SecondTurn)->Arg(1'000)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::tokenize
