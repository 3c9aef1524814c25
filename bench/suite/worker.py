"""The real worker: what a cache hit saves, what batching gains, and how far the engine is from the bare library."""
import contextlib
import json
import statistics
import subprocess

from suite.machine import BUILD, MODEL, SLUICE, bench, free_port, process, spread, table, wait_for

ROUNDS = 3


def hit_and_miss(url):
    rows = []
    for round_number in range(ROUNDS):
        seed = 500 + round_number
        shape = ["--groups", 1, "--prompts-per-group", 1, "--prefix-tokens", 980, "--question-tokens", 20, "--output-tokens", 4,
                 "--concurrency", 1, "--requests", 1, "--seed", seed]
        miss = bench(url, *shape)["ttft_ms"]["p50"]
        hit = bench(url, *shape)
        rows.append((miss, hit["ttft_ms"]["p50"], 100 * hit["hit_rate"]))
    misses, hits, rates = zip(*rows)
    return [(spread(misses, 0), spread(hits, 0), spread([m / h for m, h in zip(misses, hits)], 1), spread(rates, 1))]


def batching(url):
    rows = []
    for round_number in range(ROUNDS):
        speeds = []
        for concurrency in (1, 8):
            report = bench(url, "--workload", "random", "--question-tokens", 8, "--output-tokens", 96, "--concurrency", concurrency,
                           "--requests", concurrency, "--warmup", 1, "--seed", 900 + 10 * round_number + concurrency)
            speeds.append(report["output_tokens_per_second"])
        rows.append(speeds)
    one, eight = zip(*rows)
    return [(spread(one, 0), spread(eight, 0), spread([b / a for a, b in rows], 2))]


def against_bare():
    """build/release/bench/engine_bench measures both in one process, in turn."""
    done = subprocess.run([str(BUILD / "bench" / "engine_bench"), str(MODEL)], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    gain = 8 * rows[0]["bare_ms"] / rows[1]["bare_ms"]
    return (table(["what", "bare", "engine", "ratio"],
                  [(r["what"], f"{r['bare_ms']:.2f}", f"{r['engine_ms']:.2f}", f"{r['ratio']:.3f}") for r in rows])
            + f"\n\nEight streams against one with the bare library alone: {gain:.2f} times the tokens; the engine cannot gain more.")


def run():
    with contextlib.ExitStack() as stack:
        port = free_port()
        stack.enter_context(process(SLUICE, "worker", "--model", MODEL, "--served-model-name", "m", "--port", port, "--threads", 1,
                                    "--max-model-len", 2048, "--num-gpu-blocks-override", 256))
        url = f"http://127.0.0.1:{port}"
        wait_for(url + "/health")
        hits, batches = hit_and_miss(url), batching(url)
    return "\n\n".join([
        f"# Worker on the real model\n\nSmolLM2-135M-Instruct Q4_1, one thread; {ROUNDS} rounds, median (least-most).",
        "## A 1,000-token prompt, cold and again\n\n"
        + table(["TTFT miss, ms", "TTFT hit, ms", "miss / hit", "prompt tokens from cache, %"], hits),
        "## Streams at once\n\n" + table(["tokens/s, 1 stream", "tokens/s, 8 streams", "8 / 1"], batches),
        "## Against the bare library\n\nThe same model, batch and threads, in one process and in turn; milliseconds of processor time "
        "a step (decode) or a prompt (prefill); ratio engine / bare.\n\n" + against_bare(),
    ])
