// Mailbox: brings the engine's outputs for one HTTP request from the engine's thread to the request's coroutine.
// Thread rule: listeners are called on the engine's thread; the rest on the loop's. Ownership: shared by the request
// and its listeners; the loop must outlive the engine. Cost: one lock an output, one post to the loop per batch of
// outputs.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/loop.h"
#include "worker/engine/engine.h"

namespace sluice::worker {

class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  struct Letter {
    size_t sequence;  // which of the HTTP request's engine requests
    Output output;
  };

  explicit Mailbox(runtime::Loop& loop) : loop_(loop), arrived_(loop) {}

  std::shared_ptr<Listener> MakeListener(size_t sequence);
  // Ready when Take() would give something.
  runtime::Source& Arrived() { return arrived_; }
  std::vector<Letter> Take();

 private:
  class Slot;
  void Put(size_t sequence, Output output);

  runtime::Loop& loop_;
  runtime::Event arrived_;
  std::mutex mutex_;
  std::vector<Letter> letters_;
  bool posted_ = false;
};

// One answer of any type from another thread: for embeddings. Same rules.
template <class T>
class OneShot : public std::enable_shared_from_this<OneShot<T>> {
 public:
  explicit OneShot(runtime::Loop& loop) : loop_(loop), arrived_(loop) {}
  void Put(T value) {  // any thread, once
    loop_.Post([self = this->shared_from_this(), held = std::make_shared<T>(std::move(value))] {
      self->value_.emplace(std::move(*held));
      self->arrived_.Set();
    });
  }
  runtime::Source& Arrived() { return arrived_; }
  T Take() { return std::move(*value_); }

 private:
  runtime::Loop& loop_;
  runtime::Event arrived_;
  std::optional<T> value_;
};

}  // namespace sluice::worker
