"""What the gateway predicts of KV caches is what engines report, on real workers: `usage.prompt_tokens_details.cached_tokens`.

Prompts are token ids, which need no tokenizer to be exact. After each answer the test waits until the worker's events have
arrived (the last sequence number that the gateway has read stops growing behind what the worker published): a prediction is
about what was said, and a request that overtakes its predecessor's events is another matter (speculativeIndexing).
"""
import random

import pytest

from support import deadline, kv_events, servers

MODEL = "smollm2"
BLOCK = 16
BLOCKS = 48  # of a worker's cache: fewer than the prompts need, so that some leave


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


class Site:
    """Workers that publish, and gateways before them."""

    def __init__(self, run, folder, workers=2, replays=True):
        self.run, self.folder = run, folder
        self.ports = [(kv_events.free_port(), kv_events.free_port(), kv_events.free_port() if replays else 0)
                      for _ in range(workers)]
        self.workers = [self.worker(i) for i in range(workers)]
        self.endpoints = kv_events.endpoints_file(folder / "endpoints.yaml", self.ports)
        self.config = kv_events.picker_config(folder / "epp.yaml")

    def worker(self, i):
        serving, events, replay = self.ports[i]
        return self.run.start(
            "worker", "--model", servers.MODEL_FILE, "--served-model-name", MODEL, "--port", serving, "--threads", 1,
            "--block-size", BLOCK, "--num-gpu-blocks-override", BLOCKS, "--max-model-len", 512,
            *kv_events.events_config(serving, MODEL, events, replay)).await_ready()

    def gateway(self, *arguments):
        gateway = self.run.start("gateway", "--port", 0, "--config-file", self.config, "--endpoints-file",
                                 self.endpoints, *arguments).await_ready()
        servers.await_rotation(gateway, self.workers)
        return gateway


def ask(gateway, tokens, **more):
    """(predicted, actual, receipt) of a prompt; waits until the gateway has heard what it did to the worker's cache."""
    answer, headers = kv_events.post(gateway.url, "/v1/completions",
                                     {"model": MODEL, "prompt": tokens, "max_tokens": 1, "temperature": 0, **more})
    receipt = kv_events.receipt(gateway, headers)
    pick = receipt["candidates"][0]
    actual = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert receipt["observed"]["cached_tokens"] == actual
    assert receipt["observed"]["predicted_tokens"] == pick["cached"]["predicted_tokens"]
    return pick["cached"]["predicted_tokens"], actual, receipt


def settle(*gateways):
    """Until every gateway exactly knows every endpoint, and no event came for a while."""
    for gateway in gateways:
        before = {}

        def quiet(found):
            nonlocal before
            now = {a: (e["last_sequence"], e["entries"], e["batches"]) for a, e in found.items()}
            same, before = now == before, now
            return same and all(not e["degraded"] and (e["last_event_s"] or 1) > 0.3 for e in found.values())
        kv_events.until(gateway, quiet, "events have settled")


def prompt_of(rng, length):
    return [rng.randrange(1000, 40_000) for _ in range(length)]


def test_predicted_is_actual_through_shared_prefixes_evictions_resets_and_restarts(run, tmp_path):
    site = Site(run, tmp_path)
    gateway, second = site.gateway(), site.gateway()
    settle(gateway, second)
    rng = random.Random(7)
    shared = [prompt_of(rng, 104) for _ in range(8)]
    asked, wrong, hits = [], [], 0

    def one(tokens):
        nonlocal hits
        predicted, actual, receipt = ask(gateway, tokens)
        hits += actual > 0
        asked.append(actual)
        if predicted != actual:
            wrong.append((len(asked), receipt["pick"], predicted, actual))
        settle(gateway)

    for _ in range(60):  # eight prefixes of six blocks with tails of up to ten: more than the caches hold
        one(rng.choice(shared) + prompt_of(rng, rng.choice([0, 1, 8, 40, 160])))
    assert hits > 15
    held = kv_events.caches(gateway)
    assert all(e["entries"] <= BLOCKS for e in held.values()), "the engine let blocks go, and so did the index"
    # Another gateway with its own subscriptions came to the same.
    settle(second)
    for address, endpoint in kv_events.caches(second).items():
        assert endpoint["entries"] == held[address]["entries"]
        assert endpoint["tiers"] == held[address]["tiers"]
    for tokens in shared:
        there = [{c["endpoint"]: c["cached"]["predicted_tokens"] for c in
                  kv_events.post(g.url, "/debug/decide?path=/v1/completions", {"model": MODEL, "prompt": tokens + [5]})[0]
                  ["candidates"]} for g in (gateway, second)]
        assert there[0] == there[1]

    kv_events.post(site.workers[0].url, "/reset_prefix_cache", {})
    # The engine says so with its next step, as vLLM does.
    kv_events.post(site.workers[0].url, "/v1/completions", {"model": MODEL, "prompt": prompt_of(rng, 20), "max_tokens": 1})
    kv_events.until(gateway, lambda found: found[site.workers[0].address]["entries"] == 1, "the reset was heard")
    for _ in range(20):
        one(rng.choice(shared) + prompt_of(rng, 8))

    site.workers[1].kill()
    site.workers[1] = site.worker(1)
    servers.await_rotation(gateway, site.workers)
    settle(gateway)
    for _ in range(20):
        one(rng.choice(shared) + prompt_of(rng, 8))
    assert len(wrong) <= len(asked) // 100, wrong
    assert len(gateway.lines("the engine restarted", site.workers[1].address)) == 1
    counted = sum(e["predicted"]["exact"] + e["predicted"]["over"] + e["predicted"]["under"]
                  for e in kv_events.caches(gateway).values())
    assert counted >= len(asked) - 1


