#include "kvindex/events/endpoint_feed.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace sluice::kvindex {
namespace {

uint64_t PayloadHash(std::string_view payload) { return std::hash<std::string_view>{}(payload); }

}  // namespace

EndpointFeed::EndpointFeed(PrefixIndex& index, PrefixIndex::Slot slot, const BlockKeys& keys, size_t map_share,
                           const FeedOptions& options, bool has_replay, std::string model, TimePoint now)
    : index_(index),
      slot_(slot),
      options_(options),
      has_replay_(has_replay),
      blocks_(index, slot, keys, map_share),
      decoder_(options.engine),
      model_known_(!model.empty()),
      trust_since_(now) {
  blocks_.SetModel(model);
  index_.SetTrust(slot_, trust_);
}

void EndpointFeed::SetTrust(Trust trust, TimePoint now) {
  if (trust_ == trust) return;
  trust_ = trust;
  trust_since_ = now;
  index_.SetTrust(slot_, trust);
}

// What the endpoint is worth after what was just done.
void EndpointFeed::Settle(TimePoint now) {
  if (!connected_) return SetTrust(Trust::kNotConnected, now);
  const bool under_way = (replay_.wanted || replay_.active) && !replay_.probe;
  if (under_way || awaits_model_ || !last_.has_value()) {
    const bool empty_and_known = !under_way && !awaits_model_ && incomplete_ == Trust::kExact;
    return SetTrust(empty_and_known && has_replay_ ? Trust::kExact : Trust::kCatchingUp, now);
  }
  if (incomplete_ == Trust::kExact && blocks_.counters().block_size_unfit > unfit_before_) {
    return SetTrust(Trust::kBlockSize, now);
  }
  SetTrust(incomplete_, now);
}

void EndpointFeed::Forget() {
  blocks_.Clear();
  last_.reset();
  last_live_.reset();
  unfit_before_ = blocks_.counters().block_size_unfit;
}

void EndpointFeed::Ask(uint64_t start, bool verify, bool fills_gap, TimePoint not_before) {
  replay_ = {.wanted = true, .not_before = not_before, .start = start, .next = start, .verify = verify};
  replay_.fills_gap = fills_gap;
  // Under a flood gaps follow each other; replays keep a distance.
  if (last_replay_end_ != TimePoint::min()) {
    replay_.not_before = std::max(not_before, last_replay_end_ + options_.replay_retry);
  }
  if (start == 0) retry_at_.reset();
}

// Everything again, from the engine's first batch.
void EndpointFeed::AskAll(TimePoint now) {
  Forget();
  incomplete_ = Trust::kExact;
  ++counters_.resyncs;
  cooldown_until_ = now + options_.resync_cooldown;
  Ask(0, false, true, now);
  replay_.expects_some = true;
}

void EndpointFeed::OnConnected(TimePoint now) {
  connected_ = true;
  if (has_replay_) {
    Ask(last_.value_or(0), last_.has_value(), false, now);
  } else if (last_.has_value()) {
    last_live_.reset();
  }
  Settle(now);
  // Without a replay nothing says yet whether it is the same engine and whether anything was missed.
  if (!has_replay_) SetTrust(Trust::kCatchingUp, now);
}

void EndpointFeed::OnDisconnected(TimePoint now) {
  connected_ = false;
  replay_ = {};
  probe_at_.reset();
  Settle(now);
}

void EndpointFeed::Apply(std::string_view payload, uint64_t sequence, TimePoint now) {
  const EndpointBlocks::Counters before = blocks_.counters();
  const DecodeResult result = decoder_.Decode(payload, blocks_);
  const EndpointBlocks::Counters& after = blocks_.counters();
  ++counters_.batches;
  counters_.events += result.events;
  counters_.unknown += result.unknown;
  counters_.malformed += result.malformed;
  if (result.broken) ++counters_.broken;
  last_ = sequence;
  last_payload_hash_ = PayloadHash(payload);
  // Cleared: what was missed before does not matter any more.
  if (after.cleared != before.cleared && after.lost_parents == before.lost_parents) incomplete_ = Trust::kExact;
  if (incomplete_ != Trust::kExact) return;
  // A replay would bring the same bytes.
  if (result.broken || result.malformed > 0) incomplete_ = Trust::kUnreadable;
  if (after.lost_parents == before.lost_parents) return;
  if (MayResync(now)) {
    AskAll(now);
  } else {
    incomplete_ = Trust::kLostParent;
  }
}

void EndpointFeed::OnLive(std::string_view model, uint64_t sequence, std::string_view payload, TimePoint now) {
  if (!connected_) OnConnected(now);
  model_known_ = true;
  if (!model.empty()) blocks_.SetModel(model);
  if (std::exchange(awaits_model_, false)) {
    AskAll(now);
    return Settle(now);
  }
  // Asked for, and not begun yet: the replay will bring this batch.
  if (replay_.wanted || replay_.active) return;
  // A publisher sends nothing twice: behind a new connection a number from before is another engine's, unless it is the
  // same batch (with a replay, that tells).
  const bool again = last_.has_value() && sequence == *last_ && PayloadHash(payload) == last_payload_hash_;
  const bool before_last = !has_replay_ && !last_live_.has_value() && last_.has_value() && sequence <= *last_ && !again;
  if (before_last || (last_live_.has_value() && sequence < *last_live_)) {
    ++counters_.restarts;
    if (has_replay_) {
      AskAll(now);
      return Settle(now);
    }
    Forget();
    incomplete_ = Trust::kExact;
  }
  last_live_ = sequence;
  if (last_.has_value() && sequence <= *last_) {
    ++counters_.duplicates;
    return Settle(now);
  }
  const uint64_t expected = last_.has_value() ? *last_ + 1 : 0;
  if (sequence != expected) {
    if (last_.has_value()) ++counters_.gaps;
    if (last_.has_value() && MayResync(now)) {
      Ask(expected, false, true, now);
      return Settle(now);
    }
    if (last_.has_value()) blocks_.Clear();
    incomplete_ = last_.has_value() ? Trust::kGap : Trust::kHistoryLost;
    if (has_replay_ && last_.has_value()) retry_at_ = cooldown_until_;
  }
  if (sequence == 0) incomplete_ = Trust::kExact;  // nothing came before it
  if (has_replay_) probe_at_ = now + options_.resync_cooldown;
  Apply(payload, sequence, now);
  Settle(now);
}

