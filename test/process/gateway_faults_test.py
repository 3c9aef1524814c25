"""A real gateway before real workers (without a model: they repeat the prompt) when something breaks."""
import asyncio
import json
import pathlib
import re
import socket
import subprocess
import threading
import time

import httpx
import pytest

from support import deadline, load, servers, tree

BODY_BYTES_MAX = 200_000
WORDS = "to be or not to be that is the question whether it is nobler in the mind to suffer"


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two workers and a gateway that no test of this module harms."""
    with servers.Servers(tmp_path_factory.mktemp("site")) as started:
        workers = [started.echo(delay_ms=5), started.echo(delay_ms=5)]
        gateway = started.gateway(*workers, arguments=["--max-body-bytes", BODY_BYTES_MAX])
        yield gateway, workers


def numbered(n, **more):
    return [load.completion(f"request {i} {WORDS}", stream=i % 2 == 0, max_tokens=40, **more) for i in range(n)]


def idle(workers):
    deadline.until(lambda: all(w.running() == 0 for w in workers), "no worker computes anything", 20)


def test_a_worker_killed_under_load_takes_with_it_only_what_it_was_answering(run):
    victim, other = run.echo(delay_ms=4), run.echo(delay_ms=4)
    gateway = run.gateway(victim, other)
    killed_at = []

    def kill(done):
        if done == 60:
            killed_at.append(time.monotonic())
            victim.kill()

    outcomes = load.many(gateway.url, numbered(200), 16, on_done=kill)
    lost = [o for o in outcomes if not o.ok]
    for outcome in lost:
        assert outcome.error, outcome
        assert outcome.began < killed_at[0] < outcome.ended, outcome
        assert outcome.endpoint in ("", victim.address), outcome
    assert len(lost) <= 16
    assert len(outcomes) == 200
    after = [o for o in outcomes if o.began > killed_at[0] + 1]
    assert all(o.endpoint == other.address for o in after)
    assert gateway.in_rotation() == {other.address}

    again = run.echo(delay_ms=4, port=victim.port)
    servers.await_rotation(gateway, [again, other])
    served = {o.endpoint for o in load.many(gateway.url, numbered(16), 16) if o.ok}
    assert served == {again.address, other.address}


def test_a_stream_cut_by_a_worker_s_death_ends_with_an_error_event(run):
    worker = run.echo(delay_ms=20)
    gateway = run.gateway(worker)
    body = load.completion(WORDS, stream=True, max_tokens=4000, ignore_eos=True)
    events = []
    with httpx.stream("POST", gateway.url + "/v1/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if line:
                events.append(line)
            if len(events) == 3:
                worker.kill()
    assert events[-1] == "data: [DONE]"
    error = json.loads(events[-2].removeprefix("data: "))["error"]
    assert worker.address in error["message"]
    assert error["code"] >= 500


def test_with_no_worker_left_the_answer_is_an_error_at_once(run):
    worker = run.echo()
    gateway = run.gateway(worker)
    worker.kill()
    answer = httpx.post(gateway.url + "/v1/completions", json=load.completion("a b"), timeout=10)
    assert answer.status_code in (502, 503)
    assert worker.address in answer.json()["error"]["message"] or "endpoint" in answer.json()["error"]["message"]
    deadline.until(lambda: httpx.get(gateway.url + "/ready").status_code == 503, "the gateway is not ready", 10)
    assert httpx.get(gateway.url + "/health").status_code == 200


def test_sigterm_lets_a_stream_finish_and_ends_with_0(run):
    gateway = run.gateway(run.echo(delay_ms=10))
    outcomes = []
    body = load.completion(WORDS, stream=True, max_tokens=100, ignore_eos=True)
    with httpx.Client(timeout=60) as client:
        sender = threading.Thread(target=lambda: outcomes.append(load.ask(client, gateway.url, body)))
        sender.start()
        deadline.until(lambda: run.started[0].running() == 1, "the request is running", 10)
        code = gateway.stop()
        sender.join()
    assert code == 0, gateway.said()
    assert outcomes[0].ok, outcomes
    assert gateway.lines("draining") and gateway.lines("stopped", "connections_cut=0")
    with pytest.raises(OSError):
        load.connect(gateway)


def endpoints_yaml(workers):
    return "endpoints:\n" + "".join(f'- {{name: "w{w.port}", address: "{w.host}", port: "{w.port}"}}\n'
                                    for w in workers)


def test_traffic_follows_the_endpoints_file_without_a_lost_request(run, tmp_path):
    first, second = run.echo(delay_ms=2), run.echo(delay_ms=2)
    file = tmp_path / "endpoints.yaml"

    def write(workers):
        fresh = tmp_path / "fresh.yaml"
        fresh.write_text(endpoints_yaml(workers))
        fresh.rename(file)

    write([first])
    gateway = run.gateway(arguments=["--endpoints-file", file])
    servers.await_rotation(gateway, [first])
    turns = {40: [first, second], 80: [second], 120: [first]}
    outcomes = load.many(gateway.url, numbered(160), 8, on_done=lambda n: n in turns and write(turns[n]))
    assert [o for o in outcomes if not o.ok] == []
    servers.await_rotation(gateway, [first])
    write([first, second])
    servers.await_rotation(gateway, [first, second])
    write([second])
    servers.await_rotation(gateway, [second])
    assert {o.endpoint for o in load.many(gateway.url, numbered(8), 4)} == {second.address}

    file.write_text("endpoints: [{name: half")
    deadline.until(lambda: gateway.lines("endpoints.yaml", "warn") or gateway.lines("endpoints.yaml", "error"),
                   gateway.said, 10)
    assert all(o.ok for o in load.many(gateway.url, numbered(8), 4))
    assert gateway.in_rotation() == {second.address}


def test_a_client_that_leaves_frees_the_worker(site):
    gateway, workers = site
    body = load.completion(WORDS, stream=True, max_tokens=20000, ignore_eos=True)
    with httpx.stream("POST", gateway.url + "/v1/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()  # kept: when the iterator goes, so does the connection
        next(lines)
        assert sum(w.running() for w in workers) == 1
    idle(workers)
    deadline.until(lambda: gateway.lines("client left"), "the gateway logs it", 10)


def test_a_client_that_leaves_before_the_answer_frees_the_worker(site):
    gateway, workers = site
    with load.connect(gateway) as link:
        link.sendall(load.request_bytes(load.completion(WORDS, max_tokens=20000, ignore_eos=True)))
        deadline.until(lambda: sum(w.running() for w in workers) == 1, "the request is running", 10)
    idle(workers)


def test_a_half_closed_client_counts_as_gone(site):
    gateway, workers = site
    with load.connect(gateway) as link:
        link.sendall(load.request_bytes(load.completion(WORDS, stream=True, max_tokens=20000, ignore_eos=True)))
        assert link.recv(1)
        link.shutdown(socket.SHUT_WR)
        idle(workers)
        load.until_close(link)


def memory_kib(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def test_a_slow_client_disturbs_no_one_and_gets_everything(run):
    worker = run.echo()
    gateway = run.gateway(worker)
    load.many(gateway.url, numbered(8), 8)
    before = memory_kib(gateway)
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(60)
        link.connect((gateway.host, gateway.port))
        # Several times what the sockets between worker and client hold: the gateway has to wait for its client.
        tokens = 25_000
        link.sendall(load.request_bytes(load.completion(WORDS, stream=True, max_tokens=tokens, ignore_eos=True,
                                                        logprobs=20)))
        outcomes = load.many(gateway.url, numbered(32), 8)
        assert [o for o in outcomes if not o.ok] == []
        deadline.until(lambda: worker.running() == 0, "the worker has done its part", 30)
        assert memory_kib(gateway) - before < 8 * 1024, "it keeps what its client does not read in the worker's socket"
        assert not gateway.lines("client left")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        data = bytearray()
        while not data.endswith(b"\r\n0\r\n\r\n"):
            piece = link.recv(1 << 16)
            assert piece, "cut"
            data += piece
    events = load.from_chunks(bytes(data).partition(b"\r\n\r\n")[2]).decode().split("\n\n")
    assert len(data) > 8 << 20
    assert events[-2:] == ["data: [DONE]", ""]
    choices = [c for e in events[:-2] for c in json.loads(e.removeprefix("data: "))["choices"]]
    assert sum(len(c["logprobs"]["tokens"]) for c in choices if c["logprobs"]) == tokens


def test_bad_bytes_get_their_own_answers(site):
    gateway, workers = site
    assert load.send_raw(gateway, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 what is this\r\n\r\n")[0] == 400
    assert load.send_raw(gateway, b"GET / HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 200_000 + b"\r\n\r\n")[0] == 431
    many = b"".join(b"x-%d: 1\r\n" % i for i in range(5000))
    assert load.send_raw(gateway, b"GET / HTTP/1.1\r\nhost: x\r\n" + many + b"\r\n")[0] == 431
    assert load.send_raw(gateway, b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n"
                                  b"content-length: 2\r\n\r\nab")[0] == 400
    status, body = load.send_raw(gateway, load.request_bytes(load.completion("a" * BODY_BYTES_MAX)))
    assert status == 413
    assert json.loads(body)["error"]["code"] == 413
    assert all(o.ok for o in load.many(gateway.url, numbered(4), 2)), "and it goes on"


@pytest.mark.parametrize("body, status, words", [
    (b"{", 400, "JSON"),
    (b"[1,2]", 400, "object"),
    (b'{"model":"echo","prompt":{"a":1}}', 400, "prompt"),
    (b'{"model":"echo","prompt":"a","max_tokens":"many"}', 400, "max_tokens"),
    (b'{"model":"echo","prompt":"a","temperature":"hot"}', 400, "temperature"),
    (b'{"model":"no-such","prompt":"a"}', 404, "no-such"),
    (b'{"model":7,"prompt":"a"}', 400, "model"),
    (b'{"model":"echo","prompt":[1,2,3],"max_tokens":99999}', 400, "max_tokens"),
    (b'{"model":"echo","prompt":"\xff\xfe"}', 400, "UTF-8"),
    (b"[" * 100_000, 400, ""),
])
def test_bad_requests_get_vllms_envelope(site, body, status, words):
    answer = httpx.post(site[0].url + "/v1/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == status
    assert words in error["message"]


async def _stream(host, port, body):
    """One stream over a bare connection; the number of its events and whether it came to its end."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(load.request_bytes(body))
        data = b""
        while not data.endswith(b"\r\n0\r\n\r\n"):
            piece = await reader.read(65536)
            if not piece:
                break
            data += piece
        return data.count(b"data: "), b"data: [DONE]\n\n" in data and data.endswith(b"\r\n0\r\n\r\n")
    finally:
        writer.close()


