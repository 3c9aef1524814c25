// The rules of a stream without sockets: numbers and payloads in, trust and replays out. The engine is a list of
// batches.
#include "kvindex/events/endpoint_feed.h"

#include <gtest/gtest.h>

#include <memory>

#include "codec/msgpack/msgpack_writer.h"

namespace sluice::kvindex {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kBlock = 2;

std::string Batch(const std::function<void(codec::MsgpackWriter&)>& event, double stamp = 1) {
  std::string out;
  codec::MsgpackWriter w(out);
  w.Array(2);
  w.Double(stamp);
  w.Array(1);
  event(w);
  return out;
}
// Block n of the one chain: tokens 2n and 2n+1, hash n+1, behind hash n.
std::string Stored(uint32_t n, double stamp = 1) {
  return Batch(
      [&](codec::MsgpackWriter& w) {
        w.Array(5);
        w.Str("BlockStored");
        w.Array(1);
        w.Unsigned(n + 1);
        w.Unsigned(n);
        w.Array(kBlock);
        w.Unsigned(n * 2);
        w.Unsigned(n * 2 + 1);
        w.Unsigned(kBlock);
      },
      stamp);
}
std::string Removed(uint32_t n) {
  return Batch([&](codec::MsgpackWriter& w) {
    w.Array(2);
    w.Str("BlockRemoved");
    w.Array(1);
    w.Unsigned(n + 1);
  });
}
std::string Cleared() {
  return Batch([&](codec::MsgpackWriter& w) {
    w.Array(1);
    w.Str("AllBlocksCleared");
  });
}

class Feed : public testing::Test {
 protected:
  Feed() : slot_(*index_.AddEndpoint({1, 1})) {}
  void Open(bool has_replay, std::string model = "m") {
    feed_ = std::make_unique<EndpointFeed>(index_, slot_, keys_, 1 << 20, FeedOptions{}, has_replay, std::move(model),
                                           Now());
  }
  TimePoint Now() const { return clock_.Now(); }
  // The engine publishes; whether the subscriber sees it live is the test's choice.
  void Publish(std::string batch) { history_.emplace_back(next_++, std::move(batch)); }
  void PublishLive(std::string batch) {
    Publish(std::move(batch));
    Live(next_ - 1);
  }
  void Live(uint64_t sequence) {
    for (const auto& [number, batch] : history_) {
      if (number == sequence) feed_->OnLive("m", number, batch, Now());
    }
  }
  void RestartEngine() {
    history_.clear();
    next_ = 0;
  }
  // Answers replays until none is wanted; how many there were.
  int Replays(bool with_topic = true) {
    int count = 0;
    while (const auto start = feed_->WantsReplay(Now())) {
      ++count;
      EXPECT_LT(count, 10) << "replays without end";
      if (count >= 10) break;
      starts_.push_back(*start);
      feed_->ReplayBegun(Now());
      bool go_on = true;
      const auto answer = history_;
      for (const auto& [number, batch] : answer) {
        if (number < *start || !go_on) continue;
        std::optional<std::string_view> model;
        if (with_topic) model = "m";
        go_on = feed_->OnReplay(model, number, batch, Now());
      }
      if (go_on) feed_->OnReplayEnd(Now());
      clock_.Advance(milliseconds(100));
    }
    return count;
  }
  uint32_t Held() {
    std::vector<uint32_t> tokens(64);
    for (uint32_t i = 0; i < 64; ++i) tokens[i] = i;
    std::vector<uint64_t> chain;
    keys_.AppendChain("m", tokens, {}, 32, chain);
    index_.Lookup(chain, {}, matches_);
    const PrefixMatch* match = matches_.Find({1, 1});
    EXPECT_TRUE(match == nullptr || match->trust == feed_->trust());
    return match == nullptr ? 0 : match->blocks;
  }

