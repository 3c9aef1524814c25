"""From `sluice up` to the first token, and the size of the program."""
import os
import re
import shutil
import subprocess
import tempfile
import time

from suite.machine import SLUICE, post, spread, table

ROUNDS = 3
BODY = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}


def to_first_token():
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "SLUICE_STATE_DIR": state}
        begin = time.monotonic()
        up = subprocess.run([str(SLUICE), "up", "--detach", "--port", "0"], env=environment, capture_output=True, text=True, check=True)
        try:
            post(re.search(r"http://[\d.:]+", up.stdout + up.stderr).group() + "/v1/chat/completions", BODY)
            return time.monotonic() - begin
        finally:
            subprocess.run([str(SLUICE), "down"], env=environment, check=True, capture_output=True)


def stripped_mib():
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(SLUICE, folder)
        subprocess.run(["strip", copy], check=True)
        return os.path.getsize(copy) / 2**20


def run():
    return "# Start\n\n" + table(["`sluice up` to the first token, s", "program, stripped, MiB"],
                                 [(spread([to_first_token() for _ in range(ROUNDS)], 2), f"{stripped_mib():.1f}")])
