"""What a person sees: a line per suite, the end of a failing one's output, and the sum as the last line."""
import threading

TAIL_LINES = 80


class Progress:
    def __init__(self, total):
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def started(self, item):
        """For suites that take long: a reader should know what is being waited for."""
        with self._lock:
            print(f"         {item.name} ...", flush=True)

    def finished(self, item, outcome):
        with self._lock:
            self._done += 1
            counts = outcome.counts
            words = [f"{counts.passed} passed"]
            if counts.failed:
                words.append(f"{counts.failed} FAILED")
            if counts.skipped:
                words.append(f"{counts.skipped} skipped")
            width = len(str(self._total))
            print(f"[{self._done:>{width}}/{self._total}] {item.name:<28} {', '.join(words):<32} "
                  f"{outcome.seconds:7.2f} s", flush=True)
            if counts.failed:
                _show_failure(item, outcome)


def _show_failure(item, outcome):
    print(f"---- {item.name}: {' '.join(item.command[:1])}", flush=True)
    lines = outcome.output.rstrip().splitlines()
    if len(lines) > TAIL_LINES:
        print(f"     ({len(lines) - TAIL_LINES} lines before these are left out)")
    for line in lines[-TAIL_LINES:]:
        print("     " + line)
    for name in outcome.counts.failures:
        print(f"     failed: {name}")
    if outcome.problem:
        print(f"     {item.name} {outcome.problem}")
    print("----", flush=True)


def summary(suites, outcomes):
    """Prints the skips, the failed suites and the sum; returns the exit code."""
    reasons = [r for outcome in outcomes for r in outcome.counts.skip_reasons]
    for reason in reasons:
        print(f"skipped: {reason}")
    failed = [s.name for s, o in zip(_in_run_order(suites), outcomes) if o.counts.failed]
    if failed:
        print("failed suites: " + ", ".join(failed))
    if not outcomes:
        print("nothing ran: is the build folder right, and did the build finish?")
    passed, failures, skipped = (sum(getattr(o.counts, key) for o in outcomes)
                                 for key in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failures} failed, {skipped} skipped", flush=True)
    return 1 if failures or passed == 0 else 0


def _in_run_order(suites):
    return [s for s in suites if s.may_share_machine] + [s for s in suites if not s.may_share_machine]