  ManualClock clock_;
  PrefixIndex index_{{.bytes_max = 16u << 20, .endpoints_max = 2, .readers_max = 1, .speculative_blocks_max = 16},
                     clock_};
  PrefixMatches matches_{index_};
  BlockKeys keys_{{.algorithm = KeyAlgorithm::kXxh64, .block_size_tokens = kBlock}};
  PrefixIndex::Slot slot_;
  std::unique_ptr<EndpointFeed> feed_;
  std::vector<std::pair<uint64_t, std::string>> history_;
  uint64_t next_ = 0;
  std::vector<uint64_t> starts_;
};

TEST_F(Feed, ConnectingReplaysFromTheStartAndIsThenExact) {
  Open(true);
  EXPECT_EQ(feed_->trust(), Trust::kNotConnected);
  Publish(Stored(0));
  Publish(Stored(1));
  feed_->OnConnected(Now());
  EXPECT_EQ(feed_->trust(), Trust::kCatchingUp);
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  EXPECT_EQ(Held(), 2u);
  Live(1);  // waited in the socket meanwhile
  PublishLive(Stored(2));
  EXPECT_EQ(feed_->counters().duplicates, 1u);
  EXPECT_EQ(Held(), 3u);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
}

TEST_F(Feed, AnEngineThatPublishedNothingIsExactAfterAnEmptyReplay) {
  Open(true);
  feed_->OnConnected(Now());
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  PublishLive(Stored(0));
  EXPECT_EQ(feed_->trust(), Trust::kExact);
}

TEST_F(Feed, Trap6AGapIsReplayedWithoutForgetting) {
  Open(true);
  feed_->OnConnected(Now());
  Replays();
  PublishLive(Stored(0));
  Publish(Stored(1));  // dropped on the way
  PublishLive(Stored(2));
  EXPECT_EQ(feed_->trust(), Trust::kCatchingUp);
  EXPECT_EQ(Held(), 1u) << "what is known stays while the rest is fetched";
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(starts_.back(), 1u);
  EXPECT_EQ(Held(), 3u);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  EXPECT_EQ(feed_->counters().gaps, 1u);
  EXPECT_EQ(feed_->counters().resyncs, 0u);
}

// The slow joiner: what was published after the replay and before our subscription arrived shows in no later number.
TEST_F(Feed, Trap6ABatchMissedInSilenceIsFoundByTheProbe) {
  Open(true);
  Publish(Stored(0));
  feed_->OnConnected(Now());
  Replays();
  Publish(Stored(1));
  EXPECT_EQ(Held(), 1u);
  clock_.Advance(milliseconds(100));
  feed_->Tick(Now());
  EXPECT_EQ(feed_->trust(), Trust::kExact) << "a look does not degrade";
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(starts_.back(), 0u);
  EXPECT_EQ(Held(), 2u);
  // And later, after a cooldown without a batch.
  Publish(Stored(2));
  clock_.Advance(seconds(29));
  feed_->Tick(Now());
  EXPECT_EQ(Replays(), 0);
  clock_.Advance(seconds(1));
  feed_->Tick(Now());
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(Held(), 3u);
  // A probe without an answer takes nothing away.
  clock_.Advance(seconds(30));
  feed_->Tick(Now());
  for (int attempt = 0; attempt < 3; ++attempt) {
    feed_->ReplayBegun(Now());
    clock_.Advance(seconds(2));
    EXPECT_TRUE(feed_->Tick(Now()));
    clock_.Advance(milliseconds(100));
  }
  EXPECT_FALSE(feed_->WantsReplay(Now()).has_value());
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  EXPECT_EQ(Held(), 3u);
}

TEST_F(Feed, Trap4TruncatedHistoryIsUsedAndSaidToBeIncomplete) {
  Open(true);
  for (uint32_t n = 0; n < 6; ++n) Publish(Stored(n));
  history_.erase(history_.begin(), history_.begin() + 3);
  feed_->OnConnected(Now());
  EXPECT_EQ(Replays(), 1) << "asking again would not bring it back";
  EXPECT_EQ(feed_->trust(), Trust::kHistoryLost);
  EXPECT_EQ(feed_->blocks().lost_parents, 3u);
  EXPECT_EQ(Held(), 0u);
  // Live events are followed, and a lost parent does not start another resync.
  PublishLive(Stored(6));
  clock_.Advance(seconds(100));
  EXPECT_EQ(Replays(), 0);
  PublishLive(Stored(0));
  EXPECT_EQ(Held(), 1u);
  EXPECT_EQ(feed_->trust(), Trust::kHistoryLost);
  // A cleared cache is known again.
  PublishLive(Cleared());
  PublishLive(Stored(0));
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  EXPECT_EQ(Held(), 1u);
}

TEST_F(Feed, AGapWhoseBatchesAreGoneClearsAndFollows) {
  Open(true);
  feed_->OnConnected(Now());
  Replays();
  PublishLive(Stored(0));
  Publish(Removed(0));
  Publish(Stored(0));
  PublishLive(Stored(1));
  history_.erase(history_.begin(), history_.begin() + 2);  // the removal is not in the history any more
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(feed_->trust(), Trust::kHistoryLost);
  EXPECT_EQ(Held(), 2u);
  EXPECT_EQ(feed_->last_sequence(), 3u);
}

TEST_F(Feed, ASequenceThatGoesBackIsARestart) {
  Open(true);
  feed_->OnConnected(Now());
  Replays();
  for (uint32_t n = 0; n < 3; ++n) PublishLive(Stored(n));
  RestartEngine();
  PublishLive(Stored(0, 2));
  EXPECT_EQ(feed_->counters().restarts, 1u);
  EXPECT_EQ(Held(), 0u) << "the old engine's cache is gone";
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(Held(), 1u);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
}

TEST_F(Feed, ARestartBehindALostConnectionIsNoticedByTheLastBatch) {
  Open(true);
  feed_->OnConnected(Now());
  Replays();
  for (uint32_t n = 0; n < 3; ++n) PublishLive(Stored(n));
  feed_->OnDisconnected(Now());
  EXPECT_EQ(feed_->trust(), Trust::kNotConnected);
  // The same engine: one look at the last batch.
  feed_->OnConnected(Now());
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(starts_.back(), 2u);
  EXPECT_EQ(Held(), 3u);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  // Another engine that has already counted past that number.
  feed_->OnDisconnected(Now());
  RestartEngine();
  Publish(Stored(0, 9));
  for (uint32_t n = 10; n < 16; ++n) Publish(Cleared());
  Publish(Stored(0, 9));
  feed_->OnConnected(Now());
  EXPECT_EQ(Replays(), 2);
  EXPECT_EQ(starts_.back(), 0u);
  EXPECT_EQ(Held(), 1u);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  // Another engine that has published nothing yet.
  feed_->OnDisconnected(Now());
  RestartEngine();
  feed_->OnConnected(Now());
  EXPECT_EQ(Replays(), 2);
  EXPECT_EQ(Held(), 0u);
  EXPECT_EQ(feed_->trust(), Trust::kExact) << "nothing was published, so nothing is cached";
  // One that had published and keeps no history shows itself with its first batch.
  feed_->OnLive("m", 7, Stored(3), Now());
  EXPECT_EQ(feed_->trust(), Trust::kHistoryLost);
}

TEST_F(Feed, Trap21ALostParentResyncsOncePerCooldown) {
  Open(true);
  feed_->OnConnected(Now());
  Replays();
  PublishLive(Stored(0));
  PublishLive(Stored(5));  // its parent was never announced, not even in the history
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(feed_->counters().resyncs, 1u);
  EXPECT_EQ(feed_->trust(), Trust::kLostParent);
  EXPECT_EQ(Held(), 1u);
  PublishLive(Stored(9));
  EXPECT_EQ(Replays(), 0);
  EXPECT_EQ(feed_->counters().resyncs, 1u);
}

TEST_F(Feed, WithoutReplayAGapClearsAndIsDeclared) {
  Open(false);
  feed_->OnConnected(Now());
  PublishLive(Stored(0));
  EXPECT_EQ(feed_->trust(), Trust::kExact) << "the first number is 0: nothing came before";
  PublishLive(Stored(1));
  Publish(Removed(1));
  PublishLive(Stored(0));
  EXPECT_EQ(feed_->trust(), Trust::kGap);
  EXPECT_EQ(Held(), 1u) << "block 1 may be gone and is not claimed";
  EXPECT_FALSE(feed_->WantsReplay(Now()).has_value());
  PublishLive(Cleared());
  EXPECT_EQ(feed_->trust(), Trust::kExact);
}

TEST_F(Feed, WithoutReplayANewEngineBehindANewConnectionIsNoticedByItsNumbers) {
  Open(false);
  feed_->OnConnected(Now());
  for (uint32_t n = 0; n < 3; ++n) PublishLive(Stored(n));
  EXPECT_EQ(Held(), 3u);
  feed_->OnDisconnected(Now());
  feed_->OnConnected(Now());
  Live(2);  // the same batch once more
  EXPECT_EQ(feed_->counters().restarts, 0u);
  EXPECT_EQ(Held(), 3u);
  feed_->OnDisconnected(Now());
  RestartEngine();
  feed_->OnConnected(Now());
  PublishLive(Stored(0));
  EXPECT_EQ(feed_->counters().restarts, 1u);
  EXPECT_EQ(Held(), 1u);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
}

TEST_F(Feed, WithoutReplayALateListenerSaysSo) {
  Open(false);
  for (uint32_t n = 0; n < 3; ++n) Publish(Stored(n));
  feed_->OnConnected(Now());
  EXPECT_EQ(feed_->trust(), Trust::kCatchingUp);
  PublishLive(Stored(0));
  EXPECT_EQ(feed_->trust(), Trust::kHistoryLost);
  // A restart is a new beginning.
  RestartEngine();
  PublishLive(Stored(0));
  EXPECT_EQ(feed_->trust(), Trust::kExact);
}

TEST_F(Feed, AServerThatNeverEndsItsReplayIsGivenUpAndTriedAgainLater) {
  Open(true);
  Publish(Stored(0));
  feed_->OnConnected(Now());
  for (int attempt = 0; attempt < 3; ++attempt) {
    ASSERT_TRUE(feed_->WantsReplay(Now()).has_value());
    feed_->ReplayBegun(Now());
    EXPECT_FALSE(feed_->WantsReplay(Now()).has_value());
    clock_.Advance(milliseconds(1999));
    EXPECT_FALSE(feed_->Tick(Now()));
    clock_.Advance(milliseconds(1));
    EXPECT_TRUE(feed_->Tick(Now()));
    clock_.Advance(milliseconds(100));
  }
  EXPECT_FALSE(feed_->WantsReplay(Now()).has_value());
  EXPECT_EQ(feed_->counters().replay_failures, 1u);
  EXPECT_EQ(feed_->trust(), Trust::kHistoryLost);
  clock_.Advance(seconds(30));
  feed_->Tick(Now());
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  EXPECT_EQ(Held(), 1u);
}

TEST_F(Feed, AnInterruptedReplayGoesOnWhereItStopped) {
  Open(true);
  for (uint32_t n = 0; n < 4; ++n) Publish(Stored(n));
  feed_->OnConnected(Now());
  feed_->ReplayBegun(Now());
  feed_->OnReplay("m", 0, history_[0].second, Now());
  feed_->OnReplay("m", 1, history_[1].second, Now());
  clock_.Advance(seconds(2));
  EXPECT_TRUE(feed_->Tick(Now()));
  clock_.Advance(milliseconds(100));
  EXPECT_EQ(Replays(), 1);
  EXPECT_EQ(starts_.back(), 2u);
  EXPECT_EQ(Held(), 4u);
}

// Trap 3: without a topic in the replay the model is not known until a live batch names it.
TEST_F(Feed, Trap3AReplayWithoutTopicsWaitsForTheModel) {
  Open(true, "");
  Publish(Stored(0));
  feed_->OnConnected(Now());
  EXPECT_EQ(Replays(false), 1);
  EXPECT_EQ(feed_->trust(), Trust::kCatchingUp);
  EXPECT_EQ(feed_->blocks().stored, 0u);
  PublishLive(Stored(1));
  EXPECT_EQ(Replays(false), 1);
  EXPECT_EQ(Held(), 2u);
  EXPECT_EQ(feed_->trust(), Trust::kExact);
}

TEST_F(Feed, ANewBlockSizeThatDoesNotFitIsDeclaredUntilTheEngineIsAnother) {
  Open(true);
  feed_->OnConnected(Now());
  Replays();
  PublishLive(Stored(0));
  PublishLive(Batch([](codec::MsgpackWriter& w) {
    w.Array(5);
    w.Str("BlockStored");
    w.Array(1);
    w.Unsigned(9);
    w.Nil();
    w.Array(3);
    for (int i = 0; i < 3; ++i) w.Int(i);
    w.Int(3);
  }));
  EXPECT_EQ(feed_->trust(), Trust::kBlockSize);
  RestartEngine();
  PublishLive(Stored(0, 5));
  PublishLive(Stored(1, 5));
  Replays();
  EXPECT_EQ(feed_->trust(), Trust::kExact);
  EXPECT_EQ(Held(), 2u);
}

// Trap 11 at the stream's level.
TEST_F(Feed, AMalformedPayloadIsCountedAndTheStreamGoesOn) {
  Open(false);
  PublishLive(Stored(0));
  PublishLive("\xc1");
  PublishLive(Stored(1));
  EXPECT_EQ(feed_->counters().broken, 1u);
  EXPECT_EQ(feed_->trust(), Trust::kUnreadable);
  EXPECT_EQ(feed_->counters().gaps, 0u);
  EXPECT_EQ(Held(), 2u);
}

}  // namespace
}  // namespace sluice::kvindex
