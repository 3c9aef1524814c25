"""A gateway replaced under load by another on the same port: no request fails, whoever it meets on the way."""
import concurrent.futures
import itertools
import ssl
import threading

import httpx
import pytest

from support import certificates, deadline, load, servers

WORDS = "to be or not to be that is the question"


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


def beside(run, port, worker, *arguments):
    """One more gateway on the port."""
    return run.start("gateway", "--port", port, "--reuse-port", f"--endpoint={worker.address}", *arguments).await_ready()


class Load:
    """Clients that ask without a pause: some on connections that they keep, some on a new one each time."""

    def __init__(self, url, kept, fresh, verify=True):
        self.outcomes, self._stopped = [], threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(kept + fresh)
        self._clients = [self._pool.submit(self._ask, url, number < kept, verify) for number in range(kept + fresh)]

    def _ask(self, url, keep, verify):
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        with httpx.Client(timeout=load.TIMEOUT_S, limits=limits, verify=verify) as client:
            for number in itertools.count():
                if self._stopped.is_set():
                    return
                body = load.completion(f"{number} {WORDS}", stream=number % 2 == 0, max_tokens=8)
                self.outcomes.append(load.ask(client, url, body))

    def reach(self, count):
        deadline.until(lambda: len(self.outcomes) >= count, f"{count} requests", 120)

    def stop(self):
        self._stopped.set()
        for client in self._clients:
            client.result()
        return self.outcomes


@pytest.mark.parametrize("encrypted", [False, True])
def test_three_restarts_under_load_lose_no_request(run, tmp_path, encrypted):
    worker = run.echo(delay_ms=1)
    arguments, verify = [], True
    if encrypted:
        pair = certificates.make(tmp_path)
        arguments = ["--tls-cert", pair.certificate, "--tls-key", pair.key]
        verify = ssl.create_default_context(cafile=pair.certificate)
    gateway = beside(run, 0, worker, *arguments)
    clients = Load(gateway.url, kept=6, fresh=6, verify=verify)
    for restart in range(3):
        clients.reach(200 * (restart + 1))
        successor = beside(run, gateway.port, worker, *arguments)
        assert gateway.stop(60) == 0
        assert gateway.lines("stopped", "connections_cut=0"), gateway.said()
        gateway = successor
    clients.reach(len(clients.outcomes) + 200)
    failed = [outcome for outcome in clients.stop() if not outcome.ok]
    assert not failed, failed[:3]
    assert gateway.stop() == 0


def test_a_restart_that_is_taken_back_loses_no_request(run):
    worker = run.echo(delay_ms=1)
    gateway = beside(run, 0, worker)
    clients = Load(gateway.url, kept=3, fresh=3)
    clients.reach(100)
    successor = beside(run, gateway.port, worker)
    clients.reach(len(clients.outcomes) + 100)
    assert successor.stop(60) == 0
    clients.reach(len(clients.outcomes) + 200)
    failed = [outcome for outcome in clients.stop() if not outcome.ok]
    assert not failed, failed[:3]


def test_without_the_flag_the_port_is_taken(run):
    worker = run.echo()
    gateway = run.gateway(worker, arguments=["--reuse-port"])
    second = run.start("gateway", "--port", gateway.port, f"--endpoint={worker.address}")
    assert second.process.wait(30) == 1, second.said()
    assert "is taken" in second.said()
