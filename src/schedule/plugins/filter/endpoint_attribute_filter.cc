#include "schedule/plugins/filter/endpoint_attribute_filter.h"

#include <algorithm>
#include <array>

#include "schedule/plugins/node_map.h"

namespace sluice::schedule {
namespace {

constexpr std::array<std::string_view, 6> kOperators = {"LessThan",           "LessThanOrEqual", "GreaterThan",
                                                        "GreaterThanOrEqual", "Equal",           "NotEqual"};
constexpr std::array<std::string_view, 2> kOnMissing = {"Pass", "Fail"};
constexpr std::array<std::string_view, 1> kAlgorithms = {"threshold"};

constexpr ParamSpec kParams[] = {
    {.name = "attribute", .type = ParamType::kString, .help = "name of the attribute", .required = true},
    {.name = "producer",
     .type = ParamType::kString,
     .help = "instance that reads it; default core-metrics-extractor; \"\": `attribute` is the whole key"},
    {.name = "onMissing",
     .type = ParamType::kString,
     .fallback = "Pass",
     .help = "Pass or Fail: what becomes of endpoints without the attribute"},
    {.name = "fallbackOnEmpty",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "keep all when all would be dropped"},
    {.name = "algorithm",
     .type = ParamType::kNode,
     .help = "{type: threshold, threshold: {operator: LessThan|LessThanOrEqual|GreaterThan|GreaterThanOrEqual|Equal|"
             "NotEqual, value}}",
     .required = true},
};

}  // namespace

constinit const PluginInfo EndpointAttributeFilter::kInfo = {
    .type = "endpoint-attribute-filter",
    .stability = Stability::kAlpha,
    .help = "Keeps endpoints whose scalar attribute compares with a number as asked.",
    .params = kParams,
    .make = MakeChecked<EndpointAttributeFilter>};

EndpointAttributeFilter::EndpointAttributeFilter(const PluginInfo& info, std::string name, const Params& params,
                                                 codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)), fallback_on_empty_(params.Bool("fallbackOnEmpty")) {
  const std::string& attribute = params.String("attribute");
  const std::string& missing = params.String("onMissing");
  const std::string producer = params.IsSet("producer") ? params.String("producer") : "core-metrics-extractor";
  key_ = producer.empty() ? attribute : attribute + "/" + producer;
  if (attribute.find('/') != std::string::npos && !params.IsSet("producer")) {
    problems.Error(params.line(), params.path() + ".attribute",
                   "has a '/': give the name without its producer, and the producer in `producer`");
  }
  if (std::find(kOnMissing.begin(), kOnMissing.end(), missing) == kOnMissing.end()) {
    problems.Error(params.line(), params.path() + ".onMissing", "expected Pass or Fail, got \"" + missing + "\"");
  }
  keep_missing_ = missing == kOnMissing[0];
  ReadAlgorithm(params, problems);
}

void EndpointAttributeFilter::ReadAlgorithm(const Params& params, codec::yaml::Problems& problems) {
  const codec::yaml::Node map = NodeMap(params, {"algorithm"});
  codec::yaml::MapReader reader(map, params.path(), problems);
  if (!reader.Has("algorithm")) return;  // said already
  codec::yaml::MapReader algorithm = reader.Map("algorithm");
  algorithm.Choice("type", "", kAlgorithms);
  if (!algorithm.Has("type")) algorithm.Error("type", "is required and missing");
  codec::yaml::MapReader threshold = algorithm.Map("threshold");
  const std::string op = threshold.Choice("operator", std::string(kOperators[0]), kOperators);
  operator_ = static_cast<Operator>(std::find(kOperators.begin(), kOperators.end(), op) - kOperators.begin());
  value_ = static_cast<float>(threshold.Number("value", 0));
  for (const std::string_view field : {"operator", "value"}) {
    if (!threshold.Has(field)) threshold.Error(field, "is required and missing");
  }
  threshold.Finish();
  algorithm.Finish();
}

bool EndpointAttributeFilter::Passes(float value) const {
  switch (operator_) {
    case Operator::kLess:
      return value < value_;
    case Operator::kLessOrEqual:
      return value <= value_;
    case Operator::kGreater:
      return value > value_;
    case Operator::kGreaterOrEqual:
      return value >= value_;
    case Operator::kEqual:
      return value == value_;
    case Operator::kNotEqual:
      return value != value_;
  }
  return true;
}

void EndpointAttributeFilter::Keep(const DecisionInput& in, const Candidates& candidates,
                                   std::span<uint8_t> keep) const {
  const std::vector<float>* column = in.pool.Attribute(key_);
  size_t kept = 0;
  for (size_t i = 0; i < keep.size(); ++i) {
    const bool has = column != nullptr && (*column)[candidates.row(i)] == (*column)[candidates.row(i)];
    keep[i] = has ? Passes((*column)[candidates.row(i)]) : keep_missing_;
    kept += keep[i];
  }
  if (kept == 0 && fallback_on_empty_) std::fill(keep.begin(), keep.end(), 1);
}

}  // namespace sluice::schedule
