"""A gateway replaced under load by another on the same port: no request fails, whoever it meets on the way."""
import ssl

import pytest

from support import certificates, load, servers


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


def beside(run, port, worker, *arguments):
    """One more gateway on the port."""
    return run.start("gateway", "--port", port, "--reuse-port", f"--endpoint={worker.address}", *arguments).await_ready()


@pytest.mark.parametrize("encrypted", [False, True])
def test_three_restarts_under_load_lose_no_request(run, tmp_path, encrypted):
    worker = run.echo(delay_ms=1)
    arguments, verify = [], True
    if encrypted:
        pair = certificates.make(tmp_path)
        arguments = ["--tls-cert", pair.certificate, "--tls-key", pair.key]
        verify = ssl.create_default_context(cafile=pair.certificate)
    gateway = beside(run, 0, worker, *arguments)
    clients = load.Steady(gateway.url, kept=6, fresh=6, verify=verify)
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
    clients = load.Steady(gateway.url, kept=3, fresh=3)
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
