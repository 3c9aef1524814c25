#include "base/read_file.h"

#include <fstream>

namespace sluice {

Result<std::string> ReadFile(const std::string& path, size_t bytes_max) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Fail(Code::kNotFound, "cannot read " + path + "; does it exist, and may this user read it?");
  std::string text;
  char block[16 * 1024];
  while (text.size() <= bytes_max && (file.read(block, sizeof block) || file.gcount() > 0)) {
    text.append(block, static_cast<size_t>(file.gcount()));
  }
  if (file.bad() || (text.empty() && !file.eof())) {
    return Fail(Code::kNotFound, "cannot read " + path + "; is it a file?");
  }
  if (text.size() > bytes_max) {
    return Fail(Code::kTooLarge, path + " is over " + std::to_string(bytes_max) + " bytes");
  }
  return text;
}

}  // namespace sluice
