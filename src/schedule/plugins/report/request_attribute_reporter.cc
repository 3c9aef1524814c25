#include "schedule/plugins/report/request_attribute_reporter.h"

#include <array>

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "attributes",
     .type = ParamType::kNode,
     .help = "list of {key: {namespace (envoy.lb), name}, expression, condition}; CEL over usage.prompt_tokens, "
             "completion_tokens, total_tokens and prompt_tokens_details.cached_tokens",
     .required = true},
};
constexpr size_t kAttributesMax = 16;

// As the usage object of an answer has them; input and output are the names of newer APIs.
constexpr std::array<std::string_view, 7> kNames = {"usage.prompt_tokens",
                                                    "usage.input_tokens",
                                                    "usage.completion_tokens",
                                                    "usage.output_tokens",
                                                    "usage.total_tokens",
                                                    "usage.prompt_tokens_details.cached_tokens",
                                                    "usage.input_tokens_details.cached_tokens"};

std::array<std::optional<int64_t>, kNames.size()> ValuesOf(const ResponseEnd& end) {
  const auto known = [](int64_t value) { return value >= 0 ? std::optional(value) : std::nullopt; };
  const auto input = known(end.prompt_tokens), output = known(end.output_tokens), cached = known(end.cached_tokens);
  const auto total = input && output ? std::optional(*input + *output) : std::nullopt;
  return {input, input, output, output, total, cached, cached};
}

std::optional<CelExpression> Compile(codec::yaml::MapReader& reader, std::string_view field, CelExpression::Type type) {
  const std::string text = reader.String(field);
  auto expression = CelExpression::Parse(text, kNames);
  if (!expression) {
    reader.Error(field, expression.error().message);
    return std::nullopt;
  }
  if (expression->type() != type) {
    reader.Error(field, type == CelExpression::Type::kInt ? "must be a number, is true or false"
                                                          : "must be true or false, is a number");
    return std::nullopt;
  }
  return std::move(*expression);
}

}  // namespace

constinit const PluginInfo RequestAttributeReporter::kInfo = {
    .type = "request-attribute-reporter",
    .help = "Reports numbers computed from an answer's token usage; a result of 0 is not reported.",
    .params = kParams,
    .make = MakeChecked<RequestAttributeReporter>};

RequestAttributeReporter::RequestAttributeReporter(const PluginInfo& info, std::string name, const Params& params,
                                                   codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)) {
  codec::yaml::Node parent;  // the list as the map it came from, for the strict reader
  parent.kind = codec::yaml::Node::Kind::kMap;
  parent.entries.push_back({"attributes", params.Node("attributes").line, params.Node("attributes")});
  codec::yaml::MapReader list(parent, params.path(), problems);
  size_t count = 0;
  list.Each("attributes", [&](const codec::yaml::Node& node, const std::string& path) {
    codec::yaml::MapReader item(node, path, problems);
    codec::yaml::MapReader key = item.Map("key");
    const std::string space = key.String("namespace", "envoy.lb");
    const std::string attribute = key.RequiredString("name");
    key.Finish();
    if (!item.Has("expression")) item.Error("expression", "is required and missing");
    auto expression = item.Has("expression") ? Compile(item, "expression", CelExpression::Type::kInt) : std::nullopt;
    auto condition = item.Has("condition") ? Compile(item, "condition", CelExpression::Type::kBool) : std::nullopt;
    item.Finish();
    if (++count == kAttributesMax + 1) {
      problems.Error(node, path, "at most " + std::to_string(kAttributesMax) + " attributes");
    }
    if (expression) attributes_.push_back({space + "/" + attribute, std::move(*expression), std::move(condition)});
  });
  if (count == 0 && !params.Node("attributes").IsNull()) list.Error("attributes", "must not be empty");
}

void RequestAttributeReporter::OnEnd(const Ticket&, const ResponseEnd& end, PluginState*,
                                     ReportedAttributes& attributes) const {
  if (end.failed) return;
  const auto values = ValuesOf(end);
  for (const Attribute& attribute : attributes_) {
    if (attribute.condition && attribute.condition->Evaluate(values).value_or(0) == 0) continue;
    const auto value = attribute.expression.Evaluate(values);
    if (value && *value != 0) attributes.emplace_back(attribute.name, *value);
  }
}

}  // namespace sluice::schedule
