// WorkerPool: threads for work that would hold up an event loop (over about 100 us): tokenizing long prompts, hashing.
//   Result<Prompt> r = co_await pool.Run(loop, std::move(fn));    // fn runs on a pool thread, the coroutine goes on on
//   its loop
// Thread rule: Run() on a loop's thread, any loop; fn must not touch the loop.
// Limit: at most `queue_max` jobs wait; beyond it Run() answers kResourceExhausted at once.
// Ownership: the destructor finishes queued jobs first; loops must outlive that.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
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
    std::optional<Value> value;
    Event done(loop);
    const bool accepted = Submit([&] {
      value.emplace(fn());
      loop.Post([&done] { done.Set(); });
    });
    if (!accepted) co_return Fail(Code::kResourceExhausted, "the worker pool's queue is full; send again later");
    co_await AnyOf(done);
    co_return std::move(*value);
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
