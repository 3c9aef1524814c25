// Stands in for libFuzzer where it is not linked: runs a fuzz target's entry point over every file of the given folders
// and over seeded mutations of each (bytes changed, cut, doubled), so that a corpus is also a test. Prints how many
// inputs ran; a fault ends the process as it would under libFuzzer.
// Usage: <target> FOLDER-OR-FILE...
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kMutationsPerFile = 64;

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

std::string Mutate(std::string input, std::mt19937& random) {
  if (input.empty()) return input;
  const auto below = [&random](size_t bound) { return static_cast<size_t>(random()) % bound; };
  switch (below(4)) {
    case 0:
      input.resize(below(input.size()));
      break;
    case 1:
      input.insert(below(input.size()), input.substr(below(input.size()), 1 + below(16)));
      break;
    default:
      for (size_t changes = 1 + below(4); changes > 0; --changes) {
        input[below(input.size())] = static_cast<char>(below(256));
      }
  }
  return input;
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
    std::fprintf(stderr, "usage: %s FOLDER-OR-FILE... (no input file found)\n", argv[0]);
    return 2;
  }
  std::mt19937 random(1);
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file) {
      std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
      return 2;
    }
    Run(input);
    for (int i = 0; i < kMutationsPerFile; ++i) Run(Mutate(input, random));
  }
  std::printf("%zu files, %zu inputs\n", files.size(), files.size() * (kMutationsPerFile + 1));
  return 0;
}
