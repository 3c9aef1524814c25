#include "schedule/plugins/produce/mm_embeddings_cache_producer.h"

#include <algorithm>

#include "kvindex/approx_prefix_index.h"

namespace sluice::schedule {
namespace {

constexpr int kMegabytesAnItem = 2;

constexpr ParamSpec kParams[] = {
    {.name = "cacheSizeInMBPerServer",
     .type = ParamType::kInt,
     .fallback = "4096",
     .min = 1,
     .max = 1e9,
     .help = "size of an endpoint's encoder cache; two megabytes are reckoned an item"},
};

struct EncoderState final : PluginState {
  explicit EncoderState(size_t entries_max) : index({.entries_max = entries_max}) {}
  kvindex::ApproxPrefixIndex index;
  // Of the latest decision; OnDispatch records them.
  std::vector<uint64_t> hashes;  // distinct
  kvindex::ApproxMatches matches;
};

}  // namespace

constinit const PluginInfo MmEmbeddingsCacheProducer::kInfo = {
    .type = "mm-embeddings-cache-producer",
    .help = "Guesses which of a request's images, videos and sounds each endpoint has encoded lately.",
    .params = kParams,
    .make = MakeWithParams<MmEmbeddingsCacheProducer>};

MmEmbeddingsCacheProducer::MmEmbeddingsCacheProducer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      capacity_(static_cast<size_t>(std::max<int64_t>(1, params.Int("cacheSizeInMBPerServer") / kMegabytesAnItem))) {}

std::shared_ptr<PluginState> MmEmbeddingsCacheProducer::MakeState(const StateOptions& options) const {
  return std::make_shared<EncoderState>(options.prefix_entries_max);
}

void MmEmbeddingsCacheProducer::ForgetGone(const model::PoolMembers& members, PluginState& state) const {
  static_cast<EncoderState&>(state).index.RemoveIf(
      [&](model::EndpointId id) { return members.RowOf(id) == model::PoolMembers::kNoRow; });
}

Status MmEmbeddingsCacheProducer::Produce(const DecisionInput& in, const Candidates&, Data& out) const {
  auto& match = static_cast<EncoderMatch&>(out);
  EncoderState& state = in.StateOf<EncoderState>(*this);
  state.hashes.clear();
  state.matches.Clear();
  if (const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_)) {
    for (const TokenizedPrompt::Media& media : tokens->media) state.hashes.push_back(media.hash);
  }
  std::sort(state.hashes.begin(), state.hashes.end());
  state.hashes.erase(std::unique(state.hashes.begin(), state.hashes.end()), state.hashes.end());
  for (const uint64_t& hash : state.hashes) state.index.Lookup({&hash, 1}, state.matches);
  match.total = static_cast<uint32_t>(state.hashes.size());
  match.matched.assign(in.pool.size(), 0);
  for (const model::EndpointId id : state.matches.touched) {
    const uint32_t row = in.pool.members->RowOf(id);
    if (row != model::PoolMembers::kNoRow)
      match.matched[row] = static_cast<float>(state.matches.blocks_by_slot[id.slot]);
  }
  return {};
}

// Whoever encodes them will have them: the encode stage's endpoints where there is one, else the one that answers.
void MmEmbeddingsCacheProducer::OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket&) const {
  EncoderState& state = in.StateOf<EncoderState>(*this);
  if (state.hashes.empty()) return;
  const model::ProfileTargets* encode = nullptr;
  for (const model::ProfileTargets& profile : decision.profiles) {
    if (profile.profile == "encode") encode = &profile;
  }
  if (encode == nullptr) {
    state.index.Insert(decision.pick().id, state.hashes, capacity_);
  } else {
    for (const model::Target& target : encode->targets) state.index.Insert(target.id, state.hashes, capacity_);
  }
  state.hashes.clear();  // used up
}

}  // namespace sluice::schedule
