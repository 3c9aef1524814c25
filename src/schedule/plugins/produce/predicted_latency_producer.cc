#include "schedule/plugins/produce/predicted_latency_producer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/text.h"
#include "schedule/latency_tracker.h"
#include "schedule/plugins/score/member_column.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "sloBufferFactor",
     .type = ParamType::kNumber,
     .fallback = "1",
     .min = 0,
     .max = 1000,
     .help = "the token time asked for is multiplied by it before it is compared"},
    {.name = "streamingMode",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "judge token times too; otherwise only the first token's"},
    {.name = "endpointRoleLabel",
     .type = ParamType::kString,
     .help = "label that holds the role; token times of endpoints with `prefill` are not judged"},
    {.name = "predictInProduce",
     .type = ParamType::kBool,
     .fallback = "true",
     .help = "false: the model only learns, readers see no predictions"},
    {.name = "useEncoderCacheFeatures",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "count the encoding of images, videos and sounds, less what the endpoint is thought to hold"},
    {.name = "prefixMatchInfoProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default approx-prefix-cache-producer"},
    {.name = "encoderCacheMatchInfoProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default mm-embeddings-cache-producer"},
    {.name = "inFlightLoadProducerName",
     .type = ParamType::kString,
     .warn_when_set = "has no effect: the latency model keeps its own count of requests on their way"},
    {.name = "contextTTL",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .warn_when_set = "has no effect: requests are followed until they end"},
    {.name = "samplingMean",
     .type = ParamType::kNumber,
     .fallback = "0",
     .warn_when_set = "has no effect: every answer teaches the model"},
    {.name = "maxDecodeTokenSamplesForPrediction",
     .type = ParamType::kInt,
     .fallback = "0",
     .warn_when_set = "has no effect: every answer teaches the model"},
};

constexpr latency::Model::Options kOwnModel{.kinds_max = 64, .endpoints_max = 20'000};
constexpr float kNoPrediction = std::numeric_limits<float>::quiet_NaN();
constexpr float kNoLimit = std::numeric_limits<float>::infinity();

// Upstream's two spellings; the first that is there counts. What is not a positive number asks for nothing.
double LimitOf(const model::Request& request, std::string_view name, std::string_view old_name) {
  std::string_view text = request.Header(name);
  if (text.empty()) text = request.Header(old_name);
  const auto value = ParseNumber<double>(TrimSpace(text));
  return value && std::isfinite(*value) && *value > 0 ? *value : 0;
}

// Requests of ours that run on one endpoint.
struct Running {
  uint32_t generation = 0;
  uint32_t requests = 0;
  std::vector<float> tpot_limits;  // of those that asked for one, in no order
  float tpot_limit_min = kNoLimit;

  void FindLeast() {
    tpot_limit_min = kNoLimit;
    for (const float limit : tpot_limits) tpot_limit_min = std::min(tpot_limit_min, limit);
  }
};

struct Charged final : RequestMemo {
  std::vector<model::EndpointId> endpoints;
  float tpot_limit = 0;
};

}  // namespace

struct PredictedLatencyProducer::State final : PluginState {
  std::shared_ptr<LatencyTracker> tracker;
  std::vector<Running> by_slot;
  MemberColumn<uint8_t> prefill_only;  // the role says so
  // Columns by row, reused.
  std::vector<float> cached, encoder_cached;
  std::vector<float> tpot_limits;  // the least that a request running there asked for; infinity: none did

  Running* Find(model::EndpointId id) {
    if (id.slot >= by_slot.size() || by_slot[id.slot].generation != id.generation) return nullptr;
    return &by_slot[id.slot];
  }
  Running& Make(model::EndpointId id) {
    if (id.slot >= by_slot.size()) by_slot.resize(id.slot + 1);
    if (by_slot[id.slot].generation != id.generation) by_slot[id.slot] = {.generation = id.generation};
    return by_slot[id.slot];
  }
};

constinit const PluginInfo PredictedLatencyProducer::kInfo = {
    .type = "predicted-latency-producer",
    .help =
        "Predicts the time to the first token and between tokens for each endpoint, and what that leaves of the "
        "limits in x-llm-d-slo-ttft-ms and x-llm-d-slo-tpot-ms.",
    .params = kParams,
    .make = MakeChecked<PredictedLatencyProducer>};

