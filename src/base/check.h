// CHECK: for our own faults. It stays on in release builds, prints where and what, and aborts: memory or accounting
// that is wrong must not serve another request. The world's faults are Result<T> (base/result.h).
#pragma once

#include <cstdio>
#include <cstdlib>

#define SLUICE_CHECK(condition, what)                                                               \
  do {                                                                                              \
    if (!(condition)) [[unlikely]] {                                                                \
      std::fprintf(stderr, "%s:%d: CHECK failed: %s (%s)\n", __FILE__, __LINE__, #condition, what); \
      std::fflush(stderr);                                                                          \
      std::abort();                                                                                 \
    }                                                                                               \
  } while (false)
