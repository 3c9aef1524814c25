// UsageTail: finds the `usage` object that ends a response, without keeping the response: only its last bytes.
// Thread rule: one owner. Cost: a copy of each piece into a buffer of at most kTailBytes x 2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::gateway {

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
};

class UsageTail {
 public:
  void Append(std::string_view piece);
  // Reads the last complete `"usage":{…}` of what was appended: `prompt_tokens|input_tokens`,
  // `completion_tokens|output_tokens`, `…_details.cached_tokens`. Nothing when there is none.
  std::optional<Usage> Find() const;
  void Clear() { tail_.clear(); }

 private:
  static constexpr size_t kTailBytes = 4096;
  std::string tail_;
};

}  // namespace sluice::gateway
