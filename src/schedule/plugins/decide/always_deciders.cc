#include "schedule/plugins/decide/always_deciders.h"

#include <algorithm>

namespace sluice::schedule {

constinit const PluginInfo AlwaysDisaggPdDecider::kInfo = {
    .type = "always-disagg-pd-decider", .help = "Says yes to every request.", .make = MakePlain<AlwaysDisaggPdDecider>};
constinit const PluginInfo AlwaysDisaggMultimodalDecider::kInfo = {
    .type = "always-disagg-multimodal-decider",
    .help = "Says yes to requests with an image, a video or a sound.",
    .make = MakePlain<AlwaysDisaggMultimodalDecider>};

bool AlwaysDisaggPdDecider::Disaggregate(const DecisionInput&, const model::Target*) const { return true; }

bool AlwaysDisaggMultimodalDecider::Disaggregate(const DecisionInput& in, const model::Target*) const {
  return std::any_of(in.request.prompts.begin(), in.request.prompts.end(),
                     [](const model::Prompt& prompt) { return !prompt.media.empty(); });
}

}  // namespace sluice::schedule
