// EndpointFeed: one endpoint's stream of event batches, kept true or declared not to be. Decides what a sequence number
// means (next, again, a gap, a restart), when to ask for a replay and what to do with it, and tells the index how far
// the endpoint can be trusted. Pure: sockets are Subscriber's, time is an argument.
//
// Rules. Applied batches form an unbroken range of numbers from the engine's start, or the endpoint is not kExact.
// - Connected: replay, from 0 or, to see that it is still the same engine, from the last batch applied. Live batches
// wait
//   in the socket meanwhile; those that the replay covered are dropped as they come.
// - A number that goes back, or the last batch with other bytes: the engine restarted. Clear, replay from 0.
// - Silence proves nothing: a batch published before our subscription arrived, or the last of a flood, may be missing
// and no
//   later number tells. So the last batch is asked for again shortly after the first replay and whenever a cooldown
//   passes without a batch.
// - A gap: replay what is missing. What was applied stays until it is known that it cannot be had.
// - A lost parent in a stream that was complete: clear, replay from 0, at most once a cooldown.
// - A replay that begins later than asked (history was dropped), or has a hole: clear, apply what there is. Missed
// stores
//   stay missed: kHistoryLost until the engine clears its cache or restarts.
// - An event that cannot be read is lost whatever is replayed: kUnreadable, until the same.
// - No replay to be had: clear, follow from here, kGap; with a replay endpoint it is tried again after the cooldown.
// Thread rule: one owner. Ownership: its EndpointBlocks. Cost: that of the blocks.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "kvindex/events/decode.h"
#include "kvindex/events/endpoint_blocks.h"

namespace sluice::kvindex {

struct FeedOptions {
  EngineType engine = EngineType::kVllm;
  Duration replay_idle = std::chrono::seconds(2);          // without a message: the attempt failed
  Duration replay_total = std::chrono::minutes(2);         // of one replay with all attempts
  Duration replay_retry = std::chrono::milliseconds(100);  // between attempts
  int replay_attempts_max = 3;                             // without progress
  Duration resync_cooldown = std::chrono::seconds(30);
};

class EndpointFeed {
 public:
  struct Counters {
    uint64_t batches = 0;  // applied
    uint64_t events = 0, unknown = 0, malformed = 0;
    uint64_t broken = 0;      // payloads that were not a whole batch
    uint64_t duplicates = 0;  // batches that were there already
    uint64_t gaps = 0, restarts = 0, resyncs = 0, replays = 0, replay_failures = 0;
  };

  // `model`: of chains without an adapter, until a topic says it. `has_replay`: replays can be asked for.
  EndpointFeed(PrefixIndex& index, PrefixIndex::Slot slot, const BlockKeys& keys, size_t map_share,
               const FeedOptions& options, bool has_replay, std::string model, TimePoint now);

  void OnConnected(TimePoint now);
  void OnDisconnected(TimePoint now);
  void OnLive(std::string_view model, uint64_t sequence, std::string_view payload, TimePoint now);

  // --- replays, driven by the owner of the sockets.
  // A replay to ask for now, by its first number. ReplayBegun() when the request was sent.
  std::optional<uint64_t> WantsReplay(TimePoint now) const;
  void ReplayBegun(TimePoint now);
  bool Replaying() const { return replay_.active; }
  // One message of it; `model` only with the framing that has the topic. False: the rest is not wanted.
  bool OnReplay(std::optional<std::string_view> model, uint64_t sequence, std::string_view payload, TimePoint now);
  void OnReplayEnd(TimePoint now);
  // What time brings: an attempt that has been silent for too long ends (true: the owner closes its socket), a replay
  // that failed is due again. Call it a few times a second.
  bool Tick(TimePoint now);
  // No socket for it: tried again as after silence.
  void ReplayFailed(TimePoint now);

  Trust trust() const { return trust_; }
  TimePoint trust_since() const { return trust_since_; }
  bool connected() const { return connected_; }
  std::optional<uint64_t> last_sequence() const { return last_; }
  const Counters& counters() const { return counters_; }
  const EndpointBlocks::Counters& blocks() const { return blocks_.counters(); }
  PrefixIndex::Slot slot() const { return slot_; }

 private:
  struct Replay {
    bool wanted = false;
    bool active = false;
    TimePoint not_before{};
    uint64_t start = 0;              // of the whole replay
    uint64_t next = 0;               // the number expected
    bool verify = false;             // `next` is the last batch applied: it must come and be the same
    bool any = false;                // a message came in this attempt
    bool got = false;                // or in one before
    bool probe = false;              // only looks whether something was missed unnoticed
    bool expects_some = false;       // the engine is known to have published
    int attempts = 0;                // without progress
    std::optional<TimePoint> begun;  // the first attempt
    TimePoint heard{};               // the last message
    bool fills_gap = false;          // batches are missing behind the last one applied
  };

  void Ask(uint64_t start, bool verify, bool fills_gap, TimePoint not_before);
  void AskAll(TimePoint now);
  bool MayResync(TimePoint now) const { return has_replay_ && now >= cooldown_until_; }
  void Apply(std::string_view payload, uint64_t sequence, TimePoint now);
  void Forget();
  void Settle(TimePoint now);
  void GiveUpReplay(TimePoint now);
  void SetTrust(Trust trust, TimePoint now);

  PrefixIndex& index_;
  const PrefixIndex::Slot slot_;
  const FeedOptions options_;
  const bool has_replay_;
  EndpointBlocks blocks_;
  BatchDecoder decoder_;
  bool connected_ = false;
  bool model_known_ = false;
  bool awaits_model_ = false;     // replay when a live batch has named the model
  std::optional<uint64_t> last_;  // the last batch applied
  uint64_t last_payload_hash_ = 0;
  std::optional<uint64_t> last_live_;
  Trust incomplete_ = Trust::kExact;  // why what was applied is not everything since the engine's start; kExact: it is
  Replay replay_;
  uint64_t unfit_before_ = 0;  // of blocks().block_size_unfit, those said by an engine that is gone
  TimePoint cooldown_until_ = TimePoint::min();
  TimePoint last_replay_end_ = TimePoint::min();
  std::optional<TimePoint> probe_at_;
  std::optional<TimePoint> retry_at_;  // a full resync, after a replay that failed
  Trust trust_ = Trust::kNotConnected;
  TimePoint trust_since_;
  Counters counters_;
};

}  // namespace sluice::kvindex
