// A Task that nobody awaits or spawns never runs: calling a coroutine for its effect is a mistake.
// expect: ignoring return value of
#include "runtime/task.h"

using sluice::runtime::Task;

Task<> Work() { co_return; }

Task<> Caller() {
  co_await Work();
#ifdef BROKEN
  Work();
#endif
}
