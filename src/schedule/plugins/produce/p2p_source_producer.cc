#include "schedule/plugins/produce/p2p_source_producer.h"

#include <algorithm>
#include <utility>

namespace sluice::schedule {
namespace {

constexpr std::string_view kHeader = "x-kv-cache-source-host-port";

constexpr ParamSpec kParams[] = {
    {.name = "prefixMatchInfoProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default approx-prefix-cache-producer"},
    {.name = "minCachedTokenDelta",
     .type = ParamType::kInt,
     .fallback = "1",
     .min = 1,
     .max = 1e9,
     .help = "tokens that the source must hold beyond the endpoint that computes"},
    {.name = "prefillProfileName",
     .type = ParamType::kString,
     .fallback = "prefill",
     .help = "profile whose endpoint computes the prompt, when it ran"},
};

struct Source final : PluginState {
  static constexpr uint32_t kNone = ~uint32_t{0};
  uint32_t row = kNone;  // of the latest decision
  float tokens = 0;      // that it holds
};

// What a pull can be served from: the tier below the first where tiers are known.
float Pullable(const PrefixMatch& match, uint32_t row) {
  return (match.cpu_blocks.empty() ? match.CachedBlocks(row) : match.cpu_blocks[row]) *
         static_cast<float>(match.block_size);
}

// Equal requests spread the same way each time, different ones evenly over [0, 1).
double Fraction(std::string_view request_id) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (const char c : request_id) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return hash / 4294967296.0;
}

}  // namespace

constinit const PluginInfo P2pSourceProducer::kInfo = {
    .type = "p2p-source-producer",
    .stability = Stability::kAlpha,
    .help =
        "Sets x-kv-cache-source-host-port to an endpoint within one block of the longest cached prefix, chosen by "
        "1 / (1 + waiting), when it holds enough more than the endpoint that computes; a client's own value is "
        "removed.",
    .params = kParams,
    .make = MakeWithParams<P2pSourceProducer>};

P2pSourceProducer::P2pSourceProducer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      prefix_producer_(params.String("prefixMatchInfoProducerName")),
      delta_min_(static_cast<double>(params.Int("minCachedTokenDelta"))),
      prefill_profile_(params.String("prefillProfileName")) {}

std::shared_ptr<PluginState> P2pSourceProducer::MakeState(const StateOptions&) const {
  return std::make_shared<Source>();
}

Status P2pSourceProducer::Produce(const DecisionInput& in, const Candidates& candidates, Data&) const {
  Source& source = in.StateOf<Source>(*this);
  source = {};
  const auto* match = in.board.Get<PrefixMatch>(prefix_slot_);
  if (match == nullptr) return {};
  float most = 0;
  for (const uint32_t row : candidates.rows()) most = std::max(most, Pullable(*match, row));
  if (most == 0) return {};
  const float enough = most - static_cast<float>(match->block_size);
  const auto weight = [&](uint32_t row) {
    const float tokens = Pullable(*match, row);
    return tokens > 0 && tokens >= enough ? 1 / (1 + double{in.pool.waiting[row]}) : 0;
  };
  double sum = 0;
  for (const uint32_t row : candidates.rows()) sum += weight(row);
  double at = Fraction(in.request.id) * sum;
  for (const uint32_t row : candidates.rows()) {
    const double own = weight(row);
    if (own == 0) continue;
    source.row = row;  // the last one when rounding leaves a rest
    if (at < own) break;
    at -= own;
  }
  source.tokens = Pullable(*match, source.row);
  return {};
}

void P2pSourceProducer::OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const {
  ticket.remove_headers.emplace_back(kHeader);
  const Source source = std::exchange(in.StateOf<Source>(*this), Source{});  // used up
  const auto* match = in.board.Get<PrefixMatch>(prefix_slot_);
  if (source.row == Source::kNone || match == nullptr) return;
  uint32_t computing = decision.pick().row;
  for (const model::ProfileTargets& profile : decision.profiles) {
    if (profile.profile == prefill_profile_) computing = profile.targets.front().row;
  }
  const float held = match->CachedBlocks(computing) * static_cast<float>(match->block_size);
  if (source.row == computing || source.tokens - held < delta_min_) return;
  ticket.set_headers.emplace_back(kHeader, in.pool.endpoint(source.row).host_port());
}

}  // namespace sluice::schedule
