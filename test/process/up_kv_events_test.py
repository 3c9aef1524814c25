"""`sluice up` with a precise scheduler configuration: workers publish, the gateway reads, `sluice get cache` shows it."""
import json
import random
import subprocess

from support import deadline, kv_events, platform

MANIFEST = """
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: tiny}
spec:
  model: {uri: "file://SmolLM2-135M-Instruct.Q4_1.gguf", name: tiny-model}
  replicas: 2
  template:
    containers:
    - {name: main, args: ["--max-model-len=512"]}
  router:
    scheduler:
      config:
        inline:
          apiVersion: llm-d.ai/v1alpha1
          kind: EndpointPickerConfig
          plugins:
          - type: precise-prefix-cache-producer
            parameters: {tokenProcessorConfig: {blockSizeTokens: 16}}
          - type: prefix-cache-scorer
            parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}
          - type: max-score-picker
"""


def test_the_caches_of_its_workers_are_exactly_known(tmp_path):
    (tmp_path / "service.yaml").write_text(MANIFEST)
    with platform.running(tmp_path, "-f", str(tmp_path / "service.yaml")) as (url, environment):
        def get(*arguments):
            return subprocess.run([str(platform.BINARY), "get", "cache", *arguments], env=environment, capture_output=True,
                                  text=True, timeout=60)

        def endpoints():
            return json.loads(get("-o", "json").stdout)["pools"][0]["indexes"][0]["endpoints"]
        deadline.until(lambda: not any(e["degraded"] for e in endpoints()), lambda: get().stdout, 30)
        tokens = [random.Random(4).randrange(1000, 40_000) for _ in range(70)]
        body = {"model": "tiny-model", "prompt": tokens, "max_tokens": 1}
        kv_events.post(url, "/v1/completions", body)
        deadline.until(lambda: sum(e["entries"] for e in endpoints()) == 4, lambda: get().stdout, 30)
        answer, headers = kv_events.post(url, "/v1/completions", body)
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 64
        holder = next(e for e in endpoints() if e["entries"] == 4)
        assert holder["endpoint"] == headers["x-gateway-destination-endpoint-served"]
        assert holder["tiers"] == {"gpu": 4}
        assert holder["predicted"]["exact"] == 2
        assert holder["events"].startswith("tcp://127.0.0.1:")
        table = get().stdout
        assert "gpu=4" in table and "100.0%" in table and "exact" in table, table
        assert "trust: exact" in get("-o", "yaml").stdout.replace('"', "")
        assert get("--url", url).stdout.splitlines()[0].startswith("pool tiny: 4 blocks of 16 tokens")
        explained = subprocess.run([str(platform.BINARY), "explain", "--url", url, headers["x-request-id"]], env=environment,
                                   capture_output=True, text=True, timeout=60).stdout
        assert "64 gpu" in explained
        assert "64 tokens were cached (64 were predicted)" in explained
        wrong = subprocess.run([str(platform.BINARY), "get", "--url", url], env=environment, capture_output=True, text=True,
                               timeout=60)
        assert wrong.returncode == 2 and "get cache" in wrong.stderr
