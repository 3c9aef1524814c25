"""Two real workers under shared-prefix load: the default policy against random picks, side by side in one run."""
import contextlib
import pathlib
import tempfile

from suite.gateway import RANDOM
from suite.machine import MODEL, SLUICE, bench, free_port, post, process, spread, table, wait_for

ROUNDS = 3
LOAD = ["--groups", 6, "--prompts-per-group", 12, "--prefix-tokens", 300, "--question-tokens", 20, "--output-tokens", 16,
        "--concurrency", 2]


@contextlib.contextmanager
def platform(stack, folder):
    ports = [free_port(), free_port()]
    for port in ports:
        stack.enter_context(process(SLUICE, "worker", "--model", MODEL, "--served-model-name", "m", "--port", port, "--threads", 1,
                                    "--num-gpu-blocks-override", 100, "--max-model-len", 1024, log=folder / f"worker-{port}.log"))
    for port in ports:
        wait_for(f"http://127.0.0.1:{port}/health")
    yield ports


def run():
    names = {"prefix-aware (default)": None, "random-picker": RANDOM}
    ttft, hits, itl = {}, {}, {}
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = stack.enter_context(platform(stack, folder))
        for round_number in range(ROUNDS):
            for name, config in names.items():
                flags = []
                if config:
                    (folder / "random.yaml").write_text(config)
                    flags = ["--config-file", folder / "random.yaml"]
                gateway_port = free_port()
                endpoints = [part for p in ports for part in ("--endpoint", f"127.0.0.1:{p}")]
                with process(SLUICE, "gateway", "--port", gateway_port, *endpoints, *flags, log=folder / "gateway.log"):
                    wait_for(f"http://127.0.0.1:{gateway_port}/ready")
                    report = bench(f"http://127.0.0.1:{gateway_port}", *LOAD, "--seed", 1000 + round_number * 10 + len(ttft))
                ttft.setdefault(name, []).append(report["ttft_ms"]["p90"])
                itl.setdefault(name, []).append(report["itl_ms"]["p50"])
                hits.setdefault(name, []).append(100 * report["hit_rate"])
                for port in ports:
                    with contextlib.suppress(ValueError):
                        post(f"http://127.0.0.1:{port}/reset_prefix_cache", {})
    rows = [(name, spread(ttft[name], 0), spread(hits[name], 0), spread(itl[name], 0)) for name in names]
    return ("# Prefix-aware routing against random picks\n\n"
            f"Two real workers (one thread and 100 KV blocks, 1,600 tokens, each), 6 groups of 12 prompts, 300 + 20 tokens, 16 tokens "
            f"out, two at a time; {ROUNDS} rounds in turn, cold caches, median (least-most).\n\n"
            + table(["policy", "TTFT p90, ms", "prompt tokens from cache, %", "ITL p50, ms"], rows))
