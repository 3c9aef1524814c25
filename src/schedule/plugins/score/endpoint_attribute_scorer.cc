#include "schedule/plugins/score/endpoint_attribute_scorer.h"

#include <algorithm>

#include "schedule/plugins/score/scalar_attribute.h"

namespace sluice::schedule {
namespace {

using codec::yaml::MapReader;
using codec::yaml::Problems;

constexpr std::string_view kLower = "linear_lower_is_better";
constexpr std::string_view kHigher = "linear_higher_is_better";

constexpr ParamSpec kParams[] = {
    {.name = "attributeKey", .type = ParamType::kString, .help = "the attribute's name", .required = true},
    {.name = "producer",
     .type = ParamType::kString,
     .fallback = "core-metrics-extractor",
     .help = "instance of the extractor that finds it"},
    {.name = "algorithm",
     .type = ParamType::kNode,
     .help = "`type`: linear_lower_is_better or linear_higher_is_better; `normalization`: `fixedRange` {min, max} or "
             "`adaptiveRange` {} over the candidates, the default",
     .required = true},
};

}  // namespace

constinit const PluginInfo EndpointAttributeScorer::kInfo = {
    .type = "endpoint-attribute-scorer",
    .stability = Stability::kAlpha,
    .help =
        "(v - min) / (max - min) of a scalar attribute, clamped to 0..1, or 1 minus that when lower is better. Over "
        "the candidates equal values give 1; an endpoint without the attribute gets 0 and does not count.",
    .params = kParams,
    .make = MakeChecked<EndpointAttributeScorer>};

EndpointAttributeScorer::EndpointAttributeScorer(const PluginInfo& info, std::string name, const Params& params,
                                                 Problems& problems)
    : Plugin(info, std::move(name)), key_(params.String("attributeKey") + "/" + params.String("producer")) {
  if (params.String("attributeKey").find('/') != std::string::npos && !params.IsSet("producer")) {
    problems.Error(params.line(), params.path() + ".attributeKey",
                   "has a '/': write the extractor's name as `producer` of its own");
  }
  ReadAlgorithm(params, problems);
}

void EndpointAttributeScorer::ReadAlgorithm(const Params& params, Problems& problems) {
  static constexpr std::string_view kTypes[] = {kLower, kHigher};
  MapReader algorithm(params.Node("algorithm"), params.path() + ".algorithm", problems);
  if (!algorithm.Has("type")) {
    algorithm.Error("type", "is required: linear_lower_is_better or linear_higher_is_better");
  } else {
    lower_is_better_ = algorithm.Choice("type", std::string(kLower), kTypes) == kLower;
  }
  MapReader normalization = algorithm.Map("normalization");
  fixed_ = normalization.Has("fixedRange");
  if (fixed_ && normalization.Child("adaptiveRange") != nullptr) {
    normalization.Error("adaptiveRange", "only one of fixedRange and adaptiveRange may be set");
  }
  normalization.Map("adaptiveRange").Finish();
  MapReader fixed = normalization.Map("fixedRange");
  min_ = fixed.Number("min", 0);
  max_ = fixed.Number("max", fixed_ ? 0 : 1);
  if (fixed_ && min_ >= max_) normalization.Error("fixedRange", "min must be less than max");
  fixed.Finish();
  normalization.Finish();
  algorithm.Finish();
}

void EndpointAttributeScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const std::vector<float>* column = in.pool.Attribute(key_);
  if (column == nullptr) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  const std::span<const float> values = candidates.Gather(*column);
  ValueRange range{static_cast<float>(min_), static_cast<float>(max_)};
  if (!fixed_) range = RangeOf(values);
  if (range.max == range.min) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = values[i] == values[i] ? 1 : 0;
    return;
  }
  const float width = range.max - range.min;
  const float sign = lower_is_better_ ? -1 : 1, offset = lower_is_better_ ? 1 : 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const float share = std::clamp((values[i] - range.min) / width, 0.0f, 1.0f);
    out[i] = values[i] == values[i] ? offset + sign * share : 0;
  }
}

}  // namespace sluice::schedule
