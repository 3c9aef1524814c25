"""The gateway beside nginx as a plain proxy: processor time a request, requests a second and core, latency, in turn in one run."""
import contextlib
import os
import pathlib
import statistics
import tempfile

from suite.machine import BUILD, SLUICE, bench, cpu_seconds, free_port, memory_mib, process, spread, table, wait_for, wrk

ROUNDS = 5
SECONDS = 3
CHAT = {"model": "fake", "messages": [{"role": "system", "content": "NUMBER You are a helpful assistant. " + "Be brief. " * 20},
                                      {"role": "user", "content": "hello world, how are you"}]}
RANDOM = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: random-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: random-picker
"""


def nginx_conf(folder, port, upstreams):
    servers = "".join(f"server {address}; " for address in upstreams)
    temp = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root; " if os.geteuid() == 0 else ""  # else its worker may not write into `folder`
    return f"""{user}worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 65536; }}
http {{ access_log off; {temp} keepalive_requests 100000000;
  upstream engines {{ {servers} keepalive 1024; }}
  server {{ listen 127.0.0.1:{port}; client_body_buffer_size 1m; client_max_body_size 64m;
    location / {{ proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }} }}
"""


@contextlib.contextmanager
def contenders(tokens, interval_ms):
    """Two fake engines; in front of them nginx and two gateways. Yields {name: (url, pid)}."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        engines = [free_port(), free_port()]
        for port in engines:
            stack.enter_context(process(BUILD / "bench" / "fake_engine", port, tokens, interval_ms))
        found = {}
        port = free_port()
        conf = pathlib.Path(folder) / "nginx.conf"
        conf.write_text(nginx_conf(folder, port, [f"127.0.0.1:{p}" for p in engines]))
        found["nginx"] = (f"http://127.0.0.1:{port}", stack.enter_context(process("nginx", "-c", conf)).pid)
        config = pathlib.Path(folder) / "random.yaml"
        config.write_text(RANDOM)
        endpoints = [part for p in engines for part in ("--endpoint", f"127.0.0.1:{p}")]
        for name, flags in (("sluice, random", ["--config-file", config]), ("sluice, prefix-aware", [])):
            port = free_port()
            child = stack.enter_context(process(SLUICE, "gateway", "--port", port, *endpoints, *flags,
                                                log=pathlib.Path(folder) / f"{port}.log"))
            found[name] = (f"http://127.0.0.1:{port}", child.pid)
        for url, _ in found.values():
            wait_for(url + "/v1/models")
        for name, (url, _) in found.items():
            if name != "nginx":
                wait_for(url + "/ready")
        yield found, engines


def compare(tokens, interval_ms, body, connections):
    """Rows of (name, microseconds a request, requests a second and core, ratio to nginx)."""
    cost = {}
    with contenders(tokens, interval_ms) as (found, _):
        for _ in range(ROUNDS):
            for name, (url, pid) in found.items():
                before = cpu_seconds(pid)
                done, _ = wrk(url + "/v1/chat/completions", body, SECONDS, connections)
                cost.setdefault(name, []).append((cpu_seconds(pid) - before) / done * 1e6)
    ratios = {name: [n / own for n, own in zip(cost["nginx"], values)] for name, values in cost.items()}
    return [(name, spread(values), f"{1e6 / statistics.median(values):,.0f}", spread(ratios[name], 2)) for name, values in cost.items()]


def latency():
    """Added latency at one connection, in milliseconds: median of rounds, against the engine asked directly."""
    rows = {}
    with contenders(1, 0) as (found, engines):
        targets = {"direct": f"http://127.0.0.1:{engines[0]}", **{name: url for name, (url, _) in found.items()}}
        for _ in range(ROUNDS):
            for name, url in targets.items():
                _, quantiles = wrk(url + "/v1/chat/completions", CHAT, 1, 1)
                rows.setdefault(name, []).append(quantiles)
    base = {p: statistics.median(q[p] for q in rows["direct"]) for p in ("50", "99")}
    return [(name, *(f"{statistics.median(q[p] for q in quantiles) - base[p]:.3f}" for p in ("50", "99")))
            for name, quantiles in rows.items() if name != "direct"]


def many_streams(count=1000):
    """That many streams at once through the gateway, each event alone: how many end whole, and what they cost."""
    with contenders(100, 20) as (found, _):
        url, pid = found["sluice, prefix-aware"]
        idle = memory_mib(pid)
        before = cpu_seconds(pid)
        report = bench(url, "--api", "chat", "--workload", "random", "--question-tokens", 20, "--output-tokens", 100,
                       "--concurrency", count, "--requests", 2 * count)
        used = cpu_seconds(pid) - before
        held = memory_mib(pid)
    return [(count, 2 * count, report["completed"], report["failed"], f"{idle:.1f} → {held:.1f}",
             f"{(held - idle) * 1024 / count:.1f}", f"{used / (2 * count * 100) * 1e6:.2f}")]


def run():
    stream = {**CHAT, "stream": True}
    header = ["proxy", "CPU µs a request", "requests/s a core", "requests/s a core against nginx"]
    return "\n\n".join([
        f"# Gateway beside nginx\n\nTwo fake engines; {ROUNDS} interleaved rounds of {SECONDS} s each; median (least-most). "
        "nginx is a plain proxy with kept-alive upstreams and no buffering. The gateway scrapes both engines each 50 ms, "
        "decides, logs one scores line and one access line a request, and keeps a receipt.",
        "## Plain requests, 64 connections\n\n" + table(header, compare(1, 0, CHAT, 64)),
        "## Streams of 200 events, back to back, 64 connections\n\n" + table(header, compare(200, 0, stream, 64)),
        "## Streams of 100 events, 10 ms apart, 300 connections\n\n" + table(header, compare(100, 10, stream, 300)),
        "## Added latency, one connection, ms\n\n" + table(["proxy", "p50", "p99"], latency()),
        "## Streams at once\n\n" + table(["at once", "requests", "completed", "failed", "gateway MiB, idle → after", "KiB a stream",
                                         "CPU µs an event"], many_streams()),
    ])
