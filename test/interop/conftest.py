"""One platform for all files of this folder: `sluice up` with its built-in manifest, two workers with the real model."""
import json
import subprocess

import pytest

from support import deadline, platform, servers, tree


class Platform:
    def __init__(self, url, environment):
        self.url = url
        self.environment = environment
        self.state = self.command("get", "-o", "json")
        self.model = self.state["services"][0]["model"]
        self.gateway_log = self.state["gateway"]["log"]
        self.worker_urls = {e["endpoint"]: "http://" + e["endpoint"] for e in self.state["endpoints"]}
        self.worker_logs = {e["endpoint"]: e["log"] for e in self.state["endpoints"]}

    def command(self, *arguments):
        done = subprocess.run([str(tree.PROGRAM), *arguments], env=self.environment, capture_output=True, text=True,
                              timeout=60, check=True)
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def up(tmp_path_factory):
    with platform.running(tmp_path_factory.mktemp("platform")) as (url, environment):
        running = Platform(url, environment)
        deadline.until(lambda: all(e["in_rotation"] for e in running.command("get", "-o", "json")["endpoints"]),
                       "both workers are in the gateway's rotation")
        yield running


@pytest.fixture(scope="session")
def narrow(tmp_path_factory):
    """A worker of its own with the real model that computes one request, lets one wait, and asks for a key."""
    with servers.Servers(tmp_path_factory.mktemp("narrow")) as run:
        yield run.worker("--max-num-seqs", 1, "--max-waiting-requests", 1, "--max-model-len", 1024, "--api-key",
                         "a-key", "--api-key", "another-key")
