// Signals: turns SIGTERM, SIGINT… into something a coroutine waits for.
// Thread rule: Block() in main() before any thread starts; the rest on the loop's thread.
#pragma once

#include <initializer_list>

#include "runtime/loop.h"

namespace sluice::runtime {

class Signals {
 public:
  // Blocks these signals in this thread and those it starts. SIGPIPE is ignored for good.
  static void Block(std::initializer_list<int> signals);

  Signals(Loop& loop, std::initializer_list<int> signals);
  // The next signal.
  Task<int> Next();

 private:
  DescriptorPtr descriptor_;
};

// Runs the loop until SIGTERM or SIGINT (which are blocked) come: for programs that have nothing to end in order.
void RunUntilSignal(Loop& loop);

}  // namespace sluice::runtime