PredictedLatencyProducer::PredictedLatencyProducer(const PluginInfo& info, std::string name, const Params& params,
                                                   codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      buffer_factor_(params.Number("sloBufferFactor")),
      streaming_(params.Bool("streamingMode")),
      predict_(params.Bool("predictInProduce")),
      encoder_features_(params.Bool("useEncoderCacheFeatures")),
      role_label_(params.String("endpointRoleLabel")),
      prefix_producer_(params.String("prefixMatchInfoProducerName")),
      encoder_producer_(params.String("encoderCacheMatchInfoProducerName")) {
  if (buffer_factor_ <= 0) problems.Error(params.line(), params.path() + ".sloBufferFactor", "must be more than 0");
}

std::vector<Need> PredictedLatencyProducer::Needs() const {
  std::vector<Need> needs = {{DataKind::kTokenizedPrompt, ""}, {DataKind::kPrefixMatch, prefix_producer_}};
  if (encoder_features_) needs.push_back({DataKind::kEncoderMatch, encoder_producer_});
  return needs;
}

void PredictedLatencyProducer::Bind(std::span<const int> slots) {
  tokens_slot_ = slots[0];
  prefix_slot_ = slots[1];
  if (encoder_features_) encoder_slot_ = slots[2];
}

std::shared_ptr<PluginState> PredictedLatencyProducer::MakeState(const StateOptions& options) const {
  auto state = std::make_shared<State>();
  state->tracker = options.latency != nullptr ? options.latency : std::make_shared<LatencyTracker>(kOwnModel);
  return state;
}

PredictedLatencyProducer::Limits PredictedLatencyProducer::Limits::Of(const model::Request& request) {
  return {.ttft_ms = LimitOf(request, "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"),
          .tpot_ms = LimitOf(request, "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms")};
}

Status PredictedLatencyProducer::Produce(const DecisionInput& in, const Candidates&, Data& out) const {
  auto& prediction = static_cast<LatencyPrediction&>(out);
  State& state = in.StateOf<State>(*this);
  const size_t n = in.pool.size();
  prediction.dispatched.assign(n, 0);
  state.tpot_limits.assign(n, kNoLimit);
  for (const Running& running : state.by_slot) {
    if (running.requests == 0) continue;
    const auto slot = static_cast<uint32_t>(&running - state.by_slot.data());
    const uint32_t row = in.pool.members->RowOf({slot, running.generation});
    if (row == model::PoolMembers::kNoRow) continue;
    prediction.dispatched[row] = static_cast<float>(running.requests);
    state.tpot_limits[row] = running.tpot_limit_min;
  }
  for (auto* column :
       {&prediction.ttft_ms, &prediction.tpot_ms, &prediction.ttft_headroom_ms, &prediction.tpot_headroom_ms}) {
    column->assign(n, kNoPrediction);
  }
  if (!predict_ || n == 0) return {};
  Predict(in, state, prediction);
  FillHeadrooms(in, state, Limits::Of(in.request), prediction);
  return {};
}

void PredictedLatencyProducer::Predict(const DecisionInput& in, State& state, LatencyPrediction& out) const {
  const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_);
  const auto* match = in.board.Get<PrefixMatch>(prefix_slot_);
  const auto* encoder = in.board.Get<EncoderMatch>(encoder_slot_);
  latency::RequestFeatures request;
  request.prompt_tokens = static_cast<float>(tokens != nullptr ? tokens->size() : 0);
  request.output_tokens = static_cast<float>(in.request.output_tokens_max.value_or(0));
  state.cached.clear();
  if (match != nullptr) {
    state.cached.resize(in.pool.size());
    const auto block = static_cast<float>(match->block_size);
    for (size_t row = 0; row < state.cached.size(); ++row) {
      state.cached[row] = std::min(match->CachedBlocks(row) * block, request.prompt_tokens);
    }
  }
  latency::Candidates columns = state.tracker->Columns(in.pool, state.cached, in.now);
  if (encoder != nullptr && encoder->total > 0 && tokens != nullptr) {
    for (const TokenizedPrompt::Media& media : tokens->media)
      request.encoder_tokens += static_cast<float>(media.length);
    const float each = request.encoder_tokens / static_cast<float>(encoder->total);
    state.encoder_cached.resize(in.pool.size());
    for (size_t row = 0; row < state.encoder_cached.size(); ++row) {
      state.encoder_cached[row] = encoder->matched[row] * each;
    }
    columns.encoder_cached_tokens = state.encoder_cached;
  }
  state.tracker->model().PredictMany(request, columns, out.ttft_ms, out.tpot_ms);
}