def test_300_streams_at_once_all_complete(site):
    gateway, workers = site
    body = load.completion(WORDS, stream=True, max_tokens=50, ignore_eos=True)

    async def all_of_them():
        return await asyncio.wait_for(
            asyncio.gather(*(_stream(gateway.host, gateway.port, body) for _ in range(300))), 60)

    ends = asyncio.run(all_of_them())
    assert len(ends) == 300
    assert [e for e in ends if not e[1]] == []
    idle(workers)


def run_once(*arguments):
    return subprocess.run([str(tree.PROGRAM), *map(str, arguments)], capture_output=True, text=True, timeout=30,
                          cwd=tree.ROOT)


def test_a_taken_port_is_said(site):
    done = run_once("gateway", "--port", site[0].port, "--endpoint", site[1][0].address)
    assert done.returncode == 1
    assert f"port {site[0].port} on 127.0.0.1 is taken" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sluice: "), done.stderr


@pytest.mark.parametrize("arguments, words", [
    (["--endpiont", "127.0.0.1:1"], "did you mean '--endpoint'?"),
    (["--endpoint", "nowhere"], "nowhere"),
    (["--port", "eighty"], "--port"),
    (["--config-file", "no-such-file.yaml"], "no-such-file.yaml"),
    (["--max-tries", "0"], "--max-tries"),
])
def test_a_mistaken_flag_is_named_and_ends_with_2(arguments, words):
    done = run_once("gateway", *arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
