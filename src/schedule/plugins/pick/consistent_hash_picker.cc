#include "schedule/plugins/pick/consistent_hash_picker.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "schedule/plugins/pick/shuffle.h"

namespace sluice::schedule {
namespace {

constexpr std::array<std::string_view, 4> kKeys = {"header", "session-id", "fairness-id", "prompt-prefix"};
constexpr ParamSpec kParams[] = {
    kPickerParams[0],
    {.name = "key",
     .type = ParamType::kString,
     .fallback = "session-id",
     .help = "what is hashed: header, session-id, fairness-id or prompt-prefix"},
    {.name = "headerName", .type = ParamType::kString, .help = "with key header: whose value"},
    {.name = "prefixTokens",
     .type = ParamType::kInt,
     .fallback = "256",
     .min = 1,
     .max = 1e6,
     .help = "with key prompt-prefix: how much of the prompt; four bytes of text are a token"},
    {.name = "loadFactor",
     .type = ParamType::kNumber,
     .fallback = "1.25",
     .min = 1,
     .max = 1e6,
     .help = "an endpoint may have this many times the mean of the requests in flight, then the next of the key's "
             "order takes over"},
    {.name = "inFlightLoadProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default inflight-load-producer"},
};

struct RingState final : PluginState {
  bool known = false;
  uint64_t members_version = 0;
  std::vector<uint64_t> hashes;  // of the endpoints' ids, by row
};

constexpr uint64_t kFnvBasis = 0xcbf29ce484222325;

uint64_t Fnv1a(std::string_view bytes, uint64_t hash = kFnvBasis) {
  for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return hash;
}

// The finaliser of splitmix64 (Steele, Lea and Flood 2014): every bit of the input moves every bit of the output.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t PrefixHash(const model::Prompt& prompt, size_t tokens_max) {
  uint64_t hash = kFnvBasis;
  if (!prompt.tokens.empty()) {
    for (size_t i = 0; i < std::min(tokens_max, prompt.tokens.size()); ++i) hash = Mix(hash ^ prompt.tokens[i]);
    return hash;
  }
  size_t left = tokens_max * 4;
  for (const std::string_view piece : prompt.text) {
    hash = Fnv1a(piece.substr(0, left), hash);
    left -= std::min(left, piece.size());
  }
  return hash;
}

}  // namespace

constinit const PluginInfo ConsistentHashPicker::kInfo = {
    .type = "consistent-hash-picker",
    .help =
        "Sends requests with the same key to the same endpoint, unless it carries more than loadFactor times the "
        "mean; a request without the key goes to the highest total.",
    .params = kParams,
    .make = MakeChecked<ConsistentHashPicker>};

ConsistentHashPicker::ConsistentHashPicker(const PluginInfo& info, std::string name, const Params& params,
                                           codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      count_(PickCount(params)),
      header_(params.String("headerName")),
      prefix_tokens_(static_cast<size_t>(params.Int("prefixTokens"))),
      load_factor_(params.Number("loadFactor")),
      producer_(params.String("inFlightLoadProducerName")) {
  const std::string& key = params.String("key");
  const auto at = std::find(kKeys.begin(), kKeys.end(), key);
  if (at == kKeys.end()) {
    problems.Error(
        params.line(), params.path() + ".key",
        "expected header, session-id, fairness-id or prompt-prefix, got \"" + key + "\"" + DidYouMean(key, kKeys));
    return;
  }
  key_ = static_cast<Key>(at - kKeys.begin());
  if (key_ == Key::kHeader && header_.empty()) {
    problems.Error(params.line(), params.path() + ".headerName", "is required with key header");
  }
  if (key_ != Key::kHeader && !header_.empty()) {
    problems.Warn(params.line(), params.path() + ".headerName", "has no effect with key " + key);
  }
}

std::shared_ptr<PluginState> ConsistentHashPicker::MakeState(const StateOptions&) const {
  return std::make_shared<RingState>();
}

std::optional<uint64_t> ConsistentHashPicker::KeyOf(const model::Request& request) const {
  std::string_view text;
  switch (key_) {
    case Key::kHeader:
      text = request.Header(header_);
      break;
    case Key::kSessionId:
      text = request.session_id;
      break;
    case Key::kFairnessId:
      text = request.fairness_id;
      break;
    case Key::kPromptPrefix:
      if (request.prompts.empty()) return std::nullopt;
      return Mix(PrefixHash(request.prompts[0], prefix_tokens_));
  }
  if (text.empty()) return std::nullopt;
  return Mix(Fnv1a(text));
}

void ConsistentHashPicker::Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
                                std::vector<uint32_t>& picked, std::vector<double>& scratch) const {
  RingState& state = in.StateOf<RingState>(*this);
  if (!state.known || state.members_version != in.pool.members_version) {
    state.known = true;
    state.members_version = in.pool.members_version;
    state.hashes.resize(in.pool.size());
    for (size_t row = 0; row < in.pool.size(); ++row) state.hashes[row] = Fnv1a(in.pool.endpoint(row).id);
  }
  const size_t n = totals.size();
  const auto* load = in.board.Get<InflightLoad>(slot_);
  const std::optional<uint64_t> key = KeyOf(in.request);
  float bound = std::numeric_limits<float>::infinity();
  if (key && load != nullptr) {
    double sum = 1;  // with this request
    for (size_t i = 0; i < n; ++i) sum += static_cast<double>(load->requests[candidates.row(i)]);
    bound = static_cast<float>(std::ceil(load_factor_ * sum / static_cast<double>(n)));
  }
  // Those within the bound by descending hash, then the others likewise: they are fallbacks only. 53 bits of the hash
  // are exact in a double.
  scratch.resize(n);
  for (size_t i = 0; i < n; ++i) {
    if (!key) {
      scratch[i] = static_cast<double>(totals[i]);
      continue;
    }
    const uint32_t row = candidates.row(i);
    const auto rank = static_cast<double>(Mix(state.hashes[row] ^ *key) >> 11);
    scratch[i] = load != nullptr && load->requests[row] + 1 > bound ? rank - 0x1p53 : rank;
  }
  if (key) {
    picked.resize(n);
    std::iota(picked.begin(), picked.end(), 0u);
  } else {
    ShuffledPositions(n, in.rng, picked);  // leaves equal totals in uniform order
  }
  const size_t count = std::min(count_, n);
  std::partial_sort(picked.begin(), picked.begin() + static_cast<std::ptrdiff_t>(count), picked.end(),
                    [&](uint32_t a, uint32_t b) { return scratch[a] > scratch[b]; });
  picked.resize(count);
}

}  // namespace sluice::schedule
