"""A gateway that speaks TLS and HTTP/2, to its clients and to its endpoints, with real clients: curl, Python's, OpenAI's."""
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading

import httpx
import openai
import pytest

from support import certificates, deadline, load, servers, tree

WORDS = "to be or not to be"
IN_TURN = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: weighted-round-robin-picker, parameters: {weightLabel: weight}}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: weighted-round-robin-picker
"""


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


class Site:
    """Two workers, a gateway in clear text and one over TLS."""

    def __init__(self, run, folder):
        self.pair = certificates.make(folder)
        self.workers = [run.echo(delay_ms=1), run.echo(delay_ms=1)]
        endpoints = [f"--endpoint={w.address}" for w in self.workers]
        self.clear = run.gateway(*self.workers, arguments=["--max-body-bytes", 2_000_000])
        self.tls = run.start("gateway", "--port", 0, *endpoints, "--tls-cert", self.pair.certificate, "--tls-key",
                             self.pair.key).await_ready()
        self.trust = ssl.create_default_context(cafile=self.pair.certificate)
        deadline.until(lambda: self.ask("/ready").status_code == 200, "the gateway is ready", 30)

    def ask(self, path):
        return httpx.get(self.tls.url + path, verify=self.trust)

    def curl(self, server, path, *arguments):
        """(protocol, status, body)"""
        done = subprocess.run(["curl", "-sS", "--cacert", self.pair.certificate, "-w", "\n%{http_version} %{http_code}",
                               server.url + path, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        body, _, last = done.stdout.rpartition("\n")
        return *last.split(), body


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    with servers.Servers(folder) as started:
        yield Site(started, folder)


def post(body):
    return ["-H", "content-type: application/json", "-d", json.dumps(body)]


@pytest.mark.parametrize("server, flags, protocol", [
    ("tls", ["--http2"], "2"), ("tls", ["--http1.1"], "1.1"), ("tls", ["--http2", "--tls-max", "1.2"], "2"),
    ("clear", ["--http2-prior-knowledge"], "2"), ("clear", ["--http1.1"], "1.1"), ("clear", ["--http2"], "1.1"),
])
@pytest.mark.parametrize("stream", [False, True])
def test_curl_gets_answers_over_every_protocol(site, server, flags, protocol, stream):
    got, status, body = site.curl(getattr(site, server), "/v1/completions", *flags,
                                  *post(load.completion(WORDS, stream=stream, max_tokens=4)))
    assert (got, status) == (protocol, "200")
    if stream:
        events = [line.removeprefix("data: ") for line in body.splitlines() if line]
        assert events.pop() == "[DONE]"
        assert len(events) >= 4
    else:
        assert json.loads(body)["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("flags", [["--http2-prior-knowledge"], ["--http1.1"]])
def test_limits_answer_alike(site, tmp_path, flags):
    headers = [part for i in range(300) for part in ("-H", f"x-{i}: v")]
    assert site.curl(site.clear, "/v1/models", *flags, *headers)[1] == "431"
    large = tmp_path / "large"
    large.write_bytes(b"\xff" * 1_000_000)
    _, status, body = site.curl(site.clear, "/v1/completions", *flags, "-H", "content-type: application/json",
                                "--data-binary", f"@{large}")
    assert status == "400" and "JSON" in json.loads(body)["error"]["message"]
    large.write_bytes(b" " * 30_000_000)
    _, status, body = site.curl(site.clear, "/v1/completions", *flags, "-H", "content-type: application/json",
                                "-H", "expect:", "--data-binary", f"@{large}")
    assert status == "413" and "30000000" in body


def test_openais_client_over_https(site):
    with httpx.Client(verify=site.trust) as http, \
            openai.OpenAI(base_url=site.tls.url + "/v1", api_key="none", max_retries=0, http_client=http) as client:
        assert [m.id for m in client.models.list().data] == ["echo"]
        chunks = list(client.completions.create(model="echo", prompt=WORDS, max_tokens=4, stream=True))
        assert sum(len(c.choices[0].text) > 0 for c in chunks) == 4
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="other", prompt=WORDS)


def test_a_client_that_leaves_frees_the_worker(site):
    body = load.completion(WORDS, stream=True, max_tokens=30_000, ignore_eos=True)
    for server, flag in ((site.tls, "--http2"), (site.clear, "--http2-prior-knowledge"), (site.tls, "--http1.1")):
        client = subprocess.Popen(["curl", "-sS", "-N", "--cacert", site.pair.certificate, flag,
                                   server.url + "/v1/completions", *post(body)], stdout=subprocess.PIPE)
        assert client.stdout.readline().startswith(b"data: ")
        assert sum(w.running() for w in site.workers) == 1
        client.kill()
        client.wait()
        deadline.until(lambda: sum(w.running() for w in site.workers) == 0, "the worker is free", 20)


def test_what_is_not_tls_gets_an_answer_or_an_end(site):
    status, body = load.send_raw(site.tls, b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status == 400 and "https://" in body
    for garbage in (b"\x16\x03\x01\x00\x05hello what is this", b"\x00" * 100, bytes(range(128, 256))):
        with load.connect(site.tls) as link:
            link.sendall(garbage)
            link.shutdown(socket.SHUT_WR)
            assert b"HTTP" not in link.recv(1000)
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(load.connect(site.clear), server_hostname="localhost")
    assert site.ask("/health").status_code == 200, "and it goes on"


def test_the_certificate_is_the_one_of_the_name_asked_for(run, site, tmp_path):
    a, b = (certificates.make(tmp_path, name, f"DNS:{name}.example.com") for name in ("a", "b"))
    arguments = [part for pair in (site.pair, a, b) for part in ("--tls-cert", pair.certificate, "--tls-key", pair.key)]
    mine = certificates.make(tmp_path, "client")
    arguments += ["--tls-client-ca", mine.certificate]
    gateway = run.start("gateway", "--port", 0, f"--endpoint={site.workers[0].address}", *arguments).await_ready()
    for name, pair in (("a.example.com", a), ("b.example.com", b), ("localhost", site.pair)):
        context = ssl.create_default_context(cafile=pair.certificate)
        context.set_alpn_protocols(["h2"])
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the handshake ends behind the client's certificate
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(load.connect(gateway), server_hostname=name)
        context.load_cert_chain(mine.certificate, mine.key)
        with context.wrap_socket(load.connect(gateway), server_hostname=name) as link:
            assert link.selected_alpn_protocol() == "h2"


def test_clients_must_show_a_certificate_when_an_authority_is_named(run, site, tmp_path):
    mine = certificates.make(tmp_path, "client")
    gateway = run.start("gateway", "--port", 0, f"--endpoint={site.workers[0].address}", "--tls-cert",
                        site.pair.certificate, "--tls-key", site.pair.key, "--tls-client-ca",
                        mine.certificate).await_ready()
    with pytest.raises(httpx.TransportError):
        httpx.get(gateway.url + "/health", verify=site.trust)
    stranger = certificates.make(tmp_path, "stranger")
    for pair, known in ((mine, True), (stranger, False)):
        context = ssl.create_default_context(cafile=site.pair.certificate)
        context.load_cert_chain(pair.certificate, pair.key)
        if known:
            assert httpx.get(gateway.url + "/health", verify=context).status_code == 200
        else:
            with pytest.raises(httpx.TransportError):
                httpx.get(gateway.url + "/health", verify=context)


@pytest.mark.parametrize("scheme", ["https", "h2c"])
def test_endpoints_over_tls_and_http2(run, site, scheme):
    """One gateway is the other's endpoint."""
    behind = site.tls if scheme == "https" else site.clear
    trust = ["--endpoint-ca", site.pair.certificate] if scheme == "https" else []
    gateway = run.gateway(behind, arguments=["--endpoint-scheme", scheme, *trust])
    bodies = [load.completion(f"{i} {WORDS}", stream=i % 2 == 0, max_tokens=20) for i in range(100)]
    outcomes = load.many(gateway.url, bodies, 20)
    assert all(o.ok and o.endpoint == behind.address for o in outcomes), [o for o in outcomes if not o.ok][:3]
    with open(f"/proc/{gateway.process.pid}/net/tcp", encoding="ascii") as table:
        port = f":{behind.port:04X}"
        open_now = [line for line in table if line.split()[2].endswith(port) and line.split()[3] == "01"]
    assert 1 <= len(open_now) <= 3, "20 requests at once share a connection, and numbers are asked on another"


