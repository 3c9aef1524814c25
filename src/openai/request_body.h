// The first step of every request: the body as a JSON object, or the fault that vLLM would report. Internal to openai/.
// Thread rule: pure. Cost: codec/json/dom.h's.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::openai {

Result<nlohmann::ordered_json> ParseBody(std::string_view body);

}  // namespace sluice::openai