def test_the_log_lines_of_the_walk_through(run, tmp_path):
    site = Site(run, tmp_path, workers=2)
    gateway = site.gateway()
    settle(gateway)
    tokens = prompt_of(random.Random(1), 40)  # two whole blocks
    first = ask(gateway, tokens)[2]
    settle(gateway)
    second = ask(gateway, tokens)[2]
    assert second["pick"] == first["pick"], "the same worker serves it again"
    deadline.until(lambda: len(gateway.lines("Got pod scores")) == 2, "both decisions are in the log", 10)
    lines = gateway.lines("Got pod scores")
    assert "scores=null" in lines[0]
    assert '"%s":2' % first["pick"] in lines[1]
    for line in lines:
        assert f"model={MODEL}" in line and f"resolvedTargetModel={MODEL}" in line and "criticality=" in line
    assert "tiers" in gateway.get("/debug/decisions/" + second["request_id"])
    table = gateway.get("/debug/decisions/" + second["request_id"] + "?format=table")
    assert "32 gpu" in table
    assert "32 tokens were cached (32 were predicted)" in table


def test_without_replay_a_cut_stream_is_said_until_the_engine_starts_anew(run, tmp_path):
    """The gateway comes late: what the worker cached before is not known, which is no reason not to serve."""
    site = Site(run, tmp_path, workers=1, replays=False)
    tokens = prompt_of(random.Random(2), 100)
    for _ in range(2):
        kv_events.post(site.workers[0].url, "/v1/completions", {"model": MODEL, "prompt": tokens, "max_tokens": 1})
    gateway = site.gateway()
    kv_events.until(gateway, lambda found: all(e["connected"] for e in found.values()), "connected")
    _, actual, receipt = ask(gateway, tokens)
    assert actual == 96
    address = site.workers[0].address
    ask(gateway, prompt_of(random.Random(3), 100))
    kv_events.until(gateway, lambda found: found[address]["trust"] == "history lost", "the gap is known")
    _, _, receipt = ask(gateway, tokens)
    assert receipt["candidates"][0]["cached"]["trust"] == "history lost"
    assert any("not exactly known (history lost 1)" in note for note in receipt["notes"])
    assert "96 history (history lost)" in gateway.get(
        "/debug/decisions/" + receipt["request_id"] + "?format=table"), "what was sent there is remembered"
    metrics = gateway.get("/metrics")
    assert f'sluice_kv_cache_endpoint_degraded{{pool="default",endpoint="{address}"}} 1' in metrics
    assert "sluice_gateway_decisions_incomplete_total" in metrics
    site.workers[0].kill()
    kv_events.until(gateway, lambda found: not found[address]["connected"], "the worker's end was noticed")
    site.workers[0] = site.worker(0)
    servers.await_rotation(gateway, site.workers)
    kv_events.until(gateway, lambda found: found[address]["connected"], "connected to the new one")
    ask(gateway, tokens)
    kv_events.until(gateway, lambda found: found[address]["trust"] == "exact", "a new engine's events are all heard")
    settle(gateway)
    predicted, actual, receipt = ask(gateway, tokens)
    assert predicted == actual == 96
    assert receipt["notes"] == []


def test_text_without_a_tokenizer_is_not_pretended_to_be_known(run, tmp_path):
    site = Site(run, tmp_path, workers=1)
    site.config.write_text(site.config.read_text().replace("plugins:\n- type: precise", """plugins:
- type: token-producer
  parameters: {estimate: {}}
- type: precise""", 1))
    gateway = site.gateway()
    settle(gateway)
    _, headers = kv_events.post(gateway.url, "/v1/completions", {"model": MODEL, "prompt": "word " * 100, "max_tokens": 1})
    receipt = kv_events.receipt(gateway, headers)
    assert receipt["prompt_tokens_estimated"]
    assert any("are an estimate" in note for note in receipt["notes"])
    assert "cached" not in receipt["candidates"][0]
