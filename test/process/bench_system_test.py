"""bench/run.py system with our own programs only: it starts, counts and writes its tables, so that it works on the day it is
wanted. The peers are not needed, and no figure is judged."""
import json
import re
import subprocess
import sys

import pytest

from support import tree

pytestmark = pytest.mark.skipif(tree.BUILD != tree.ROOT / "build" / "release", reason="it measures build/release")


def test_a_small_part_runs():
    run = subprocess.run([sys.executable, "bench/run.py", "system", "--only", "sluice,sluice-prefix", "--scenarios",
                          "plain,stream,latency,idle", "--rounds", "1", "--seconds", "0.3"], cwd=tree.ROOT, capture_output=True,
                         text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "FAILED" not in run.stdout and "LEFT OUT" not in run.stdout, run.stdout
    for heading in ("## Goals", "## Plain requests", "## Streams of 200 tokens", "## Added latency", "## Idle, 100 endpoints"):
        assert heading in run.stdout
    rows = re.findall(r"^\| sluice gateway, (?:round robin|prefix-aware) \|.*", run.stdout, re.MULTILINE)
    assert len(rows) == 7, rows


def test_the_driver_counts_what_the_engine_sent_and_refuses_less():
    bench = tree.BUILD / "bench"
    with subprocess.Popen([bench / "fake_engine", "0", "57"], stdout=subprocess.PIPE, text=True) as engine:
        try:
            port = engine.stdout.readline().strip()

            def drive(tokens):
                done = subprocess.run([bench / "load_driver", f"127.0.0.1:{port}", "--connections", "3", "--requests", "20", "--seconds",
                                       "30", "--stream", "--tokens", str(tokens)], capture_output=True, text=True, timeout=60, check=True)
                return json.loads(done.stdout)

            whole, short = drive(57), drive(60)
            assert (whole["completed"], whole["failures"]) == (20, {})
            assert whole["events"] == 20 * (57 + 2), "its tokens, the last one with the usage, and [DONE]"
            assert (short["completed"], short["failures"]) == (0, {"a stream with 59 events": 20})
        finally:
            engine.terminate()
