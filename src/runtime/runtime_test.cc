#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <vector>

#include "runtime/gate.h"
#include "runtime/loop.h"
#include "runtime/signals.h"
#include "runtime/worker_pool.h"

namespace sluice::runtime {
namespace {

Task<int> Add(int a, int b) { co_return a + b; }

Task<int> Fibonacci(int n) {
  if (n < 2) co_return n;
  const int a = co_await Fibonacci(n - 1);
  const int b = co_await Fibonacci(n - 2);
  co_return a + b;
}

Task<> Store(int* out) {
  *out = co_await Add(20, 22);
  *out += co_await Fibonacci(10);
}

TEST(Task, AwaitsChildrenAndReturnsValues) {
  ManualClock clock;
  Loop loop(&clock);
  int out = 0;
  loop.Spawn(Store(&out));
  EXPECT_EQ(out, 0) << "tasks are lazy: they start on the loop";
  loop.RunUntilIdle();
  EXPECT_EQ(out, 42 + 55);
  EXPECT_EQ(loop.spawned(), 0u);
}

Task<> DeepChain(int depth, int* reached) {
  if (depth > 0) co_await DeepChain(depth - 1, reached);
  ++*reached;
}

TEST(Task, DeepChainsNeedNoStack) {
  ManualClock clock;
  Loop loop(&clock);
  int reached = 0;
  loop.Spawn(DeepChain(10'000, &reached));
  loop.RunUntilIdle();
  EXPECT_EQ(reached, 10'001);
}

Task<> Note(Loop* loop, double seconds, int id, std::vector<int>* order) {
  co_await SleepFor(*loop, FromSeconds(seconds));
  order->push_back(id);
}

TEST(Timer, FireInOrderOfDeadlineInVirtualTime) {
  ManualClock clock;
  Loop loop(&clock);
  std::vector<int> order;
  loop.Spawn(Note(&loop, 3600, 3, &order));
  loop.Spawn(Note(&loop, 0.001, 1, &order));
  loop.Spawn(Note(&loop, 60, 2, &order));
  loop.RunUntilIdle();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  EXPECT_GE(Seconds(clock.Now().time_since_epoch()), 3600);
}

Task<> WaitTimer(Loop* loop, Timer* timer, TimePoint* fired) {
  co_await AnyOf(*timer);
  *fired = loop->Now();
}

TEST(Timer, MovingLaterEarlierAndClearing) {
  ManualClock clock;
  Loop loop(&clock);
  Timer later(loop), earlier(loop), cleared(loop);
  TimePoint later_at, earlier_at;
  later.SetAfter(FromSeconds(1));
  later.SetAfter(FromSeconds(5));
  earlier.SetAfter(FromSeconds(9));
  earlier.SetAfter(FromSeconds(2));
  cleared.SetAfter(FromSeconds(1));
  cleared.Clear();
  loop.Spawn(WaitTimer(&loop, &later, &later_at));
  loop.Spawn(WaitTimer(&loop, &earlier, &earlier_at));
  const TimePoint start = loop.Now();
  loop.RunUntilIdle();
  EXPECT_DOUBLE_EQ(Seconds(later_at - start), 5);
  EXPECT_DOUBLE_EQ(Seconds(earlier_at - start), 2);
  EXPECT_FALSE(cleared.ready());
}

Task<> FirstOfTwo(Loop* loop, Event* event, uint32_t* ready) {
  Timer timer(*loop);
  timer.SetAfter(FromSeconds(10));
  *ready = co_await AnyOf(*event, timer);
}

TEST(AnyOf, SaysWhichSourceWasReady) {
  for (const bool set : {true, false}) {
    ManualClock clock;
    Loop loop(&clock);
    Event event(loop);
    uint32_t ready = 0;
    loop.Spawn(FirstOfTwo(&loop, &event, &ready));
    if (set) loop.Post([&event] { event.Set(); });
    loop.RunUntilIdle();
    EXPECT_EQ(ready, set ? 1u : 2u);
    EXPECT_FALSE(event.has_waiter());
  }
}

Task<> EchoUntilClosed(DescriptorPtr descriptor, std::string* seen) {
  for (;;) {
    char buffer[16];
    const ssize_t n = recv(descriptor->fd(), buffer, sizeof buffer, 0);
    if (n == 0) break;
    if (n > 0) {
      seen->append(buffer, static_cast<size_t>(n));
    } else {
      co_await AnyOf(descriptor->readable);
    }
  }
  seen->append("|closed");
}

Task<> StopWhenClosed(Loop* loop, DescriptorPtr descriptor, std::string* seen) {
  co_await EchoUntilClosed(std::move(descriptor), seen);
  loop->Stop();
}

TEST(Descriptor, ReadinessResumesAndDataThatNobodyWaitsForDoesNotSpin) {
  Loop loop;
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
  DescriptorPtr ours(loop, pair[0]);
  ASSERT_EQ(write(pair[1], "early", 5), 5);  // arrives while nobody waits: the loop masks it
  std::string seen;
  int rounds = 0;
  loop.Post([&] {
    ++rounds;
    loop.Spawn(StopWhenClosed(&loop, std::move(ours), &seen));
    ASSERT_EQ(write(pair[1], " late", 5), 5);
    close(pair[1]);
  });
  loop.Run();
  EXPECT_EQ(seen, "early late|closed");
}

TEST(Loop, DestroysTasksThatAreStillSuspended) {
  ManualClock clock;
  int out = 0;
  {
    Loop loop(&clock);
    std::vector<int> order;
    loop.Spawn(Note(&loop, 1, 1, &order));
    loop.Spawn(Store(&out));  // not even started
    EXPECT_EQ(loop.spawned(), 2u);
  }
  EXPECT_EQ(out, 0);
}

Task<> RunOnPool(WorkerPool* pool, Loop* loop, std::thread::id* where, Result<int>* result) {
  auto job = [where] {
    *where = std::this_thread::get_id();
    return 7;
  };
  *result = co_await pool->Run(*loop, job);
  loop->Stop();
}

TEST(WorkerPool, RunsElsewhereAndResumesHere) {
  Loop loop;
  WorkerPool pool(1, 8);
  std::thread::id where;
  Result<int> result = 0;
  loop.Spawn(RunOnPool(&pool, &loop, &where, &result));
  loop.Run();
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, 7);
  EXPECT_NE(where, std::this_thread::get_id());
}

TEST(WorkerPool, RefusesBeyondItsLimit) {
  Loop loop;
  WorkerPool pool(1, 0);
  std::thread::id where;
  Result<int> result = 0;
  loop.Spawn(RunOnPool(&pool, &loop, &where, &result));
  loop.Run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kResourceExhausted);
}

Task<> WaitSignal(Loop* loop, Signals* signals, int* got) {
  *got = co_await signals->Next();
  loop->Stop();
}

TEST(Signals, ArriveAsValues) {
  Signals::Block({SIGUSR1});
  Loop loop;
  Signals signals(loop, {SIGUSR1});
  int got = 0;
  loop.Spawn(WaitSignal(&loop, &signals, &got));
  loop.Post([] { raise(SIGUSR1); });
  loop.Run();
  EXPECT_EQ(got, SIGUSR1);
}

TEST(Gate, DrainsWhenTheLastOneLeaves) {
  ManualClock clock;
  Loop loop(&clock);
  Gate gate(loop);
  ASSERT_TRUE(gate.Enter());
  gate.Close();
  EXPECT_FALSE(gate.Enter());
  EXPECT_FALSE(gate.drained().ready());
  gate.Leave();
  EXPECT_TRUE(gate.drained().ready());
}

TEST(Loop, PostFromOtherThreadsKeepsOrderAndLosesNothing) {
  Loop loop;
  std::vector<int> order;
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) loop.Post([&order, i] { order.push_back(i); });
    loop.Post([&loop] { loop.Stop(); });
  });
  loop.Run();
  other.join();
  ASSERT_EQ(order.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

}  // namespace
}  // namespace sluice::runtime
