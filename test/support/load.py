"""Requests to a server under test, one or many at a time, with what came of each; and bytes that no client would send."""
import concurrent.futures
import dataclasses
import itertools
import json
import pathlib
import socket
import subprocess
import threading
import time

import httpx

from support import deadline

TIMEOUT_S = 60


@dataclasses.dataclass
class Outcome:
    began: float
    ended: float = 0.0
    status: int = 0
    endpoint: str = ""  # who answered, as the gateway says
    text: str = ""
    done: bool = False  # a stream came to its [DONE], a plain answer was whole
    error: str = ""     # an error event, an error body, or a cut connection

    @property
    def ok(self):
        return self.status == 200 and self.done and not self.error


def completion(words, stream=False, **more):
    return {"model": "echo", "prompt": words, "stream": stream, **more}


def ask(client, url, body):
    """POSTs to /v1/completions. A broken connection is an outcome too; only a hang raises (httpx.TimeoutException)."""
    outcome = Outcome(began=time.monotonic())
    try:
        with client.stream("POST", url + "/v1/completions", json=body) as answer:
            outcome.status = answer.status_code
            outcome.endpoint = answer.headers.get("x-gateway-destination-endpoint-served", "")
            kind = answer.headers.get("content-type", "")
            if kind.startswith("text/event-stream"):
                for line in answer.iter_lines():
                    _read_event(line, outcome)
            elif kind.startswith("application/json"):
                _read_plain(answer.read(), outcome)
            else:  # a proxy's own
                outcome.error = answer.read().decode() or "an empty answer"
    except (httpx.NetworkError, httpx.ProtocolError) as error:
        outcome.error = f"{type(error).__name__}: {error}"
    outcome.ended = time.monotonic()
    return outcome


def _read_event(line, outcome):
    if line == "data: [DONE]":
        outcome.done = True
    elif line.startswith("data: "):
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            outcome.error = event["error"]["message"]
        else:
            outcome.text += "".join(choice["text"] for choice in event["choices"])


def _read_plain(body, outcome):
    answer = json.loads(body)
    outcome.done = True
    if "error" in answer:
        outcome.error = answer["error"]["message"]
    else:
        outcome.text = answer["choices"][0]["text"]


def many(url, bodies, at_once, on_done=lambda n: None):
    """Sends all bodies, `at_once` at a time; their outcomes. `on_done(n)` hears of each end, in a sender's thread."""
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    outcomes = []
    with httpx.Client(timeout=TIMEOUT_S, limits=limits) as client, \
            concurrent.futures.ThreadPoolExecutor(max_workers=at_once) as pool:
        for future in concurrent.futures.as_completed([pool.submit(ask, client, url, body) for body in bodies]):
            outcomes.append(future.result())
            on_done(len(outcomes))
    return outcomes


class Steady:
    """Clients that ask without a pause: some on connections that they keep, some on a new one each time."""

    def __init__(self, url, kept, fresh, verify=True):
        self.outcomes, self._stopped = [], threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(kept + fresh)
        self._clients = [self._pool.submit(self._ask, url, number < kept, verify) for number in range(kept + fresh)]

    def _ask(self, url, keep, verify):
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        with httpx.Client(timeout=TIMEOUT_S, limits=limits, verify=verify) as client:
            for number in itertools.count():
                if self._stopped.is_set():
                    return
                body = completion(f"{number} to be or not to be that is the question", stream=number % 2 == 0, max_tokens=8)
                self.outcomes.append(ask(client, url, body))

    def reach(self, count):
        deadline.until(lambda: len(self.outcomes) >= count, f"{count} requests", 120)

    def stop(self):
        self._stopped.set()
        for client in self._clients:
            client.result()
        return self.outcomes


class SteadyHttp2:
    """The same over HTTP/2, many requests at once on a connection, by a client that follows GOAWAY (http2_load.mjs)."""

    def __init__(self, url, kept, streams, fresh, max_tokens, ca_file=None):
        arguments = [url, kept, streams, fresh, max_tokens, *([ca_file] if ca_file else [])]
        self.outcomes = []
        self._process = subprocess.Popen(["node", pathlib.Path(__file__).with_name("http2_load.mjs"), *map(str, arguments)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.outcomes.append(json.loads(line))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def reach(self, count):
        deadline.until(lambda: len(self.outcomes) >= count, lambda: f"{count} requests, not {len(self.outcomes)}", 120)

    def stop(self):
        self._process.stdin.close()
        assert self._process.wait(TIMEOUT_S) == 0
        self._reader.join()
        return self.outcomes


def connect(server):
    return socket.create_connection((server.host, server.port), timeout=TIMEOUT_S)


def request_bytes(body, path="/v1/completions"):
    text = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            f"content-length: {len(text)}\r\n\r\n").encode() + text


def until_close(link):
    """What comes until the other side closes. A reset after some bytes is a close too."""
    data = b""
    try:
        while piece := link.recv(65536):
            data += piece
    except ConnectionResetError:
        assert data, "reset without an answer"
    return data


def send_raw(server, data):
    """Status and body of the answer to these bytes; the server must close after it."""
    with connect(server) as link:
        link.sendall(data)
        head, _, body = until_close(link).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body.decode()


def from_chunks(data):
    """The body of a chunked answer, whose chunks must be whole."""
    at, body = 0, bytearray()
    while True:
        end = data.index(b"\r\n", at)
        size = int(data[at:end], 16)
        at = end + 2 + size + 2
        assert data[at - 2:at] == b"\r\n", "a chunk is cut"
        if size == 0:
            assert at == len(data), "bytes after the last chunk"
            return bytes(body)
        body += data[end + 2:at - 2]
