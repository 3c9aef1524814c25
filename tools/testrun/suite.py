"""A suite is one command whose tests can be counted; an outcome is what came of it."""
import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time
from typing import Callable

_running = set()
_running_lock = threading.Lock()


@dataclasses.dataclass
class Context:
    root: pathlib.Path
    build: pathlib.Path
    scratch: pathlib.Path  # removed at the end
    environment: dict


@dataclasses.dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list = dataclasses.field(default_factory=list)      # names of failed tests
    skip_reasons: list = dataclasses.field(default_factory=list)  # "test: reason"


@dataclasses.dataclass
class Suite:
    name: str                                             # "unit/net", "fuzz/json_fuzz", "hygiene", "node"
    command: list
    timeout_s: int
    count: Callable[["Suite", Context, int, str], Counts]  # (suite, context, exit code, output) -> Counts
    may_share_machine: bool = False

    def result_file(self, context):
        return context.scratch / (self.name.replace("/", "_") + ".result")


@dataclasses.dataclass
class Outcome:
    counts: Counts
    seconds: float
    output: str
    problem: str = ""  # why the suite as a whole failed: it crashed, timed out, or could not start


def run(suite, context):
    begin = time.monotonic()
    try:
        code, output, timed_out = _execute(suite, context)
    except OSError as error:
        return Outcome(Counts(failed=1), time.monotonic() - begin, "", f"could not start: {error}")
    seconds = time.monotonic() - begin
    if timed_out:
        return Outcome(Counts(failed=1), seconds, output, f"still running after {suite.timeout_s} s, stopped")
    try:
        counts = suite.count(suite, context, code, output)
    except (OSError, ValueError, KeyError) as error:
        return Outcome(Counts(failed=1), seconds, output,
                       f"{_ending(code)} without a readable result ({type(error).__name__}: {error})")
    problem = ""
    if code != 0 and counts.failed == 0:  # a sanitizer's report at exit, a crash after the last test
        counts.failed = 1
        problem = f"{_ending(code)} although no test failed"
    return Outcome(counts, seconds, output, problem)


def stop_everything():
    """Ends the process groups of the suites that are running."""
    with _running_lock:
        groups = list(_running)
    for group in groups:
        _kill_group(group)


def _execute(suite, context):
    command = [part.replace("{result}", str(suite.result_file(context))) for part in suite.command]
    # Output goes to a file: a grandchild that outlives its parent must not keep us waiting for the end of a pipe.
    log = context.scratch / (suite.name.replace("/", "_") + ".log")
    with open(log, "wb") as sink:
        process = subprocess.Popen(command, cwd=context.root, env=context.environment, stdin=subprocess.DEVNULL,
                                   stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
        with _running_lock:
            _running.add(process.pid)
        timed_out = False
        try:
            process.wait(timeout=suite.timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            if process.poll() is None:
                _kill_group(process.pid)
                process.wait()
            with _running_lock:
                _running.discard(process.pid)
    return process.returncode, log.read_text(errors="replace"), timed_out


def _kill_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _ending(code):
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
