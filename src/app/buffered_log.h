// Two log lines a request would cost as much as relaying it; written together they cost a tenth.
#pragma once

#include "runtime/loop.h"

namespace sluice::app {

// Runs the loop until it is stopped; log lines below warn leave every 100 ms meanwhile.
void RunWithBufferedLog(runtime::Loop& loop);

}  // namespace sluice::app
