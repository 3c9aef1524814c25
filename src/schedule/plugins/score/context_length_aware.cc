#include "schedule/plugins/score/context_length_aware.h"

#include <algorithm>

#include "base/text.h"
#include "schedule/plugins/score/member_column.h"

namespace sluice::schedule {
namespace {

using Range = ContextLengthAware::Range;

constexpr ParamSpec kParams[] = {
    {.name = "label",
     .type = ParamType::kString,
     .fallback = "llm-d.ai/context-length-range",
     .help = "label that holds the range of prompt lengths, \"min-max\" in tokens"},
    {.name = "enableFiltering",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "also drop endpoints whose range does not have the prompt's length, or cannot be read"},
};

constexpr double kUnlabelled = 0.5;
constexpr double kOutside = 0.3;  // what the nearest range that does not fit can reach; one that fits is above

double ScoreOf(const Range& range, int64_t tokens) {
  if (range.kind == Range::Kind::kNone) return kUnlabelled;
  if (range.kind == Range::Kind::kBad) return 0;
  if (!range.Has(tokens)) {
    const int64_t distance = tokens > range.max ? tokens - range.max : range.min - tokens;
    return kOutside / (1 + static_cast<double>(distance) / 1000);
  }
  if (range.max == range.min) return 1;
  const auto width = static_cast<double>(range.max - range.min);
  const double tightness = 1 / (1 + width / 10000);
  const double headroom = static_cast<double>(range.max - tokens) / width;
  return kOutside + (1 - kOutside) * (0.7 * tightness + 0.3 * headroom);
}

}  // namespace

constinit const PluginInfo ContextLengthAware::kInfo = {
    .type = "context-length-aware",
    .help =
        "Prefers endpoints labelled for prompts of this length L: in a range of width W 0.3 + 0.7 * (0.7 / (1 + W / "
        "10000) + 0.3 * (max - L) / W), outside 0.3 / (1 + distance / 1000), 0.5 without the label, 0 when it "
        "cannot be read. With enableFiltering drops endpoints that do not fit.",
    .params = kParams,
    .make = MakeChecked<ContextLengthAware>};

ContextLengthAware::ContextLengthAware(const PluginInfo& info, std::string name, const Params& params,
                                       codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)), label_(params.String("label")), filter_(params.Bool("enableFiltering")) {
  if (label_.empty()) problems.Error(params.line(), params.path() + ".label", "must not be empty");
}

std::shared_ptr<PluginState> ContextLengthAware::MakeState(const StateOptions&) const {
  return std::make_shared<MemberColumn<Range>>();
}

Range ContextLengthAware::ParseRange(std::string_view label) {
  constexpr Range kBad{.kind = Range::Kind::kBad};
  const auto bounds = Split(label, '-');
  if (bounds.size() != 2) return kBad;
  const auto min = ParseNumber<int64_t>(TrimSpace(bounds[0]));
  const auto max = ParseNumber<int64_t>(TrimSpace(bounds[1]));
  if (!min || !max || *min > *max) return kBad;
  return {.kind = Range::Kind::kRange, .min = *min, .max = *max};
}

const std::vector<Range>& ContextLengthAware::Ranges(const DecisionInput& in) const {
  return in.StateOf<MemberColumn<Range>>(*this).For(in.pool, [&](const model::Endpoint& endpoint) {
    const auto label = endpoint.labels.find(label_);
    return label == endpoint.labels.end() ? Range{} : ParseRange(label->second);
  });
}

// Each prompt of a list is a context of its own; the longest decides.
int64_t ContextLengthAware::PromptTokens(const DecisionInput& in) const {
  const auto* tokens = in.board.Get<TokenizedPrompt>(slot_);
  size_t longest = 0;
  for (size_t i = 0; tokens != nullptr && i < tokens->prompt_end.size(); ++i) {
    longest = std::max(longest, tokens->Prompt(i).size());
  }
  return static_cast<int64_t>(longest);
}

void ContextLengthAware::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  if (!filter_) return;
  const std::vector<Range>& ranges = Ranges(in);
  const int64_t tokens = PromptTokens(in);
  for (size_t i = 0; i < keep.size(); ++i) {
    const Range& range = ranges[candidates.row(i)];
    keep[i] = range.kind == Range::Kind::kNone || (range.kind == Range::Kind::kRange && range.Has(tokens));
  }
}

void ContextLengthAware::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const std::vector<Range>& ranges = Ranges(in);
  const int64_t tokens = PromptTokens(in);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(ScoreOf(ranges[candidates.row(i)], tokens));
}

}  // namespace sluice::schedule
