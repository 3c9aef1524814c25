// Changes in a JSON body that leave every other byte as the client sent it: order, spaces, numbers beyond 2^53.
// Why: writing a parsed tree again (as upstream does) sorts keys, rounds numbers and changes what a signature covers.
// A key that occurs twice is changed at each place, so that it does not matter which one an engine takes; keys written
// with escapes are recognised. Thread rule: pure. Cost: one pass over the text, about 1 ns a byte, no tree; depth is
// counted, not recursed. The text should have been validated (JsonReader); on anything else these fail or change less,
// but read nothing outside of it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::parse {

// The bytes between the quotes of a JSON string stand for `text`.
bool RawStringEquals(std::string_view raw, std::string_view text);

// The value of the object's member of that name (the last one), as it is written.
std::optional<std::string_view> RawMember(std::string_view object, std::string_view name);

// The body with `model` as the value of each top-level "model"; put first when there is none.
Result<std::string> RewriteModel(std::string_view body, std::string_view model);

// The body without `kv_transfer_params` and `ec_transfer_params`: with made-up ones a client could crash a decode
// engine or read another request's blocks. Also taken out where vLLM reads them too: in `vllm_xargs` and in
// `sampling_params.extra_args`.
Result<std::string> WithoutTransferParams(std::string_view body);

}  // namespace sluice::parse
