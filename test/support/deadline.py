"""Waiting for something with a limit, instead of sleeping and hoping."""
import time


def until(condition, what, seconds=60):
    """Asks `condition` again and again; its first true answer. Fails with `what` when there is none in time."""
    last = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < last, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.02)
