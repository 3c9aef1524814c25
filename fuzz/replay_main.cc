// Replay: runs a fuzz target's entry point over every file of the folders (or files) given, and over simple mutations
// of each, so that a corpus is an ordinary test where libFuzzer is not linked. Deterministic: the same files give the
// same mutations. Exit 0 when nothing crashed, 2 when a path cannot be read or holds no input.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/rng.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kMutationsPerFile = 64;

void RunOne(const std::string& input) {
  // An exact-size copy, so that a sanitizer sees a read past the end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::string Mutate(const std::string& seed, sluice::Rng& rng) {
  static constexpr std::string_view kInteresting[] = {"\"",    "\\",   "{",    "}",       "[",        "]",       ":",
                                                      ",",     "\r",   "\n",   "\xff",    "\xf0\x9f", "0",       "-1",
                                                      "1e999", "null", "true", "\\ud800", "data:",    "\r\n\r\n"};
  std::string text = seed;
  const uint64_t edits = 1 + rng.Below(4);
  for (uint64_t i = 0; i < edits; ++i) {
    const size_t at = text.empty() ? 0 : rng.Below(text.size());
    switch (rng.Below(5)) {
      case 0:
        if (!text.empty()) text[at] = static_cast<char>(rng.Below(256));
        break;
      case 1:
        text.insert(at, kInteresting[rng.Below(std::size(kInteresting))]);
        break;
      case 2:
        text.erase(at, rng.Below(16));
        break;
      case 3:
        text.resize(at);
        break;
      case 4:
        text.insert(at, text.substr(at, rng.Below(64)));
        break;
    }
  }
  return text;
}

bool ReadAll(const std::filesystem::path& path, std::string& out) {
  std::ifstream in(path, std::ios::binary);
  out.assign(std::istreambuf_iterator<char>(in), {});
  return !in.bad() && in.is_open();
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      files.emplace_back(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::fprintf(stderr, "usage: %s CORPUS-FOLDER|FILE...  (nothing to replay was found)\n", argv[0]);
    return 2;
  }
  sluice::Rng rng(1);
  size_t runs = 1;
  RunOne("");
  for (const auto& path : files) {
    std::string seed;
    if (!ReadAll(path, seed)) {
      std::fprintf(stderr, "cannot read %s\n", path.c_str());
      return 2;
    }
    RunOne(seed);
    for (int i = 0; i < kMutationsPerFile; ++i) RunOne(Mutate(seed, rng));
    runs += 1 + kMutationsPerFile;
  }
  std::printf("%zu files, %zu runs\n", files.size(), runs);
  return 0;
}
