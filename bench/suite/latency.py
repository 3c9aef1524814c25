"""The latency model on the real engine: how far what it expected at dispatch was from what was measured, after 200 requests."""
import contextlib
import json
import urllib.request

from suite.machine import MODEL, SLUICE, bench, free_port, process, table, wait_for

WARM, MEASURED = 200, 256  # the model reports its error over the last 256


def load(url, requests, seed, rate):
    """Prompts of 60 to 260 tokens with shared beginnings, Poisson arrivals: hits and misses, alone and in a queue."""
    for part, question in enumerate((20, 60, 120)):
        n = requests // 3 + (requests % 3 if part == 0 else 0)
        bench(url, "--groups", 6, "--prompts-per-group", 32, "--prefix-tokens", 120, "--question-tokens", question,
              "--output-tokens", 12, "--arrival", "poisson", "--rate", rate, "--requests", n, "--seed", seed + part)


def kinds(url):
    with urllib.request.urlopen(url + "/debug/latency") as answer:
        return json.load(answer)["pools"][0]["kinds"]


def one_rate(rate):
    with contextlib.ExitStack() as stack:
        worker, port = free_port(), free_port()
        stack.enter_context(process(SLUICE, "worker", "--model", MODEL, "--served-model-name", "m", "--port", worker, "--threads", 1,
                                    "--max-model-len", 2048, "--num-gpu-blocks-override", 256))
        wait_for(f"http://127.0.0.1:{worker}/health")
        stack.enter_context(process(SLUICE, "gateway", "--endpoint", f"127.0.0.1:{worker}", "--port", port))
        url = f"http://127.0.0.1:{port}"
        wait_for(url + "/ready")
        load(url, WARM, 10, rate)
        early = kinds(url)[0]
        load(url, MEASURED, 20, rate)
        late = kinds(url)[0]
    return (rate, f"{100 * early['ttft']['mape']:.1f}", f"{100 * late['ttft']['mape']:.1f}", f"{100 * late['itl']['mape']:.1f}",
            f"{late['prefill_tokens_per_s']:.0f}", f"{late['step_ms']:.1f}")


def run():
    rows = [one_rate(rate) for rate in (0.8, 1.6)]
    return "\n\n".join([
        "# The latency model on the real engine\n\nOne worker, SmolLM2-135M-Instruct Q4_1 on one thread, behind the gateway. "
        f"{WARM} streamed requests to learn from, then {MEASURED} whose first token (TTFT) and time between tokens (ITL) are compared "
        "with what was expected when they were dispatched. MAPE: mean of |expected - measured| / measured.",
        table(["requests/s", f"TTFT MAPE of the first {WARM}, %", f"of the next {MEASURED}, %", "ITL MAPE, %", "prefill tokens/s found",
               "step ms found"], rows)])
