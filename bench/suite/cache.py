"""Two real workers and more shared prefixes than one of them can hold: what precise knowledge of their caches, a guess
from what was sent where, and random picks come to, side by side in one run. Prompts are token ids, so that the precise
policy needs no tokenizer; every policy gets the same requests in the same order."""
import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import random
import statistics
import tempfile
import time

from suite.gateway import RANDOM
from suite.machine import MODEL, SLUICE, free_port, get, post, process, spread, table, wait_for

ROUNDS = 3
GROUPS, REQUESTS, PREFIX_TOKENS, TAIL_TOKENS, OUTPUT_TOKENS, CONCURRENCY = 8, 96, 300, 20, 8, 2
BLOCKS = 100  # of a worker: 1,600 tokens, five prefixes

POLICY = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: {producer}
{parameters}
- type: prefix-cache-scorer
  parameters: {{prefixMatchInfoProducerName: {producer}}}
- type: queue-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - {{pluginRef: prefix-cache-scorer, weight: 3}}
  - {{pluginRef: queue-scorer, weight: 2}}
  - {{pluginRef: max-score-picker}}
"""
POLICIES = {
    "precise (KV events)": POLICY.format(
        producer="precise-prefix-cache-producer",
        parameters="  parameters: {tokenProcessorConfig: {hashAlgorithm: xxh64}, speculativeIndexing: true}"),
    "approximate (own history)": POLICY.format(producer="approx-prefix-cache-producer", parameters="  parameters: {}"),
    "random-picker": RANDOM,
}


def prompts(seed):
    rng = random.Random(seed)
    prefixes = [[rng.randrange(1000, 40_000) for _ in range(PREFIX_TOKENS)] for _ in range(GROUPS)]
    return [rng.choice(prefixes) + [rng.randrange(1000, 40_000) for _ in range(TAIL_TOKENS)] for _ in range(REQUESTS)]


def one(port, tokens):
    """Milliseconds to the first token, cached tokens, prompt tokens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    begin = time.monotonic()
    connection.request("POST", "/v1/completions", json.dumps({
        "model": "m", "prompt": tokens, "max_tokens": OUTPUT_TOKENS, "temperature": 0, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True}}), {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    first, usage = None, None
    for line in answer:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        event = json.loads(line[6:])
        if first is None and event.get("choices"):
            first = 1000 * (time.monotonic() - begin)
        usage = event.get("usage") or usage
    connection.close()
    return first, usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]


def load(port, seed):
    with concurrent.futures.ThreadPoolExecutor(CONCURRENCY) as pool:
        done = list(pool.map(lambda tokens: one(port, tokens), prompts(seed)))
    ttft = statistics.quantiles([d[0] for d in done], n=10)[-1]
    return ttft, 100 * sum(d[1] for d in done) / sum(d[2] for d in done)


@contextlib.contextmanager
def workers(stack, folder):
    """Two workers that publish; the endpoints file that says where."""
    lines, ports = ["endpoints:"], []
    for i in range(2):
        port, events, replay = free_port(), free_port(), free_port()
        config = {"enable_kv_cache_events": True, "endpoint": f"tcp://127.0.0.1:{events}", "bind": True,
                  "replay_endpoint": f"tcp://127.0.0.1:{replay}", "topic": f"kv@127.0.0.1:{port}@m"}
        stack.enter_context(process(
            SLUICE, "worker", "--model", MODEL, "--served-model-name", "m", "--port", port, "--threads", 1, "--block-size", 16,
            "--num-gpu-blocks-override", BLOCKS, "--max-model-len", 1024, "--kv-events-config", json.dumps(config),
            log=folder / f"worker-{i}.log"))
        lines += [f"- name: w{i}", "  address: 127.0.0.1", f'  port: "{port}"', "  labels:",
                  f'    llm-d.ai/kv-events-port: "{events}"', f'    llm-d.ai/kv-events-replay-port: "{replay}"']
        ports.append(port)
    (folder / "endpoints.yaml").write_text("\n".join(lines) + "\n")
    for port in ports:
        wait_for(f"http://127.0.0.1:{port}/health")
    yield ports


def predicted(port):
    """Answers whose cached tokens were as predicted, and all that were compared."""
    exact = compared = 0
    for pool in json.loads(get(f"http://127.0.0.1:{port}/debug/cache"))["pools"]:
        for endpoint in (e for index in pool["indexes"] for e in index["endpoints"]):
            exact += endpoint["predicted"]["exact"]
            compared += sum(endpoint["predicted"][k] for k in ("exact", "over", "under"))
    return exact, compared


def run():
    ttft, hits, exact = {}, {}, [0, 0]
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = stack.enter_context(workers(stack, folder))
        for round_number in range(ROUNDS):
            for name, config in POLICIES.items():
                (folder / "epp.yaml").write_text(config)
                gateway = free_port()
                with process(SLUICE, "gateway", "--port", gateway, "--endpoints-file", folder / "endpoints.yaml", "--config-file",
                             folder / "epp.yaml", log=folder / "gateway.log"):
                    wait_for(f"http://127.0.0.1:{gateway}/ready?endpoints=all")
                    p90, rate = load(gateway, seed=100 + round_number)
                    exact = [a + b for a, b in zip(exact, predicted(gateway))]
                ttft.setdefault(name, []).append(p90)
                hits.setdefault(name, []).append(rate)
                for port in ports:
                    with contextlib.suppress(ValueError):
                        post(f"http://127.0.0.1:{port}/reset_prefix_cache", {})
    rows = [(name, spread(ttft[name], 0), spread(hits[name], 0)) for name in POLICIES]
    return ("# Precise against approximate against random cache routing\n\n"
            f"Two real workers (one thread and {BLOCKS} KV blocks of 16 tokens each), {GROUPS} prefixes of {PREFIX_TOKENS} tokens, "
            f"{REQUESTS} requests with {TAIL_TOKENS} tokens of their own and {OUTPUT_TOKENS} out, {CONCURRENCY} at a time; {ROUNDS} "
            "rounds in turn, cold caches, median (least-most). Precise and approximate differ in where their knowledge is from "
            "only.\n\n" + table(["policy", "TTFT p90, ms", "prompt tokens from cache, %"], rows)
            + f"\n\nOf {exact[1]} answers under the precise policy, {exact[0]} had exactly the cached tokens that were predicted "
            "(two requests at a time: some are sent before the other's events are there).")