def test_endpoints_of_one_pool_each_with_its_scheme(run, site, tmp_path):
    """By flag and by file; a change of the scheme alone is taken up."""
    in_turn = tmp_path / "in_turn.yaml"
    in_turn.write_text(IN_TURN)
    every = ["--endpoint-ca", site.pair.certificate, "--config-file", in_turn]
    plain = site.workers[0]
    by_flag = run.start("gateway", "--port", 0, f"--endpoint={plain.address}", f"--endpoint=h2c://{site.clear.address}",
                        f"--endpoint=https://{site.tls.address}", *every).await_ready()
    listed = tmp_path / "endpoints.yaml"

    def write(encrypted):
        port = (site.tls if encrypted else site.clear).port
        scheme = "https" if encrypted else "h2c"
        text = f"endpoints:\n- {{name: a, address: 127.0.0.1, port: {plain.port}}}\n" \
               f"- {{name: b, address: 127.0.0.1, port: {port}, scheme: {scheme}}}\n"
        listed.with_suffix(".new").write_text(text)
        listed.with_suffix(".new").rename(listed)

    def schemes(gateway):
        return {e["address"]: e["scheme"] for p in gateway.get_json("/debug/endpoints")["pools"] for e in p["endpoints"]}

    def ask_all(gateway):
        bodies = [load.completion(f"{i} {WORDS}", stream=i % 2 == 0, max_tokens=4) for i in range(60)]
        outcomes = load.many(gateway.url, bodies, 6)
        assert all(o.ok for o in outcomes), [o for o in outcomes if not o.ok][:3]
        return {o.endpoint for o in outcomes}

    write(encrypted=True)
    by_file = run.start("gateway", "--port", 0, "--endpoints-file", listed, *every).await_ready()
    servers.await_rotation(by_flag, [plain, site.clear, site.tls])
    servers.await_rotation(by_file, [plain, site.tls])
    assert schemes(by_flag) == {plain.address: "http", site.clear.address: "h2c", site.tls.address: "https"}
    assert schemes(by_file) == {plain.address: "http", site.tls.address: "https"}
    assert ask_all(by_flag) == {plain.address, site.clear.address, site.tls.address}
    assert ask_all(by_file) == {plain.address, site.tls.address}
    write(encrypted=False)
    servers.await_rotation(by_file, [plain, site.clear])
    assert schemes(by_file)[site.clear.address] == "h2c"
    assert ask_all(by_file) == {plain.address, site.clear.address}


