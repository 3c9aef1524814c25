// A bare number is no duration: its unit has to be said.
// expect: no viable conversion from 'double' to 'const sluice::Duration'
#include "base/clock.h"

void Use() {
  const sluice::Duration good = sluice::FromSeconds(1.5);
  static_cast<void>(good);
#ifdef BROKEN
  const sluice::Duration bad = 1.5;
  static_cast<void>(bad);
#endif
}
