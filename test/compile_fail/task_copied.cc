// A Task owns its coroutine's frame: two owners would free it twice.
// expect: call to deleted constructor of 'Task<>'
#include <utility>

#include "runtime/task.h"

using sluice::runtime::Task;

Task<> Work() { co_return; }

void Use() {
  Task<> first = Work();
  Task<> moved = std::move(first);
#ifdef BROKEN
  Task<> copied = moved;
#endif
}