def test_an_endpoint_with_a_strange_certificate_is_not_believed(run, site, tmp_path):
    other = certificates.make(tmp_path, "other")
    gateway = run.start("gateway", "--port", 0, f"--endpoint={site.tls.address}", "--endpoint-scheme", "https",
                        "--endpoint-ca", other.certificate).await_ready()
    deadline.until(lambda: gateway.lines("left the rotation", "certificate is not believed"), gateway.said, 20)
    blind = run.gateway(site.tls, arguments=["--endpoint-scheme", "https", "--endpoint-insecure-skip-verify"])
    assert all(o.ok for o in load.many(blind.url, [load.completion(WORDS)], 1))


class Numbers(http.server.BaseHTTPRequestHandler):
    """A page of metrics as an engine has it, but over TLS."""

    def do_GET(self):
        page = b"vllm:num_requests_waiting 7\nvllm:num_requests_running 3\nvllm:kv_cache_usage_perc 0.5\n"
        self.send_response(200)
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("believed", [True, False])
def test_numbers_over_https(run, site, tmp_path, believed):
    trusted = site.pair if believed else certificates.make(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(site.pair.certificate, site.pair.key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Numbers) as pages:
        pages.socket = context.wrap_socket(pages.socket, server_side=True)
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        config = tmp_path / "epp.yaml"
        config.write_text(f"""
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: core-metrics-extractor
- type: metrics-data-source
  parameters: {{scheme: https, port: {pages.server_port}, insecureSkipVerify: false, caCertPath: {trusted.certificate}}}
schedulingProfiles:
- name: default
  plugins: [{{pluginRef: queue-scorer}}]
dataLayer:
  sources:
  - pluginRef: metrics-data-source
    extractors: [{{pluginRef: core-metrics-extractor}}]
""")
        gateway = run.gateway(site.workers[0], arguments=["--config-file", config])

        def endpoint():
            return gateway.get_json("/debug/endpoints")["pools"][0]["endpoints"][0]
        if believed:
            deadline.until(lambda: (endpoint()["waiting"], endpoint()["kv_usage"]) == (7, 0.5), gateway.said, 20)
        else:
            deadline.until(lambda: gateway.lines("certificate is not believed"), gateway.said, 20)
            assert endpoint()["waiting"] == 0
        pages.shutdown()


def test_a_renewed_certificate_is_used_without_a_failed_request(run, tmp_path):
    first, second = certificates.make(tmp_path, "first"), certificates.make(tmp_path, "second")
    live = certificates.Pair(tmp_path / "live.crt", tmp_path / "live.key")
    shutil.copy(first.certificate, live.certificate)
    shutil.copy(first.key, live.key)
    gateway = run.start("gateway", "--port", 0, f"--endpoint={run.echo(delay_ms=1).address}", "--tls-cert",
                        live.certificate, "--tls-key", live.key).await_ready()
    trust = ssl.create_default_context(cafile=first.certificate)
    trust.load_verify_locations(second.certificate)
    deadline.until(lambda: httpx.get(gateway.url + "/ready", verify=trust).status_code == 200, gateway.said, 20)

    def shown():
        return ssl.get_server_certificate((gateway.host, gateway.port)).strip()

    clients = load.Steady(gateway.url, kept=4, fresh=4, verify=trust)
    clients.reach(100)
    shutil.copy(second.certificate, live.certificate)
    deadline.until(lambda: gateway.lines("changed certificate refused"), gateway.said, 20)
    assert shown() == first.certificate.read_text().strip()
    shutil.copy(second.key, live.key)
    deadline.until(lambda: gateway.lines("certificate reloaded"), gateway.said, 20)
    assert shown() == second.certificate.read_text().strip()
    clients.reach(len(clients.outcomes) + 100)
    failed = [outcome for outcome in clients.stop() if not outcome.ok]
    assert not failed, failed[:3]


@pytest.mark.parametrize("arguments, words", [
    (["--tls-cert", "a.pem"], "--tls-key"),
    (["--tls-client-ca", "a.pem"], "--tls-cert"),
    (["--tls-cert", "nowhere.pem", "--tls-key", "nowhere.key"], "nowhere.pem"),
    (["--endpoint-ca", "a.pem"], "--endpoint-scheme https"),
    (["--endpoint-scheme", "https", "--endpoint-ca", "nowhere.pem"], "nowhere.pem"),
    (["--endpoint-scheme", "spdy"], "h2c"),
    (["--endpoint", "htps://127.0.0.1:8000"], "did you mean 'https'?"),
    (["--endpoint", "ftp://127.0.0.1:8000"], "known are http (HTTP/1.1), h2c"),
    (["--endpoint", "https://127.0.0.1"], "[::1]:8000"),
    (["--endpoint", "https://127.0.0.1:8000", "--endpoint-ca", "nowhere.pem"], "nowhere.pem"),
])
def test_a_mistaken_flag_is_named_and_ends_with_2(arguments, words):
    done = subprocess.run([str(tree.PROGRAM), "gateway", "--port", "0", *arguments], capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
