"""A gateway replaced under load by another on the same port: no request fails, whoever it meets on the way."""
import contextlib
import signal
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


def tls_arguments(folder):
    """A gateway's flags, and the file of the authority that its clients believe."""
    pair = certificates.make(folder)
    return ["--tls-cert", pair.certificate, "--tls-key", pair.key], pair.certificate


@pytest.mark.parametrize("encrypted", [False, True])
def test_three_restarts_under_load_lose_no_request(run, tmp_path, encrypted):
    worker = run.echo(delay_ms=1)
    arguments, verify = [], True
    if encrypted:
        arguments, authority = tls_arguments(tmp_path)
        verify = ssl.create_default_context(cafile=authority)
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


@pytest.mark.parametrize("encrypted", [False, True])
def test_three_restarts_under_http2_load_lose_no_stream(run, tmp_path, encrypted):
    """Connections with many streams at once, and new ones all the time; short answers and long ones."""
    worker = run.echo(delay_ms=1)
    arguments, authority = tls_arguments(tmp_path) if encrypted else ([], None)
    gateway = beside(run, 0, worker, *arguments)
    with load.SteadyHttp2(gateway.url, kept=2, streams=6, fresh=2, max_tokens=8, ca_file=authority) as short, \
            load.SteadyHttp2(gateway.url, kept=2, streams=4, fresh=0, max_tokens=500, ca_file=authority) as long:
        for _ in range(3):
            short.reach(len(short.outcomes) + 200)
            long.reach(len(long.outcomes) + 4)
            successor = beside(run, gateway.port, worker, *arguments)
            assert gateway.stop(60) == 0
            assert gateway.lines("stopped", "connections_cut=0"), gateway.said()
            gateway = successor
        short.reach(len(short.outcomes) + 200)
        long.reach(len(long.outcomes) + 8)
        outcomes = short.stop() + long.stop()
    failed = [outcome for outcome in outcomes if not outcome["ok"]]
    assert not failed, failed[:3]
    assert len({outcome["connection"] for outcome in long.outcomes}) >= 4, "each restart ends a kept connection"
    assert gateway.stop() == 0


@pytest.mark.parametrize("http2", [False, True])
def test_a_chain_of_restarts_that_overlap_loses_no_request(run, http2):
    """Each gateway is told to go while the one before it still hands over, and answers what it has."""
    worker = run.echo(delay_ms=1)
    gateways = [beside(run, 0, worker)]
    with contextlib.ExitStack() as stack:
        if http2:
            clients = stack.enter_context(load.SteadyHttp2(gateways[0].url, kept=2, streams=4, fresh=4, max_tokens=300))
        else:
            clients = load.Steady(gateways[0].url, kept=4, fresh=6)
            stack.callback(clients.stop)
        for _ in range(4):
            clients.reach(len(clients.outcomes) + 20)
            gateways.append(beside(run, gateways[0].port, worker))
            gateways[-2].process.send_signal(signal.SIGTERM)
        for gateway in gateways[:-1]:
            assert gateway.process.wait(60) == 0
            assert gateway.lines("stopped", "connections_cut=0"), gateway.said()
        clients.reach(len(clients.outcomes) + 50)
        outcomes = clients.stop()
    failed = [outcome for outcome in outcomes if not (outcome["ok"] if http2 else outcome.ok)]
    assert not failed, failed[:3]


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
