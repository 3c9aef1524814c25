"""Single processes of the program, `sluice worker` and `sluice gateway`, for tests that fault them one by one.

`with servers.Servers(folder) as run:` gives `run.worker(...)`, `run.gateway(...)`; whatever was started is gone when
the block ends, also when the test failed.
"""
import json
import re
import signal
import subprocess
import urllib.request

from support import deadline, tree

MODEL_FILE = tree.ROOT / "build" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
START_TIMEOUT_S = 60
_READY = re.compile(r"(?:ready|listening) url=(https?://(\S+):(\d+))")


class Server:
    """A process that has said where it listens."""

    def __init__(self, arguments, log):
        self.log = log
        with open(log, "w") as sink:
            self.process = subprocess.Popen([str(tree.PROGRAM), *arguments], stdin=subprocess.DEVNULL, stdout=sink,
                                            stderr=sink, cwd=tree.ROOT)

    def await_ready(self):
        def ready():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said()}"
            return _READY.search(self.said())
        found = deadline.until(ready, lambda: f"it says where it listens:\n{self.said()}", START_TIMEOUT_S)
        self.url, self.host, self.port = found.group(1), found.group(2), int(found.group(3))
        self.address = f"{self.host}:{self.port}"
        return self

    def said(self):
        return self.log.read_text(errors="replace")

    def lines(self, *words):
        """Lines of its log that hold all the words."""
        return [line for line in self.said().splitlines() if all(word in line for word in words)]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30):
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def get_json(self, path):
        return json.loads(self.get(path))

    def in_rotation(self):
        """Addresses that a gateway sends requests to."""
        return {e["address"] for p in self.get_json("/debug/endpoints")["pools"] for e in p["endpoints"]
                if e["in_rotation"]}

    def running(self):
        """Requests that a worker computes or keeps waiting, by its own metrics."""
        found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)$", self.get("/metrics"), re.MULTILINE)
        assert len(found) >= 2
        return sum(map(float, found))


class Servers:
    def __init__(self, folder):
        self.folder = folder
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.started:
            if server.process.poll() is None:
                server.process.kill()
        for server in self.started:
            server.process.wait()

    def start(self, *arguments):
        server = Server([str(a) for a in arguments], self.folder / f"{len(self.started)}-{arguments[0]}.log")
        self.started.append(server)
        return server

    def echo(self, *arguments, delay_ms=0, port=0):
        """A worker without a model, which repeats the prompt: as many tokens as it has bytes or words, one a delay."""
        return self.start("worker", "--engine", "echo", "--served-model-name", "echo", "--port", port,
                          "--echo-delay-ms", delay_ms, *arguments).await_ready()

    def worker(self, *arguments):
        """A worker with the packaged model."""
        return self.start("worker", "--model", MODEL_FILE, "--served-model-name", "smollm2", "--port", 0,
                          *arguments).await_ready()

    def gateway(self, *endpoints, arguments=()):
        """A gateway before these servers, once it knows that they answer."""
        server = self.start("gateway", "--port", 0, *(f"--endpoint={e.address}" for e in endpoints),
                            *arguments).await_ready()
        if endpoints:
            await_rotation(server, endpoints)
        return server


def await_rotation(gateway, endpoints):
    """Until the gateway sends requests to exactly these servers, and knows their models."""
    wanted = {e.address for e in endpoints}

    def there():
        known = {e["address"] for p in gateway.get_json("/debug/endpoints")["pools"] for e in p["endpoints"]
                 if e["in_rotation"] and e["models"]}
        return known == wanted
    deadline.until(there, lambda: f"{wanted} in rotation:\n{gateway.get('/debug/endpoints')}\n{gateway.said()}", 30)
