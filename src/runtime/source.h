// Source: something a coroutine can wait for: a socket's readability, a timer, an event. AnyOf() waits for the first of
// several and says which are ready; this one awaiter is how timeouts, "client left" and "upstream answered" are
// combined.
//   uint32_t ready = co_await AnyOf(upstream.Readable(), client.Readable(), timer);   // bit i: the i-th source is
//   ready
// Thread rule: the loop's thread. Ownership: a source outlives every wait on it; one waiter at a time.
// Cost: a few stores per source; no allocation, no system call (but see Socket about masked descriptors).
#pragma once

#include <array>
#include <coroutine>
#include <cstdint>

#include "base/check.h"

namespace sluice::runtime {

class Loop;
class Source;

// Waiter is told when a source it is attached to becomes ready.
class Waiter {
 public:
  virtual void OnReady(unsigned index) = 0;

 protected:
  ~Waiter() = default;
};

class Source {
 public:
  explicit Source(Loop& loop) : loop_(&loop) {}
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source() { SLUICE_CHECK(waiter_ == nullptr, "a source was destroyed while somebody waits for it"); }

  Loop& loop() const { return *loop_; }
  bool ready() const { return ready_; }

  // Attach makes `waiter` hear of the next readiness. The caller has checked ready() first.
  void Attach(Waiter& waiter, unsigned index) {
    SLUICE_CHECK(waiter_ == nullptr, "a source has one waiter at a time");
    waiter_ = &waiter;
    index_ = index;
    if (on_attach_ != nullptr) on_attach_(*this);
  }
  void Detach() { waiter_ = nullptr; }
  bool has_waiter() const { return waiter_ != nullptr; }

 protected:
  void Notify() {
    if (waiter_ != nullptr) waiter_->OnReady(index_);
  }
  void set_ready(bool ready) { ready_ = ready; }
  void set_on_attach(void (*hook)(Source&)) { on_attach_ = hook; }

 private:
  Loop* loop_;
  Waiter* waiter_ = nullptr;
  void (*on_attach_)(Source&) = nullptr;
  unsigned index_ = 0;
  bool ready_ = false;
};

// Event: a flag that one coroutine sets and another waits for. It stays set until Clear().
class Event final : public Source {
 public:
  explicit Event(Loop& loop) : Source(loop) {}
  void Set() {
    if (ready()) return;
    set_ready(true);
    Notify();
  }
  void Clear() { set_ready(false); }
};

namespace internal {
void ScheduleResume(Loop& loop, std::coroutine_handle<> handle);
void CancelResume(Loop& loop, std::coroutine_handle<> handle);
}  // namespace internal

template <size_t N>
class [[nodiscard]] AnyOfAwaiter final : private Waiter {
 public:
  explicit AnyOfAwaiter(std::array<Source*, N> sources) : sources_(sources) {}
  AnyOfAwaiter(const AnyOfAwaiter&) = delete;
  ~AnyOfAwaiter() {
    if (attached_ && ready_ != 0) CancelScheduled();  // destroyed between readiness and resumption
    DetachAll();
  }

  bool await_ready() {
    for (size_t i = 0; i < N; ++i) {
      if (sources_[i] != nullptr && sources_[i]->ready()) ready_ |= 1u << i;
    }
    return ready_ != 0;
  }
  void await_suspend(std::coroutine_handle<> handle) {
    handle_ = handle;
    attached_ = true;
    for (size_t i = 0; i < N; ++i) {
      if (sources_[i] != nullptr) sources_[i]->Attach(*this, static_cast<unsigned>(i));
    }
  }
  uint32_t await_resume() {
    DetachAll();
    return ready_;
  }

 private:
  void OnReady(unsigned index) override {
    if (ready_ == 0) internal::ScheduleResume(sources_[index]->loop(), handle_);
    ready_ |= 1u << index;
  }
  void CancelScheduled() {
    for (Source* source : sources_) {
      if (source == nullptr) continue;
      internal::CancelResume(source->loop(), handle_);
      return;
    }
  }
  void DetachAll() {
    if (!attached_) return;
    attached_ = false;
    for (Source* source : sources_) {
      if (source != nullptr) source->Detach();
    }
  }

  std::array<Source*, N> sources_;
  std::coroutine_handle<> handle_;
  uint32_t ready_ = 0;
  bool attached_ = false;
};

template <class... Sources>
AnyOfAwaiter<sizeof...(Sources)> AnyOf(Sources&... sources) {
  return AnyOfAwaiter<sizeof...(Sources)>(std::array<Source*, sizeof...(Sources)>{&sources...});
}
// For sources that may be absent (nullptr).
template <class... Sources>
AnyOfAwaiter<sizeof...(Sources)> AnyOfPtr(Sources*... sources) {
  return AnyOfAwaiter<sizeof...(Sources)>(std::array<Source*, sizeof...(Sources)>{sources...});
}

}  // namespace sluice::runtime
