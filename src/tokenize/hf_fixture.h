// The small tokenizers of test/golden/hf, for tests and benchmarks. See tools/make_hf_golden.py.
#pragma once

#include <memory>
#include <string>

#include "base/read_file.h"
#include "tokenize/hf_tokenizer.h"

namespace sluice::tokenize {

inline std::string GoldenHfFolder(const std::string& name) { return SLUICE_SOURCE_DIR "/test/golden/hf/" + name; }

// Null when it cannot be had.
inline std::unique_ptr<HfTokenizer> OpenGoldenHf(const std::string& name) {
  const auto json = ReadFile(GoldenHfFolder(name) + "/tokenizer.json", HfTokenizer::kFileBytesMax);
  if (!json) return nullptr;
  auto opened = HfTokenizer::Open(*json);
  return opened ? std::move(*opened) : nullptr;
}

}  // namespace sluice::tokenize
