// Gate: counts work in progress so that a shutdown can wait for it. Enter() while open, Leave() when done; after
// Close() nobody enters, and drained() becomes ready when the last one has left. Thread rule: one loop's thread.
#pragma once

#include "runtime/source.h"

namespace sluice::runtime {

class Gate {
 public:
  explicit Gate(Loop& loop) : drained_(loop) {}

  bool Enter() {
    if (closed_) return false;
    ++inside_;
    return true;
  }
  void Leave() {
    SLUICE_CHECK(inside_ > 0, "Leave without Enter");
    if (--inside_ == 0 && closed_) drained_.Set();
  }
  void Close() {
    closed_ = true;
    if (inside_ == 0) drained_.Set();
  }
  bool closed() const { return closed_; }
  size_t inside() const { return inside_; }
  Source& drained() { return drained_; }

 private:
  Event drained_;
  size_t inside_ = 0;
  bool closed_ = false;
};

}  // namespace sluice::runtime
