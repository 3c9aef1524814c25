"""A real vLLM (CPU build) and a worker of ours in one pool: what the gateway predicts of both caches is what each reports.

Large (6 GB, minutes), so it runs only when asked for: `make test-vllm`. In every other run it is skipped and counted, and
bytes recorded from a real vLLM (test/golden/vllm/) stand in for it.
"""
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error

import pytest

from support import deadline, kv_events, servers, tree

pytestmark = pytest.mark.skipif(os.environ.get("SLUICE_REAL_VLLM") != "1",
                                reason="NO REAL vLLM WAS TESTED: it needs 6 GB and minutes; run `make test-vllm`")

MODEL = "smollm2"
BLOCK = 32  # vLLM's attention on CPUs wants 32 or a multiple
START_S = 400


class Vllm:
    def __init__(self, folder, ports):
        self.folder, self.ports = folder, ports
        self.address = f"127.0.0.1:{ports[0]}"
        self.url = "http://" + self.address
        self.start()

    def start(self):
        with open(self.folder / "vllm.log", "a") as log:
            self.process = subprocess.Popen([str(tree.ROOT / "tools" / "vllm_cpu.sh"), "serve", str(self.ports[0]),
                                             str(self.ports[1])], stdout=log, stderr=log, start_new_session=True)

        def healthy():
            assert self.process.poll() is None, (self.folder / "vllm.log").read_text()[-3000:]
            try:
                kv_events.post(self.url, "/v1/completions", {"model": MODEL, "prompt": [5], "max_tokens": 1}, timeout=60)
                return True
            except (urllib.error.URLError, OSError):
                return False
        deadline.until(healthy, lambda: "vLLM answers:\n" + (self.folder / "vllm.log").read_text()[-3000:], START_S)

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def two_ports():
    """A free port whose neighbour is free."""
    while True:
        port = kv_events.free_port()
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port + 1))
            return port, port + 1
        except OSError:
            continue


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    subprocess.run([str(tree.ROOT / "tools" / "vllm_cpu.sh"), "install"], check=True)
    events, replay = two_ports()
    vllm_ports = (kv_events.free_port(), events, replay)
    ours = (kv_events.free_port(), kv_events.free_port(), kv_events.free_port())
    vllm = Vllm(folder, vllm_ports)
    try:
        with servers.Servers(folder) as run:
            worker = run.start("worker", "--model", servers.MODEL_FILE, "--served-model-name", MODEL, "--port", ours[0],
                               "--threads", 1, "--block-size", BLOCK, "--num-gpu-blocks-override", 96, "--max-model-len", 1024,
                               *kv_events.events_config(ours[0], MODEL, ours[1], ours[2])).await_ready()
            gateway = run.start("gateway", "--port", 0, "--config-file",
                                kv_events.picker_config(folder / "epp.yaml", block_size=16), "--endpoints-file",
                                kv_events.endpoints_file(folder / "endpoints.yaml", [vllm_ports, ours])).await_ready()
            servers.await_rotation(gateway, [vllm, worker])
            yield gateway, vllm, worker
    finally:
        vllm.stop()


def settle(gateway):
    """Half a second without events, counted from now: those of the latest answer may still be on their way, and what they
    evicted cannot be known before."""
    begin = time.monotonic()
    kv_events.until(gateway, lambda found: time.monotonic() - begin > 0.5 and
                    all(not e["degraded"] and (e["last_event_s"] or 1) > 0.5 for e in found.values()),
                    "events have settled", 60)


def ask(gateway, tokens):
    """(predicted, actual, endpoint)."""
    answer, headers = kv_events.post(gateway.url, "/v1/completions",
                                     {"model": MODEL, "prompt": tokens, "max_tokens": 1, "temperature": 0}, timeout=300)
    receipt = kv_events.receipt(gateway, headers)
    settle(gateway)
    details = answer["usage"].get("prompt_tokens_details") or {}
    return receipt["candidates"][0]["cached"]["predicted_tokens"], details.get("cached_tokens") or 0, receipt["pick"]


def test_predicted_is_actual_on_vllm_and_on_our_worker(mixed):
    gateway, vllm, worker = mixed
    settle(gateway)
    rng = random.Random(11)
    prefixes = [[rng.randrange(1000, 40_000) for _ in range(320)] for _ in range(12)]  # 120 blocks; either holds 95
    outcomes = []

    def some(count):
        for _ in range(count):
            tail = [rng.randrange(1000, 40_000) for _ in range(rng.choice([0, 1, 20, 40]))]
            outcomes.append(ask(gateway, rng.choice(prefixes) + tail))
    some(50)
    served = {address for _, _, address in outcomes}
    assert served == {vllm.address, worker.address}, "both were asked"
    kv_events.post(vllm.url, "/v1/completions", {"model": MODEL, "prompt": prefixes[0] + [7, 8], "max_tokens": 1}, 300)
    reset = subprocess.run(["curl", "-sf", "-X", "POST", vllm.url + "/reset_prefix_cache"], capture_output=True, check=False)
    assert reset.returncode == 0
    # A reset is said with the engine's next step.
    kv_events.post(vllm.url, "/v1/completions", {"model": MODEL, "prompt": [9] * 40, "max_tokens": 1}, 300)
    kv_events.until(gateway, lambda found: found[vllm.address]["entries"] <= 4, "the reset was heard")
    some(20)
    vllm.stop()
    vllm.start()
    servers.await_rotation(gateway, [vllm, worker])
    settle(gateway)
    some(20)
    wrong = [o for o in outcomes if o[0] != o[1]]
    repeated = sum(o[1] > 0 for o in outcomes)
    print(json.dumps({"asked": len(outcomes), "repeated": repeated, "wrong": wrong}))
    assert repeated > 30
    assert len(wrong) <= len(outcomes) // 100, wrong
