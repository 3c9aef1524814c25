"""A platform started by `sluice up --detach` on free ports, for tests that need one; stopped by `sluice down`."""
import contextlib
import os
import re
import subprocess

from support import tree

BINARY = tree.PROGRAM
START_TIMEOUT_S = 120


@contextlib.contextmanager
def running(folder, *arguments):
    """Yields (url, environment): commands run with the environment find this platform and no other."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder), "XDG_RUNTIME_DIR": str(folder),
                   "PATH": f"{BINARY.parent}:{os.environ['PATH']}"}
    up = subprocess.run([str(BINARY), "up", "--detach", "--port", "0", *arguments], env=environment, text=True,
                        capture_output=True, timeout=START_TIMEOUT_S, cwd=tree.ROOT)
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        url = re.search(r"http://[\w.:-]+", up.stdout + up.stderr)
        assert url, f"`sluice up` names no address:\n{up.stdout}{up.stderr}"
        yield url.group(), environment
    finally:
        subprocess.run([str(BINARY), "down"], env=environment, timeout=START_TIMEOUT_S, cwd=tree.ROOT, check=True)