// With no limit asked for, less time is more headroom: minus the prediction, so that readers still order by speed. With
// one of two asked for, the other is not judged. The token times that running requests asked for bind this one too.
void PredictedLatencyProducer::FillHeadrooms(const DecisionInput& in, State& state, const Limits& limits,
                                             LatencyPrediction& out) const {
  const std::vector<uint8_t>& prefill_only = state.prefill_only.For(in.pool, [&](const model::Endpoint& endpoint) {
    const auto role = endpoint.labels.find(role_label_);
    return static_cast<uint8_t>(!role_label_.empty() && role != endpoint.labels.end() && role->second == "prefill");
  });
  const bool asked = limits.ttft_ms > 0 || (streaming_ && limits.tpot_ms > 0);
  const size_t n = in.pool.size();
  if (limits.ttft_ms > 0 || !asked) {
    const auto limit = static_cast<float>(limits.ttft_ms);
    for (size_t row = 0; row < n; ++row) out.ttft_headroom_ms[row] = limit - out.ttft_ms[row];
  } else {
    std::fill(out.ttft_headroom_ms.begin(), out.ttft_headroom_ms.end(), 0.0f);
  }
  if (!streaming_) {
    std::fill(out.tpot_headroom_ms.begin(), out.tpot_headroom_ms.end(), 0.0f);
    return;
  }
  const float own = limits.tpot_ms > 0 ? static_cast<float>(limits.tpot_ms) : kNoLimit;
  const float unasked = asked ? 0 : -1;  // times the prediction
  const auto factor = static_cast<float>(buffer_factor_);
  for (size_t row = 0; row < n; ++row) {
    const float limit = std::min(own, state.tpot_limits[row]);
    const float headroom = limit < kNoLimit ? limit * factor - out.tpot_ms[row] : unasked * out.tpot_ms[row];
    out.tpot_headroom_ms[row] = prefill_only[row] != 0 ? 0 : headroom;
  }
}

void PredictedLatencyProducer::OnDispatch(const DecisionInput& in, const model::Decision& decision,
                                          Ticket& ticket) const {
  State& state = in.StateOf<State>(*this);
  auto memo = std::make_unique<Charged>();
  memo->tpot_limit = static_cast<float>(Limits::Of(in.request).tpot_ms);
  for (size_t i = 0; i < decision.profiles.size(); ++i) {
    if (i != decision.primary && decision.profiles[i].profile != "prefill") continue;
    const model::EndpointId id = decision.profiles[i].targets.front().id;
    Running& running = state.Make(id);
    ++running.requests;
    if (i == decision.primary && memo->tpot_limit > 0) {
      running.tpot_limits.push_back(memo->tpot_limit);
      running.tpot_limit_min = std::min(running.tpot_limit_min, memo->tpot_limit);
      memo->endpoints.insert(memo->endpoints.begin(), id);  // the one with the limit first
    } else {
      memo->endpoints.push_back(id);
    }
  }
  ticket.memos.emplace_back(index(), std::move(memo));
}

void PredictedLatencyProducer::OnEnd(const Ticket& ticket, const ResponseEnd&, PluginState* state,
                                     ReportedAttributes&) const {
  auto* memo = static_cast<Charged*>(ticket.MemoOf(*this));
  if (memo == nullptr) return;
  for (size_t i = 0; i < memo->endpoints.size(); ++i) {
    Running* running = static_cast<State&>(*state).Find(memo->endpoints[i]);
    if (running == nullptr) continue;  // it left the pool and took its numbers with it
    SLUICE_CHECK(running->requests > 0, "running requests do not go below zero");
    --running->requests;
    if (i != 0 || memo->tpot_limit <= 0) continue;
    const auto limit = std::find(running->tpot_limits.begin(), running->tpot_limits.end(), memo->tpot_limit);
    SLUICE_CHECK(limit != running->tpot_limits.end(), "the limit of a running request is kept");
    *limit = running->tpot_limits.back();
    running->tpot_limits.pop_back();
    if (memo->tpot_limit <= running->tpot_limit_min) running->FindLeast();
  }
}

}  // namespace sluice::schedule
