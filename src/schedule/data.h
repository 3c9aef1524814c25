// Data: what producers compute once a decision for scorers, filters and hooks to read. A key is a kind and the name of
// the producing instance ("prefix-match/approx-prefix-cache-producer"); the loader turns keys into slots of a Board.
// Thread rule: owned by one PolicyState. Cost: columns are reused from decision to decision.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/decision.h"
#include "model/request.h"

namespace sluice::schedule {

enum class DataKind : uint8_t {
  kTokenizedPrompt,
  kPrefixMatch,
  kInflightLoad,
  kLatencyPrediction,
  kEncoderMatch,
  kSessionId,
  kNothing
};
std::string_view Name(DataKind kind);

struct Data {
  virtual ~Data() = default;
  bool present = false;  // false: its producer did not run or failed; consumers then score 0
  std::string note;      // what its producer could not know, for the receipt and a log line; empty: nothing
};

// The prompts as token ids; with `estimated`, as pseudo-tokens of four bytes each.
struct TokenizedPrompt final : Data {
  static constexpr DataKind kKind = DataKind::kTokenizedPrompt;
  std::vector<uint32_t> tokens;      // all prompts, one after another
  std::vector<uint32_t> prompt_end;  // index behind each prompt's last token
  bool estimated = true;

  // An image, video or sound: the tokens [begin, begin + length) stand for it. Length 0: it is in its prompt, which
  // begins there, but where is not known.
  struct Media {
    uint64_t hash = 0;  // of its content
    std::string name;   // what the engine hashes in its place into the blocks it touches; empty: not known
    uint32_t begin = 0;
    uint32_t length = 0;
    model::Media::Kind kind = model::Media::Kind::kImage;
  };
  std::vector<Media> media;

  size_t size() const { return tokens.size(); }
  std::span<const uint32_t> Prompt(size_t i) const {
    const uint32_t begin = i == 0 ? 0 : prompt_end[i - 1];
    return std::span<const uint32_t>(tokens).subspan(begin, prompt_end[i] - begin);
  }
};

// How much of the prompt each endpoint is thought to hold. Columns are by row of the PoolView.
struct PrefixMatch : Data {
  static constexpr DataKind kKind = DataKind::kPrefixMatch;
  std::vector<float> match_blocks;  // weighted by tier where the producer knows tiers
  std::vector<float> cpu_blocks;    // of the unweighted ones, those held below the first tier; empty: tiers not known
  std::vector<float> unweighted;    // empty: equal to match_blocks
  uint32_t total_blocks = 0;
  uint32_t block_size = 0;  // tokens

  // Whether the producer knows how endpoints hold what they hold, and if so, how.
  virtual bool KnowsShares() const { return false; }
  virtual model::CacheShare ShareOf(model::EndpointId endpoint, size_t row) const {
    (void)endpoint, (void)row;
    return {};
  }
  // Blocks that the endpoint holds, on whichever tier.
  float CachedBlocks(size_t row) const { return unweighted.empty() ? match_blocks[row] : unweighted[row]; }
};

// Requests that were sent and are not answered, by row.
struct InflightLoad : Data {
  static constexpr DataKind kKind = DataKind::kInflightLoad;
  std::vector<float> requests;
  std::vector<float> tokens;
  std::vector<float> added_tokens;  // what this request would add there; empty: not known
};

// What the latency model expects of each endpoint, by row; NaN: no prediction. A headroom is the limit that the request
// asked for minus the prediction: negative is too slow.
struct LatencyPrediction final : Data {
  static constexpr DataKind kKind = DataKind::kLatencyPrediction;
  std::vector<float> ttft_ms, tpot_ms;
  std::vector<float> ttft_headroom_ms, tpot_headroom_ms;
  std::vector<float> dispatched;  // requests of ours that run on the endpoint
};

// Of the request's images, videos and sounds, those whose encoding each endpoint is thought to hold, by row.
struct EncoderMatch final : Data {
  static constexpr DataKind kKind = DataKind::kEncoderMatch;
  std::vector<float> matched;
  uint32_t total = 0;
};

struct SessionId final : Data {
  static constexpr DataKind kKind = DataKind::kSessionId;
  std::string value;  // empty: the request has none
};

// Of a producer that only its own hooks read: what it found is in its PluginState.
struct Nothing final : Data {
  static constexpr DataKind kKind = DataKind::kNothing;
};

// One slot a producer.
class Board {
 public:
  static constexpr int kNoSlot = -1;
  // The slot's data when its producer ran, else nullptr.
  template <class T>
  const T* Get(int slot) const {
    if (slot == kNoSlot || !slots_[static_cast<size_t>(slot)]->present) return nullptr;
    return static_cast<const T*>(slots_[static_cast<size_t>(slot)].get());
  }
  Data& At(size_t slot) { return *slots_[slot]; }
  void Add(std::unique_ptr<Data> data) { slots_.push_back(std::move(data)); }
  void Clear() {
    for (auto& data : slots_) data->present = false;
  }

 private:
  std::vector<std::unique_ptr<Data>> slots_;
};

}  // namespace sluice::schedule
