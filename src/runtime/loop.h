// Loop: one thread's event loop: level-triggered epoll, timers, posted functions and spawned tasks.
// Each descriptor is registered once for its life (Descriptor). A readiness event resumes the coroutine that waits for
// it; events for which nobody waits are masked until somebody does. Thread rule: everything on the loop's thread except
// Post() and Stop(), which any thread may call. Ownership: the loop owns spawned tasks and destroys those still
// suspended when it is destroyed. Cost: one epoll_wait per batch of up to 256 events; a wait costs no system call.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/clock.h"
#include "runtime/source.h"
#include "runtime/task.h"

struct epoll_event;

namespace sluice::runtime {

class Timer;
class Descriptor;

// TaskScope: owns tasks that nobody awaits. Destroying it destroys those still suspended, so whatever they refer to
// must outlive the scope: declare the scope after it.
class TaskScope {
 public:
  explicit TaskScope(Loop& loop) : loop_(loop) {}
  ~TaskScope() { CancelAll(); }
  TaskScope(const TaskScope&) = delete;
  // The task starts in the loop's next round.
  void Spawn(Task<> task);
  void CancelAll();
  size_t size() const { return size_; }

 private:
  struct Root;
  struct Link {
    Link* previous = this;
    Link* next = this;
  };
  Loop& loop_;
  Link list_;
  size_t size_ = 0;
};

class Loop {
 public:
  // With a manual clock, the loop never sleeps: when nothing is runnable it advances the clock to the next timer.
  explicit Loop(ManualClock* virtual_time = nullptr);
  ~Loop();
  Loop(const Loop&) = delete;

  // Runs until Stop(). RunUntilIdle returns when no task is runnable and no timer is set (virtual time only).
  void Run();
  void RunUntilIdle();
  void Stop();
  void Resume() { stop_ = false; }  // after Stop(): Run() may be called again
  bool stopping() const { return stop_; }

  // Time at the start of this batch; cheap.
  TimePoint Now() const { return now_; }
  double UnixSeconds() const { return clock_->UnixSeconds(); }

  // Runs `fn` on the loop's thread, in order of posting.
  void Post(std::function<void()> fn);
  // Starts a task in the loop's own scope.
  void Spawn(Task<> task) { scope_.Spawn(std::move(task)); }
  size_t spawned() const { return scope_.size(); }

  // The thread's scratch space for one read: what is in it is consumed before the next wait.
  std::span<char> scratch() { return {scratch_.get(), kScratchBytes}; }
  static constexpr size_t kScratchBytes = 64 * 1024;

 private:
  friend class Timer;
  friend class Descriptor;
  friend class DescriptorPtr;
  friend void internal::ScheduleResume(Loop&, std::coroutine_handle<>);
  friend void internal::CancelResume(Loop&, std::coroutine_handle<>);

  void RunOnce(bool may_sleep);
  void RunReady();
  void RunPosted();
  void FireTimers();
  Duration SleepMax() const;  // zero: not at all; max: until something happens
  int WaitForEvents(std::span<epoll_event> events, Duration max);
  // Timer heap: a binary heap of timers by deadline; each timer knows its index.
  void HeapUp(size_t at);
  void HeapDown(size_t at);
  void HeapPlace(size_t at, Timer* timer);
  void HeapInsert(Timer* timer);
  void HeapRemove(Timer* timer);

  SystemClock system_clock_;
  ManualClock* virtual_time_;
  const Clock* clock_;
  TimePoint now_;
  bool precise_ = true;  // the kernel sleeps for less than a millisecond
  int epoll_fd_;
  int wake_fd_;
  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> running_;
  std::vector<Timer*> timers_;
  std::vector<std::unique_ptr<Descriptor>> retired_;  // closed during this batch; freed after it
  std::unique_ptr<char[]> scratch_;
  std::mutex post_mutex_;
  std::vector<std::function<void()>> posted_;
  std::atomic<bool> stop_{false};
  TaskScope scope_{*this};
};

// Timer: a deadline that one coroutine waits for. Moving the deadline later costs a store: the heap entry is corrected
// when it fires. ready() stays true until Set() or Clear().
class Timer final : public Source {
 public:
  explicit Timer(Loop& loop) : Source(loop) {}
  ~Timer();
  void Set(TimePoint deadline);
  void SetAfter(Duration d) { Set(loop().Now() + d); }
  void Clear();

 private:
  friend class Loop;
  static constexpr size_t kNotQueued = ~size_t{0};
  TimePoint deadline_ = TimePoint::max();  // what the owner wants
  TimePoint queued_at_;                    // what the heap believes
  size_t heap_index_ = kNotQueued;
};

// Descriptor: one file descriptor registered with the loop for its life, closed with it.
class Descriptor {
 public:
  struct Readiness final : Source {
    Readiness(Loop& loop, Descriptor& d, uint32_t bit);
    void Fire() { Notify(); }
    Descriptor& descriptor;
    uint32_t bit;  // EPOLLIN or EPOLLOUT
  };

  ~Descriptor();
  int fd() const { return fd_; }

 private:
  friend class Loop;
  friend class DescriptorPtr;
  Descriptor(Loop& loop, int fd);
  void OnEvents(uint32_t events);
  void SetInterest(uint32_t interest);
  void Modify(uint32_t events);

  Loop& loop_;
  int fd_;
  uint32_t interest_;
  bool open_ = true;
  bool parked_ = false;  // hung up and nobody waits

 public:
  Readiness readable;
  Readiness writable;
};

// DescriptorPtr: owns a Descriptor; letting go closes it at once and frees it after the running batch of events.
class DescriptorPtr {
 public:
  DescriptorPtr() = default;
  // Takes `fd` (non-blocking) and registers it.
  DescriptorPtr(Loop& loop, int fd);
  DescriptorPtr(DescriptorPtr&&) = default;
  DescriptorPtr& operator=(DescriptorPtr&& other) noexcept;
  ~DescriptorPtr() { Reset(); }
  void Reset();
  Descriptor* operator->() const { return descriptor_.get(); }
  Descriptor& operator*() const { return *descriptor_; }
  explicit operator bool() const { return descriptor_ != nullptr; }

 private:
  std::unique_ptr<Descriptor> descriptor_;
};

// Suspends for `d`. For pauses between tries; requests use a Timer in AnyOf.
Task<> SleepFor(Loop& loop, Duration d);

}  // namespace sluice::runtime
