// A Task is awaited once, by giving it away: `co_await std::move(task)`.
// expect: no member named 'await_ready' in 'sluice::runtime::Task<int>'
#include <utility>

#include "runtime/task.h"

using sluice::runtime::Task;

Task<int> Work() { co_return 1; }

Task<int> Caller() {
  Task<int> task = Work();
#ifdef BROKEN
  co_await task;
#endif
  const int answer = co_await std::move(task);
  co_return answer;
}
