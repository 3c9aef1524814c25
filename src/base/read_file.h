// ReadFile: a whole small file at once.
// Thread rule: any. Cost: one allocation of the file's size.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace sluice {

// kNotFound, with what to check, when it cannot be read; kTooLarge beyond `bytes_max`.
Result<std::string> ReadFile(const std::string& path, size_t bytes_max);

}  // namespace sluice
