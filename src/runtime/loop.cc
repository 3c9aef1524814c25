#include "runtime/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>

#include "base/check.h"

namespace sluice::runtime {

// Timers that are due so close together wake the loop once.
static constexpr std::chrono::duration<int64_t, std::micro> kTimerSlack{50};

// Root drives a spawned task and frees itself when the task ends. The scope keeps its roots in a list so that it can
// destroy the ones that are still suspended when it goes away.
struct TaskScope::Root {
  struct promise_type : TaskScope::Link {
    promise_type(TaskScope& s, Task<>&) : scope(s) {
      next = &scope.list_;
      previous = scope.list_.previous;
      previous->next = this;
      next->previous = this;
      ++scope.size_;
    }
    ~promise_type() {
      if (!started) internal::CancelResume(scope.loop_, std::coroutine_handle<promise_type>::from_promise(*this));
      previous->next = next;
      next->previous = previous;
      --scope.size_;
    }
    static void* operator new(size_t bytes) { return AllocateFrame(bytes); }
    static void operator delete(void* frame, size_t bytes) noexcept { FreeFrame(frame, bytes); }
    struct Start {
      promise_type& promise;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<>) const noexcept {}
      void await_resume() const noexcept { promise.started = true; }
    };
    Root get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    Start initial_suspend() noexcept { return {*this}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
    TaskScope& scope;
    bool started = false;
  };
  std::coroutine_handle<promise_type> handle;

  static Root Drive(TaskScope& /*scope: for the promise*/, Task<> task) { co_await std::move(task); }
};

void TaskScope::Spawn(Task<> task) {
  const Root root = Root::Drive(*this, std::move(task));
  internal::ScheduleResume(loop_, root.handle);
}

void TaskScope::CancelAll() {
  while (list_.next != &list_) {
    auto& promise = *static_cast<Root::promise_type*>(list_.next);
    std::coroutine_handle<Root::promise_type>::from_promise(promise).destroy();
  }
}

namespace internal {
void ScheduleResume(Loop& loop, std::coroutine_handle<> handle) { loop.ready_.push_back(handle); }

void CancelResume(Loop& loop, std::coroutine_handle<> handle) {
  for (auto* list : {&loop.ready_, &loop.running_}) {
    for (auto& scheduled : *list) {
      if (scheduled == handle) scheduled = std::noop_coroutine();
    }
  }
}
}  // namespace internal

Loop::Loop(ManualClock* virtual_time)
    : virtual_time_(virtual_time),
      clock_(virtual_time != nullptr ? static_cast<const Clock*>(virtual_time) : &system_clock_),
      now_(clock_->Now()),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      scratch_(new char[kScratchBytes]) {
  SLUICE_CHECK(epoll_fd_ >= 0 && wake_fd_ >= 0, "epoll or eventfd could not be made (too many open files?)");
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  SLUICE_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) == 0, "epoll_ctl");
}

Loop::~Loop() {
  scope_.CancelAll();
  retired_.clear();
  close(wake_fd_);
  close(epoll_fd_);
}

void Loop::Run() {
  while (!stop_) RunOnce(/*may_sleep=*/true);
}

void Loop::RunUntilIdle() {
  SLUICE_CHECK(virtual_time_ != nullptr, "RunUntilIdle needs virtual time");
  for (;;) {
    RunOnce(/*may_sleep=*/false);
    if (!ready_.empty()) continue;
    {
      const std::lock_guard lock(post_mutex_);
      if (!posted_.empty()) continue;
    }
    if (timers_.empty()) return;
    const Duration until = timers_.front()->queued_at_ - now_;
    if (until > Duration::zero()) virtual_time_->Advance(until);
  }
}

void Loop::Stop() {
  stop_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(wake_fd_, &one, sizeof one);
}

void Loop::Post(std::function<void()> fn) {
  bool first = false;
  {
    const std::lock_guard lock(post_mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(fn));
  }
  if (first) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(wake_fd_, &one, sizeof one);
  }
}

