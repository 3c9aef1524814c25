#include "schedule/plugins/produce/inflight_load_producer.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "addEstimatedOutputTokens",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "charge expected output too, until the end"},
    {.name = "outputRatio",
     .type = ParamType::kNumber,
     .fallback = "1.5",
     .min = 0,
     .max = 1000,
     .help = "expected output tokens for each prompt token"},
    {.name = "maxEstimatedOutputTokens",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 1e12,
     .help = "cap of the expected output; unset: none"},
    {.name = "prefixMatchInfoProducerName",
     .type = ParamType::kString,
     .help = "whose matches make prompt tokens free; default approx-prefix-cache-producer"},
    {.name = "syncCrossReplicaState",
     .type = ParamType::kBool,
     .fallback = "true",
     .warn_when_set = "has no effect: this version has no cross-replica synchronisation"},
};

struct LoadState final : PluginState {
  std::vector<InflightLoadProducer::Load> by_slot;

  InflightLoadProducer::Load* Find(model::EndpointId id) {
    if (id.slot >= by_slot.size() || by_slot[id.slot].generation != id.generation) return nullptr;
    return &by_slot[id.slot];
  }
  InflightLoadProducer::Load& Make(model::EndpointId id) {
    if (id.slot >= by_slot.size()) by_slot.resize(id.slot + 1);
    if (by_slot[id.slot].generation != id.generation) by_slot[id.slot] = {.generation = id.generation};
    return by_slot[id.slot];
  }
};

struct Charge {
  model::EndpointId id;
  bool prefill = false;
  uint32_t requests = 0;
  uint64_t tokens = 0;
};
struct Charges final : RequestMemo {
  std::vector<Charge> list;
};

// Gives back; an endpoint that left took its counters with it.
void Release(LoadState& state, Charge& charge, bool requests_too) {
  InflightLoadProducer::Load* load = state.Find(charge.id);
  if (load != nullptr) {
    SLUICE_CHECK(load->tokens >= charge.tokens, "in-flight tokens do not go below zero");
    load->tokens -= charge.tokens;
    if (requests_too) {
      SLUICE_CHECK(load->requests >= charge.requests, "in-flight requests do not go below zero");
      load->requests -= charge.requests;
    }
  }
  charge.tokens = 0;
  if (requests_too) charge.requests = 0;
}

}  // namespace

constinit const PluginInfo InflightLoadProducer::kInfo = {
    .type = "inflight-load-producer",
    .help = "Counts requests and uncached prompt tokens in flight on each endpoint.",
    .params = kParams,
    .make = MakeWithParams<InflightLoadProducer>};

InflightLoadProducer::InflightLoadProducer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      add_output_(params.Bool("addEstimatedOutputTokens")),
      output_ratio_(params.Number("outputRatio")),
      prefix_producer_(params.String("prefixMatchInfoProducerName")) {
  if (params.IsSet("maxEstimatedOutputTokens")) {
    output_max_ = static_cast<uint64_t>(params.Int("maxEstimatedOutputTokens"));
  }
}

std::vector<Need> InflightLoadProducer::Needs() const {
  return {{DataKind::kTokenizedPrompt, ""},
          {DataKind::kPrefixMatch, prefix_producer_, /*required=*/!prefix_producer_.empty()}};
}

void InflightLoadProducer::Bind(std::span<const int> slots) {
  tokens_slot_ = slots[0];
  prefix_slot_ = slots[1];
}

std::shared_ptr<PluginState> InflightLoadProducer::MakeState(const StateOptions&) const {
  return std::make_shared<LoadState>();
}

Status InflightLoadProducer::Produce(const DecisionInput& in, const Candidates&, Data& out) const {
  auto& data = static_cast<InflightLoad&>(out);
  const LoadState& state = in.StateOf<LoadState>(*this);
  data.requests.resize(in.pool.size());
  data.tokens.resize(in.pool.size());
  for (size_t row = 0; row < in.pool.size(); ++row) {
    const model::EndpointId id = in.pool.id(row);
    const bool known = id.slot < state.by_slot.size() && state.by_slot[id.slot].generation == id.generation;
    data.requests[row] = known ? static_cast<float>(state.by_slot[id.slot].requests) : 0;
    data.tokens[row] = known ? static_cast<float>(state.by_slot[id.slot].tokens) : 0;
  }
  return {};
}

uint64_t InflightLoadProducer::UncachedTokens(const DecisionInput& in, uint32_t row) const {
  const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_);
  const uint64_t all = tokens != nullptr ? tokens->size() : 0;
  const auto* match = in.board.Get<PrefixMatch>(prefix_slot_);
  if (match == nullptr) return all;
  const auto held = static_cast<uint64_t>(match->match_blocks[row]);
  const uint64_t indexed = uint64_t{match->total_blocks} * match->block_size;
  const uint64_t missing = match->total_blocks > held ? match->total_blocks - held : 0;
  return missing * match->block_size + (all > indexed ? all - indexed : 0);
}

uint64_t InflightLoadProducer::EstimatedOutput(const DecisionInput& in) const {
  const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_);
  if (!add_output_ || tokens == nullptr) return 0;
  auto output = static_cast<uint64_t>(std::llround(static_cast<double>(tokens->size()) * output_ratio_));
  if (in.request.output_tokens_max) output = std::min<uint64_t>(output, *in.request.output_tokens_max);
  return output_max_ ? std::min(output, *output_max_) : output;
}

void InflightLoadProducer::OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const {
  LoadState& state = in.StateOf<LoadState>(*this);
  auto memo = std::make_unique<Charges>();
  for (const model::ProfileTargets& profile : decision.profiles) {
    const model::Target& target = profile.targets.front();
    const bool prefill = profile.profile == "prefill";
    const Charge charge{target.id, prefill, 1, UncachedTokens(in, target.row) + (prefill ? 0 : EstimatedOutput(in))};
    Load& load = state.Make(target.id);
    load.requests += charge.requests;
    load.tokens += charge.tokens;
    memo->list.push_back(charge);
  }
  ticket.memos.emplace_back(index(), std::move(memo));
}

void InflightLoadProducer::OnFirstChunk(const Ticket& ticket, PluginState* state) const {
  auto* charges = static_cast<Charges*>(ticket.MemoOf(*this));
  if (charges == nullptr) return;
  for (Charge& charge : charges->list) {
    if (charge.prefill) {
      Release(static_cast<LoadState&>(*state), charge, true);
    } else if (!add_output_) {
      Release(static_cast<LoadState&>(*state), charge, false);
    }
  }
}

void InflightLoadProducer::OnEnd(const Ticket& ticket, const ResponseEnd&, PluginState* state,
                                 ReportedAttributes&) const {
  auto* charges = static_cast<Charges*>(ticket.MemoOf(*this));
  if (charges == nullptr) return;
  for (Charge& charge : charges->list) Release(static_cast<LoadState&>(*state), charge, true);
}

InflightLoadProducer::Load InflightLoadProducer::LoadOf(const PluginState& state, model::EndpointId endpoint) {
  const auto& by_slot = static_cast<const LoadState&>(state).by_slot;
  if (endpoint.slot >= by_slot.size() || by_slot[endpoint.slot].generation != endpoint.generation) return {};
  return by_slot[endpoint.slot];
}

}  // namespace sluice::schedule
