// WorkerPool: threads for work that would hold up an event loop (over about 100 us): tokenizing long prompts, hashing.
//   Result<Prompt> r = co_await pool.Run(loop, std::move(fn));    // fn runs on a pool thread, the coroutine goes on on
//   its loop
// Thread rule: Run() on a loop's thread, any loop; fn must not touch the loop.
// Limit: at most `queue_max` jobs wait; beyond it Run() answers kResourceExhausted at once.
// Ownership: the destructor finishes queued jobs first; loops must outlive that. A task that is destroyed while it
// waits leaves its job running: fn owns what it uses, or uses what outlives the pool. fn must be copyable.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "runtime/loop.h"

namespace sluice::runtime {

class WorkerPool {
 public:
  WorkerPool(size_t threads, size_t queue_max);
  ~WorkerPool();

  template <class Fn>
  auto Run(Loop& loop, Fn fn) -> Task<Result<decltype(fn())>> {
    using Value = decltype(fn());
    struct State {
      explicit State(Loop& l) : done(l) {}
      std::optional<Value> value;
      Event done;
    };
    // Shared, because the waiting task may be destroyed while the job runs. It ends on the loop's thread.
    auto state = std::make_shared<State>(loop);
    const bool accepted = Submit([&loop, job_state = state, fn = std::move(fn)]() mutable {
      job_state->value.emplace(fn());
      loop.Post([done_state = std::move(job_state)] { done_state->done.Set(); });
    });
    if (!accepted) co_return Fail(Code::kResourceExhausted, "the worker pool's queue is full; send again later");
    co_await AnyOf(state->done);
    co_return std::move(*state->value);
  }

 private:
  bool Submit(std::function<void()> job);
  void Work();

  const size_t queue_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sluice::runtime
