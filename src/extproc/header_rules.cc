#include "extproc/header_rules.h"

#include <algorithm>
#include <array>

namespace sluice::extproc {
namespace {

constexpr size_t kEchoedMax = 64;

constexpr std::array<std::string_view, 17> kSystem = {
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
    "x-llm-d-inference-objective",
    "x-gateway-inference-objective",
    "x-llm-d-model-name-rewrite",
    "x-gateway-model-name-rewrite",
    "x-gateway-destination-endpoint-subset",
    "x-llm-d-slo-ttft-ms",
    "x-slo-ttft-ms",
    "x-llm-d-slo-tpot-ms",
    "x-slo-tpot-ms",
    "x-llm-d-video-fps",
    "x-llm-d-video-duration-seconds",
    "x-llm-d-video-resolution",
    "x-gateway-destination-endpoint",
    "x-gateway-destination-endpoint-served",
    "x-llm-d-request-dropped-reason",
};

}  // namespace

bool IsSystemHeader(std::string_view name) {
  if (!name.starts_with("x-")) return name == "content-length";
  return std::find(kSystem.begin(), kSystem.end(), name) != kSystem.end();
}

void AppendEchoed(std::span<const HeaderView> headers, Headers& out) {
  if (headers.size() > kEchoedMax) return;
  for (size_t i = 0; i < headers.size(); ++i) {
    const std::string_view name = headers[i].name;
    if (name.empty() || name.front() == ':' || name == "host" || IsSystemHeader(name)) continue;
    const auto same = [&](const HeaderView& other) { return other.name == name; };
    if (std::count_if(headers.begin(), headers.end(), same) > 1) continue;
    out.emplace_back(name, headers[i].value);
  }
}

}  // namespace sluice::extproc