std::optional<uint64_t> EndpointFeed::WantsReplay(TimePoint now) const {
  if (!connected_ || !replay_.wanted || now < replay_.not_before) return std::nullopt;
  return replay_.next;
}

void EndpointFeed::ReplayBegun(TimePoint now) {
  replay_.wanted = false;
  replay_.active = true;
  replay_.any = false;
  replay_.heard = now;
  if (!replay_.begun.has_value()) replay_.begun = now;
  ++counters_.replays;
  Settle(now);
}

bool EndpointFeed::OnReplay(std::optional<std::string_view> model, uint64_t sequence, std::string_view payload,
                            TimePoint now) {
  if (!replay_.active) return false;
  replay_.heard = now;
  if (model.has_value() && !model->empty()) {
    blocks_.SetModel(*model);
    model_known_ = true;
  }
  if (!model_known_) {
    // The old framing has no topic, and no live batch has named the model: keys made now would match nothing.
    replay_ = {};
    awaits_model_ = true;
    Settle(now);
    return false;
  }
  if (sequence < replay_.next) return true;
  replay_.any = replay_.got = true;
  replay_.attempts = 0;
  if (replay_.verify) {
    replay_.verify = false;
    if (sequence == *last_ && PayloadHash(payload) == last_payload_hash_) {
      replay_.next = sequence + 1;
      return true;
    }
    // Not the batch that was applied under this number, or not there: another engine, or too much has happened since.
    ++counters_.restarts;
    AskAll(now);
    Settle(now);
    return false;
  }
  if (sequence > replay_.next) {
    // A hole, or history that begins later than asked.
    if (last_.has_value()) {
      ++counters_.gaps;
      blocks_.Clear();
    }
    incomplete_ = Trust::kHistoryLost;
  }
  replay_.next = sequence + 1;
  Apply(payload, sequence, now);
  if (replay_.wanted) {  // a lost parent asked for everything
    Settle(now);
    return false;
  }
  return true;
}

void EndpointFeed::OnReplayEnd(TimePoint now) {
  if (!replay_.active) return;
  const Replay ended = std::exchange(replay_, Replay{});
  last_replay_end_ = now;
  probe_at_ = now + (ended.probe ? options_.resync_cooldown : options_.replay_retry);
  if (ended.expects_some && !ended.got) incomplete_ = Trust::kHistoryLost;
  if (ended.verify || (ended.fills_gap && ended.start > 0 && !ended.got)) {
    // What was applied, or was missing, is not there: a new engine with a shorter history.
    ++counters_.restarts;
    AskAll(now);
    // Behind a new connection with nothing to tell there is an engine that has not published yet, as at its first
    // start.
    if (ended.verify && !ended.probe && !ended.got) replay_.expects_some = false;
  }
  Settle(now);
}

bool EndpointFeed::Tick(TimePoint now) {
  if (retry_at_.has_value() && now >= *retry_at_ && connected_ && !replay_.wanted && !replay_.active) {
    AskAll(now);
    Settle(now);
  }
  if (probe_at_.has_value() && now >= *probe_at_ && connected_ && !replay_.wanted && !replay_.active &&
      !awaits_model_) {
    probe_at_.reset();
    Ask(last_.value_or(0), last_.has_value(), false, now);
    replay_.probe = true;
  }
  if (!replay_.active) return false;
  const bool too_long = now - *replay_.begun >= options_.replay_total;
  if (!too_long && now - replay_.heard < options_.replay_idle) return false;
  if (too_long) {
    GiveUpReplay(now);
  } else {
    ReplayFailed(now);
  }
  return true;
}

void EndpointFeed::ReplayFailed(TimePoint now) {
  if (!replay_.any) ++replay_.attempts;
  if (replay_.attempts >= options_.replay_attempts_max) return GiveUpReplay(now);
  replay_.active = false;
  replay_.wanted = true;  // from the next number expected
  replay_.not_before = now + options_.replay_retry;
  Settle(now);
}

void EndpointFeed::GiveUpReplay(TimePoint now) {
  const Replay failed = std::exchange(replay_, Replay{});
  last_replay_end_ = now;
  ++counters_.replay_failures;
  if (failed.probe) {
    // What is known stays known; asked again later.
    probe_at_ = now + options_.resync_cooldown;
    return Settle(now);
  }
  cooldown_until_ = now + options_.resync_cooldown;
  retry_at_ = cooldown_until_;
  if (failed.fills_gap && last_.has_value()) blocks_.Clear();
  // What the next live batch is compared with: whatever comes is followed from there.
  if (failed.fills_gap) last_.reset();
  incomplete_ = failed.fills_gap ? Trust::kGap : Trust::kHistoryLost;
  Settle(now);
  if (connected_) SetTrust(incomplete_, now);
}

}  // namespace sluice::kvindex
