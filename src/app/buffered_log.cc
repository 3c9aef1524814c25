#include "app/buffered_log.h"

#include <chrono>

#include "observe/log.h"

namespace sluice::app {
namespace {

runtime::Task<> FlushLogOften(runtime::Loop* loop) {
  for (;;) {
    co_await runtime::SleepFor(*loop, std::chrono::milliseconds(100));
    observe::FlushLog();
  }
}

}  // namespace

void RunWithBufferedLog(runtime::Loop& loop) {
  runtime::TaskScope flushing(loop);
  observe::SetLogBuffered(true);
  flushing.Spawn(FlushLogOften(&loop));
  loop.Run();
  observe::SetLogBuffered(false);
}

}  // namespace sluice::app