Duration Loop::SleepMax() const {
  if (!ready_.empty() || stop_) return Duration::zero();
  if (timers_.empty()) return Duration::max();
  const Duration left = timers_.front()->queued_at_ - clock_->Now();
  return std::max(left, Duration::zero());
}

int Loop::WaitForEvents(std::span<epoll_event> events, Duration max) {
  const int size = static_cast<int>(events.size());
  if (max == Duration::zero()) return epoll_wait(epoll_fd_, events.data(), size, 0);
  if (max == Duration::max()) return epoll_wait(epoll_fd_, events.data(), size, -1);
  max = std::min<Duration>(max, std::chrono::hours(1));
  if (precise_) {
    const int64_t ns = ((max + kTimerSlack - Duration(1)) / kTimerSlack) * Duration(kTimerSlack).count();
    const timespec timeout{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
    const int n = epoll_pwait2(epoll_fd_, events.data(), size, &timeout, nullptr);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
    precise_ = false;  // a kernel before 5.11, or a sandbox that does not know the call
  }
  return epoll_wait(epoll_fd_, events.data(), size, static_cast<int>((max.count() + 999'999) / 1'000'000));
}

void Loop::RunOnce(bool may_sleep) {
  std::array<epoll_event, 256> events;
  const int n = WaitForEvents(events, may_sleep ? SleepMax() : Duration::zero());
  SLUICE_CHECK(n >= 0 || errno == EINTR, "epoll_wait");
  now_ = clock_->Now();
  for (int i = 0; i < n; ++i) {
    auto* descriptor = static_cast<Descriptor*>(events[i].data.ptr);
    if (descriptor != nullptr) {
      descriptor->OnEvents(events[i].events);
    } else {
      RunPosted();
    }
  }
  if (!timers_.empty()) FireTimers();
  RunReady();
  retired_.clear();
}

void Loop::RunReady() {
  // One round: what becomes ready meanwhile runs after the next look at the descriptors, so that a busy pair of
  // coroutines cannot starve the others.
  std::swap(running_, ready_);
  for (size_t i = 0; i < running_.size(); ++i) running_[i].resume();
  running_.clear();
}

void Loop::RunPosted() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = read(wake_fd_, &count, sizeof count);
  std::vector<std::function<void()>> batch;
  {
    const std::lock_guard lock(post_mutex_);
    batch.swap(posted_);
  }
  for (auto& fn : batch) fn();
}

void Loop::FireTimers() {
  while (!timers_.empty() && timers_.front()->queued_at_ <= now_) {
    Timer* timer = timers_.front();
    if (timer->deadline_ > now_) {  // was moved later
      if (timer->deadline_ == TimePoint::max()) {
        HeapRemove(timer);
      } else {
        timer->queued_at_ = timer->deadline_;
        HeapDown(0);
      }
      continue;
    }
    HeapRemove(timer);
    timer->set_ready(true);
    timer->Notify();
  }
}

void Loop::HeapPlace(size_t at, Timer* timer) {
  timers_[at] = timer;
  timer->heap_index_ = at;
}

void Loop::HeapUp(size_t at) {
  Timer* timer = timers_[at];
  while (at > 0) {
    const size_t parent = (at - 1) / 2;
    if (timers_[parent]->queued_at_ <= timer->queued_at_) break;
    HeapPlace(at, timers_[parent]);
    at = parent;
  }
  HeapPlace(at, timer);
}

void Loop::HeapDown(size_t at) {
  Timer* timer = timers_[at];
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= timers_.size()) break;
    if (child + 1 < timers_.size() && timers_[child + 1]->queued_at_ < timers_[child]->queued_at_) ++child;
    if (timers_[child]->queued_at_ >= timer->queued_at_) break;
    HeapPlace(at, timers_[child]);
    at = child;
  }
  HeapPlace(at, timer);
}

void Loop::HeapInsert(Timer* timer) {
  timers_.push_back(timer);
  timer->heap_index_ = timers_.size() - 1;
  HeapUp(timers_.size() - 1);
}

void Loop::HeapRemove(Timer* timer) {
  const size_t at = timer->heap_index_;
  Timer* last = timers_.back();
  timers_.pop_back();
  timer->heap_index_ = Timer::kNotQueued;
  if (last == timer) return;
  HeapPlace(at, last);
  HeapUp(at);
  HeapDown(last->heap_index_);
}

Timer::~Timer() {
  if (heap_index_ != kNotQueued) loop().HeapRemove(this);
}

void Timer::Set(TimePoint deadline) {
  set_ready(false);
  deadline_ = deadline;
  if (heap_index_ == kNotQueued) {
    queued_at_ = deadline;
    loop().HeapInsert(this);
  } else if (deadline < queued_at_) {
    queued_at_ = deadline;
    loop().HeapUp(heap_index_);
  }
}

void Timer::Clear() {
  set_ready(false);
  deadline_ = TimePoint::max();
}

Descriptor::Readiness::Readiness(Loop& loop, Descriptor& d, uint32_t b) : Source(loop), descriptor(d), bit(b) {
  set_on_attach([](Source& source) {
    auto& self = static_cast<Readiness&>(source);
    Descriptor& d = self.descriptor;
    if ((d.interest_ & self.bit) == 0 || d.parked_) d.SetInterest(d.interest_ | self.bit);
  });
}

Descriptor::Descriptor(Loop& loop, int fd)
    : loop_(loop), fd_(fd), interest_(EPOLLIN), readable(loop, *this, EPOLLIN), writable(loop, *this, EPOLLOUT) {
  epoll_event event{.events = interest_, .data = {.ptr = this}};
  SLUICE_CHECK(epoll_ctl(loop.epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl ADD");
}

Descriptor::~Descriptor() = default;

void Descriptor::SetInterest(uint32_t interest) {
  interest_ = interest;
  parked_ = false;
  Modify(interest);
}

void Descriptor::Modify(uint32_t events) {
  epoll_event event{.events = events, .data = {.ptr = this}};
  SLUICE_CHECK(epoll_ctl(loop_.epoll_fd_, EPOLL_CTL_MOD, fd_, &event) == 0, "epoll_ctl MOD");
}

void Descriptor::OnEvents(uint32_t events) {
  if (!open_) return;  // closed earlier in this batch
  // An error or a hang-up concerns both directions: whoever waits reads or writes next and learns of it.
  const bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  const bool in = broken || (events & EPOLLIN) != 0;
  const bool out = broken || (events & EPOLLOUT) != 0;
  uint32_t unwanted = 0;
  if (out) {
    if (writable.has_waiter()) writable.Fire();
    unwanted |= EPOLLOUT;  // writability is asked for each time it is missed
  }
  if (in) {
    if (readable.has_waiter()) {
      readable.Fire();
    } else {
      unwanted |= EPOLLIN;
    }
  }
  if (!open_) return;  // a waiter closed it
  const uint32_t wanted = interest_ & ~unwanted;
  if (wanted != interest_) SetInterest(wanted);
  if (broken && !readable.has_waiter() && !writable.has_waiter() && !parked_) {
    // A hang-up cannot be masked: report it once more at most (edge-triggered) until somebody waits, or it would spin.
    parked_ = true;
    Modify(EPOLLET);
  }
}

DescriptorPtr::DescriptorPtr(Loop& loop, int fd) : descriptor_(new Descriptor(loop, fd)) {}

DescriptorPtr& DescriptorPtr::operator=(DescriptorPtr&& other) noexcept {
  if (this != &other) {
    Reset();
    descriptor_ = std::move(other.descriptor_);
  }
  return *this;
}

void DescriptorPtr::Reset() {
  if (descriptor_ == nullptr) return;
  descriptor_->open_ = false;
  close(descriptor_->fd_);  // closing also takes it out of the epoll set
  Loop& loop = descriptor_->loop_;
  loop.retired_.push_back(std::move(descriptor_));
}

Task<> SleepFor(Loop& loop, Duration d) {
  Timer timer(loop);
  timer.SetAfter(d);
  co_await AnyOf(timer);
}

}  // namespace sluice::runtime
