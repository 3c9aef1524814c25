"""`sluice up`, `get` and `down` with the real program: workers with the packaged model, a gateway, a supervisor."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import urllib.request

import pytest

from support import deadline, tree

BINARY = os.environ.get("SLUICE_BIN", str(tree.BUILD / "bin" / "sluice"))
TIMEOUT_S = 120

MANIFEST = """
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: tiny}
spec:
  model: {uri: "file://SmolLM2-135M-Instruct.Q4_1.gguf", name: tiny-model}
  replicas: 1
  template:
    containers:
    - name: main
      args: ["--max-model-len=512"]
"""


class Sluice:
    """Commands that see the platforms of one test only."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "SLUICE_STATE_DIR": str(folder / "state")}

    def run(self, *arguments, text=None):
        return subprocess.run([BINARY, *arguments], env=self.environment, capture_output=True, text=True, input=text,
                              timeout=TIMEOUT_S, cwd=tree.ROOT)

    def start(self, *arguments):
        log = open(self.folder / "up.out", "w")
        return subprocess.Popen([BINARY, "up", *arguments], env=self.environment, stdout=log, stderr=log,
                                stdin=subprocess.DEVNULL, cwd=tree.ROOT)

    def said(self):
        return (self.folder / "up.out").read_text()

    def up(self, *arguments):
        done = self.run("up", "--detach", "--port", "0", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.get()

    def get(self):
        done = self.run("get", "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def processes(self):
        """Every process that this test's platforms have: they alone carry its state folder in their environment."""
        mark = ("SLUICE_STATE_DIR=" + self.environment["SLUICE_STATE_DIR"]).encode()
        found = []
        for folder in pathlib.Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue  # it has ended, or is another user's
        return found


@pytest.fixture
def sluice(tmp_path):
    program = Sluice(tmp_path)
    yield program
    for pid in program.processes():
        os.kill(pid, signal.SIGKILL)


def ask(url, path, body=None):
    request = urllib.request.Request(url + path, data=json.dumps(body).encode() if body else None,
                                     headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def test_a_detached_platform_answers_shows_itself_and_leaves_nothing(sluice):
    state = sluice.up()
    assert state["phase"] == "ready"
    assert [e["state"] for e in state["endpoints"]] == ["ready", "ready"]
    assert state["services"][0]["ready"] == 2
    assert len(sluice.processes()) == 4

    model = state["services"][0]["model"]
    answer = ask(state["url"], "/v1/chat/completions",
                 {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4})
    assert answer["usage"]["completion_tokens"] > 0
    def idle():
        now = sluice.get()["endpoints"]  # the gateway's numbers are as old as its last scrape
        return all(e["kv_use"] is not None and e["running"] == 0 and e["waiting"] == 0 for e in now) and now

    known = deadline.until(idle, lambda: sluice.run("get").stdout)
    assert {e["in_rotation"] for e in known} == {True}

    table = sluice.run("get").stdout
    assert "SERVICE" in table and "KV-USE" in table and state["endpoints"][0]["endpoint"] in table
    assert "endpoints:" in sluice.run("get", "-o", "yaml").stdout

    down = sluice.run("down")
    assert down.returncode == 0, down.stderr
    assert "stopped" in down.stdout
    deadline.until(lambda: not sluice.processes(), lambda: f"processes left: {sluice.processes()}")
    for command in ("get", "down"):
        again = sluice.run(command)
        assert again.returncode == 1
        assert "no platform is running" in again.stderr


def test_a_killed_worker_is_started_again_and_counted(sluice):
    state = sluice.up()
    first = state["endpoints"][0]
    os.kill(first["pid"], signal.SIGKILL)

    def back():
        now = sluice.get()["endpoints"][0]
        return now if now["restarts"] == 1 and now["state"] == "ready" else None

    now = deadline.until(back, lambda: sluice.run("get").stdout)
    assert now["pid"] != first["pid"]
    assert now["endpoint"] == first["endpoint"]
    assert now["last_end"] == "killed by signal 9 (SIGKILL)"
    assert "killed by signal 9" in (pathlib.Path(now["log"]).parent / "up.log").read_text()
    assert sluice.get()["endpoints"][1]["restarts"] == 0


def test_a_killed_gateway_is_started_again_on_its_port(sluice):
    state = sluice.up("--replicas", "1")
    os.kill(state["gateway"]["pid"], signal.SIGKILL)
    now = deadline.until(lambda: (g := sluice.get()["gateway"])["restarts"] == 1 and g["state"] == "ready" and g,
                         lambda: sluice.run("get").stdout)
    assert now["address"] == state["gateway"]["address"]
    assert ask(state["url"], "/v1/models")["data"]


def test_in_the_foreground_ctrl_c_drains_and_ends_with_0(sluice):
    up = sluice.start("--port", "0", "--replicas", "1")
    deadline.until(lambda: "stop: Ctrl-C" in sluice.said() or up.poll() is not None, sluice.said)
    assert up.poll() is None, sluice.said()
    up.send_signal(signal.SIGINT)
    assert up.wait(TIMEOUT_S) == 0
    assert "draining" in sluice.said()
    deadline.until(lambda: not sluice.processes(), lambda: f"processes left: {sluice.processes()}")


def test_a_killed_supervisor_leaves_no_process(sluice):
    state = sluice.up("--replicas", "1")
    os.kill(state["supervisor"]["pid"], signal.SIGKILL)
    deadline.until(lambda: not sluice.processes(), lambda: f"processes left: {sluice.processes()}")
    get = sluice.run("get", "--port", state["url"].rsplit(":", 1)[1])
    assert get.returncode == 1
    assert "was killed" in get.stderr


def test_a_second_up_on_the_port_says_who_has_it(sluice):
    state = sluice.up("--replicas", "1")
    port = state["url"].rsplit(":", 1)[1]
    second = sluice.run("up", "--port", port)
    assert second.returncode == 1
    assert f"already running on port {port} (pid {state['supervisor']['pid']})" in second.stderr
    assert "sluice down" in second.stderr


def test_a_port_of_another_program_is_said(sluice):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        up = sluice.run("up", "--port", str(port))
    assert up.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in up.stderr


def test_two_models_behind_one_gateway_come_from_one_file(sluice):
    manifest = sluice.folder / "two.yaml"
    manifest.write_text(MANIFEST + "---" + MANIFEST.replace("tiny", "small"))
    state = sluice.up("-f", str(manifest))
    assert [s["name"] for s in state["services"]] == ["tiny", "small"]
    models = deadline.until(lambda: {m["id"] for m in ask(state["url"], "/v1/models")["data"]}, "models are listed")
    assert models == {"tiny-model", "small-model"}
    for model in models:
        assert ask(state["url"], "/v1/completions", {"model": model, "prompt": "a", "max_tokens": 1})["model"] == model


def test_a_manifest_with_mistakes_names_all_of_them(sluice):
    bad = MANIFEST.replace("replicas: 1", "replica: 1").replace("model: {uri", "model: {url")
    done = sluice.run("up", "-f", "-", text=bad)
    assert done.returncode == 2
    assert "spec.replica" in done.stderr and "did you mean 'replicas'?" in done.stderr
    assert "spec.model.url" in done.stderr and "did you mean 'uri'?" in done.stderr


def test_a_model_that_cannot_be_had_names_field_and_places(sluice):
    missing = sluice.run("up", "-f", "-", text=MANIFEST.replace("SmolLM2-135M-Instruct.Q4_1", "none"))
    assert missing.returncode == 2
    assert "spec.model.uri" in missing.stderr and "none.gguf" in missing.stderr and "looked for" in missing.stderr
    remote = sluice.run("up", "-f", "-", text=MANIFEST.replace("file://", "hf://"))
    assert remote.returncode == 2
    assert "hf://" in remote.stderr and "file://" in remote.stderr


def test_a_corrupt_model_file_ends_up_with_the_workers_own_words(sluice):
    model = sluice.folder / "broken.gguf"
    model.write_bytes(b"GGUF" + bytes(100))
    done = sluice.run("up", "--detach", "--port", "0", "--replicas", "1", "--model", str(model))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "broken-0 could not start: exit code 2" in done.stderr
    assert "broken.gguf" in done.stderr and "logs/broken-0.log" in done.stderr
    assert not sluice.processes()


def test_a_worker_flag_that_does_not_exist_is_the_callers_mistake(sluice):
    done = sluice.run("up", "--port", "0", "-f", "-", text=MANIFEST.replace("--max-model-len", "--max-modle-len"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "did you mean '--max-model-len'" in done.stderr
    assert not sluice.processes()


def test_the_built_in_manifest_is_shown_and_reads_back(sluice):
    shown = sluice.run("up", "--print-manifest")
    assert shown.returncode == 0
    assert "kind: LLMInferenceService" in shown.stdout
    missing = sluice.run("up", "-f", "-", text=shown.stdout.replace("SmolLM2-135M-Instruct.Q4_1", "none"))
    assert "none.gguf" in missing.stderr, "everything but the model's file was accepted"
