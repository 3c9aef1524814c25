"""What scraping costs the gateway while nobody asks it anything: the share of a core, by number of endpoints and page."""
import contextlib
import pathlib
import tempfile
import time

from suite.machine import BUILD, ROOT, SLUICE, cpu_seconds, free_port, get, process, spread, table, wait_for

SECONDS = 10
ROUNDS = 3
SMALL = """vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:num_requests_running{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.1
vllm:cache_config_info{block_size="16",num_gpu_blocks="1000"} 1.0
"""

FLOOR = """Where the time goes (`perf record`): a scrape is one send and one recv on a kept connection, about 14 us of loopback TCP here,
most of it the send, which also runs the receiver's half; that is the floor for any page. A page of 59 KB adds about 9 us for
copying it out of the kernel and freeing its buffers and 6.5 us for finding five metrics on it (`pool_bench`), so 2,000 such
pages a second cannot cost less than about 0.05 core unless the engine sends less. Comparing a page with the former one
was not worth it: a real vLLM's differs each time (`process_cpu_seconds_total`), and a hash costs as much as the scan. From
1,000 endpoints on, the limit of a quarter of the thread makes the period longer; time in which another process had the
processor counts against it.

"""


def endpoint_file(path, count, port):
    lines = ["endpoints:"]
    for i in range(count):
        lines.append(f'- {{name: e{i}, address: 127.{1 + i // 65536}.{i // 256 % 256}.{i % 256}, port: "{port}"}}')
    path.write_text("\n".join(lines) + "\n")


def series(port, name):
    for line in get(f"http://127.0.0.1:{port}/metrics").splitlines():
        if line.startswith(name):
            return float(line.rsplit(" ", 1)[1])
    return None


def measure(folder, page, endpoints):
    """The gateway's share of a core and, after that, how many endpoints have numbers younger than two seconds."""
    engine_port, port = free_port(), free_port()
    endpoint_file(folder / "endpoints.yaml", endpoints, engine_port)
    with process(BUILD / "bench" / "fake_engine", engine_port, 1, 0, page):
        with process(SLUICE, "gateway", "--port", port, "--endpoints-file", folder / "endpoints.yaml",
                     log=folder / "gateway.log") as gateway:
            wait_for(f"http://127.0.0.1:{port}/ready")
            time.sleep(2 + endpoints / 5000)
            before, begin = cpu_seconds(gateway.pid), time.monotonic()
            time.sleep(SECONDS)
            share = (cpu_seconds(gateway.pid) - before) / (time.monotonic() - begin)
            return share, series(port, "llm_d_epp_ready_endpoints"), series(port, "sluice_gateway_scrape_period_seconds")


def run():
    rows = []
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        small, large = folder / "small.txt", ROOT / "test" / "golden" / "vllm" / "metrics-load.txt"
        small.write_text(SMALL)
        for endpoints, name, page in ((100, "0.3 KB", small), (100, "a real vLLM's, 59 KB", large), (1000, "0.3 KB", small),
                                      (10000, "0.3 KB", small)):
            rounds = [measure(folder, page, endpoints) for _ in range(ROUNDS if endpoints == 100 else 1)]
            period = rounds[-1][2] or 0.05
            scrapes = endpoints / max(period, 0.05)
            share = sum(r[0] for r in rounds) / len(rounds)
            rows.append((endpoints, name, spread([r[0] for r in rounds], 3), f"{share / scrapes * 1e6:.1f}",
                         f"{period * 1e3:.0f}", f"{rounds[-1][1]:.0f}"))
    return ("# What scraping costs\n\n"
            f"An idle gateway that scrapes its endpoints every 50 ms for {SECONDS} s: its share of one core (median of {ROUNDS} "
            "rounds for 100 endpoints, least-most), time per scrape, the period that was reached and how many endpoints have "
            "numbers younger than 2 s. Goal: at most 0.05 core for 100 endpoints.\n\n"
            + FLOOR + table(["endpoints", "page", "share of a core", "us a scrape", "period, ms", "fresh"], rows))
