"""A gateway's policy as its operators handle it: checked, reloaded, recorded, replayed, shadowed, promoted."""
import collections
import json
import subprocess
import threading

import httpx
import pytest

from support import deadline, load, servers, tree

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
RANDOM = HEAD + "plugins:\n- type: random-picker\n"
QUEUE = HEAD + "plugins:\n- type: queue-scorer\n"
PREFIX = HEAD + "plugins:\n- type: prefix-cache-scorer\n- type: active-request-scorer\n"


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


def sluice(*arguments, stdin=None):
    return subprocess.run([str(tree.PROGRAM), *map(str, arguments)], capture_output=True, text=True, input=stdin,
                          timeout=60)


def replace(file, text):
    """As an editor and Kubernetes do: written beside and renamed."""
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.rename(file)


def completions(n, **more):
    return [load.completion(f"request {i} with some words", stream=True, max_tokens=20, **more) for i in range(n)]


def policy_changes(gateway, what):
    found = [line for line in gateway.get("/metrics").splitlines()
             if line.startswith("sluice_gateway_policy_changes_total") and f'what="{what}"' in line]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0


# sluice doctor


def test_the_doctor_prints_the_policy_that_runs_without_a_configuration():
    done = sluice("doctor")
    assert done.returncode == 0, done.stderr
    for line in ("the built-in configuration is valid", "scorer  x3 prefix-cache-scorer", "picker  max-score-picker"):
        assert line in done.stdout


@pytest.mark.parametrize("text, words", [
    ("plugins:\n- type: queue-scorr\n", ["line 4", "'queue-scorr'", "did you mean 'queue-scorer'?"]),
    ("plugin:\n- type: queue-scorer\n", ["line 3", "plugin", "plugins"]),
    ("plugins:\n- {type: load-aware-scorer, parameters: {threshold: many}}\n", ["threshold", "line 4"]),
    ("plugins:\n- type: random-picker\n- type: max-score-picker\nschedulingProfiles:\n- name: d\n"
     "  plugins: [{pluginRef: random-picker}, {pluginRef: max-score-picker}]\n", ["exactly one picker", "line 8"]),
    ("plugins:\n- {type: session-affinity-scorer}\n", ["--allow-experimental-plugins"]),
])
def test_the_doctor_names_what_is_wrong(tmp_path, text, words):
    file = tmp_path / "epp.yaml"
    file.write_text(HEAD + text)
    done = sluice("doctor", "--config-file", file)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"sluice: {file}")
    for word in words:
        assert word in done.stderr


def test_the_doctor_speaks_json(tmp_path):
    file = tmp_path / "epp.yaml"
    file.write_text(HEAD + "plugins:\n- {type: session-affinity-scorer}\n- {type: queue-scorer, name: q}\n")
    policy = json.loads(sluice("doctor", "--config-file", file, "--allow-experimental-plugins", "-o", "json").stdout)
    assert policy["profiles"][0]["scorers"] == [{"name": "session-affinity-scorer", "weight": 1.0},
                                                {"name": "q", "weight": 1.0}]
    assert {"name": "session-affinity-scorer", "type": "session-affinity-scorer", "stability": "alpha"}.items() <= \
        policy["plugins"][0].items()


# Reload


def only(port):
    return HEAD + ("plugins:\n- type: header-based-testing-filter\n- type: random-picker\n" if port is None else
                   "plugins:\n- {type: label-selector-filter, parameters: {matchLabels: {side: " + port + "}}}\n")


def sided(workers):
    return "endpoints:\n" + "".join(
        f'- {{name: "{side}", address: "{w.host}", port: "{w.port}", labels: {{side: {side}}}}}\n'
        for side, w in workers.items())


def test_a_policy_is_reloaded_under_load_without_a_failed_request(run, tmp_path):
    workers = {"left": run.echo(delay_ms=2), "right": run.echo(delay_ms=2)}
    endpoints, config = tmp_path / "endpoints.yaml", tmp_path / "epp.yaml"
    endpoints.write_text(sided(workers))
    replace(config, only("left"))
    gateway = run.gateway(arguments=["--endpoints-file", endpoints, "--config-file", config])
    servers.await_rotation(gateway, workers.values())

    def turn(n):
        if n == 40:
            replace(config, only("right"))
            deadline.until(lambda: policy_changes(gateway, "reloaded") == 1, "the policy is reloaded", 10)
    outcomes = load.many(gateway.url, completions(160), 8, on_done=turn)
    assert [o for o in outcomes if not o.ok] == []
    assert {o.endpoint for o in outcomes} == {w.address for w in workers.values()}
    assert {o.endpoint for o in load.many(gateway.url, completions(8), 4)} == {workers["right"].address}


def test_a_wrong_file_changes_nothing_and_is_told_once(run, tmp_path):
    worker = run.echo()
    config = tmp_path / "epp.yaml"
    replace(config, QUEUE)
    gateway = run.gateway(worker, arguments=["--config-file", config])
    replace(config, HEAD + "plugins:\n- type: queue-scorr\n")
    deadline.until(lambda: policy_changes(gateway, "refused") == 1, "the file is refused", 10)
    assert load.many(gateway.url, completions(4), 2)[0].ok
    refused = gateway.lines("changed file refused", "did you mean 'queue-scorer'?")
    assert len(refused) == 1
    replace(config, RANDOM)
    deadline.until(lambda: policy_changes(gateway, "reloaded") == 1, "the mended file is used", 10)
    assert policy_changes(gateway, "refused") == 1


# Objectives and rewrites


OBJECTS = """
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: gold}
spec: {priority: 7, poolRef: {name: default}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: canary}
spec:
  poolRef: {name: default}
  rules:
  - matches: [{model: {value: public}}]
    targets: [{modelRewrite: stable, weight: 80}, {modelRewrite: next, weight: 20}]
"""


def test_models_are_rewritten_by_weight_and_answers_keep_the_clients_name(run, tmp_path):
    def echo(name):
        return run.start("worker", "--engine", "echo", "--served-model-name", name, "--port", 0).await_ready()
    stable, canary = echo("stable"), echo("next")
    objects = tmp_path / "objects.yaml"
    replace(objects, OBJECTS)
    gateway = run.gateway(stable, canary, arguments=["--objects-file", objects, "--seed", 5])
    sent = 300
    bodies = [load.completion(f"{i}", model="public", max_tokens=3) for i in range(sent)]
    outcomes = load.many(gateway.url, bodies, 8)
    assert all(o.ok for o in outcomes), outcomes[0]
    share = collections.Counter(o.endpoint for o in outcomes)[canary.address] / sent
    assert 0.1 < share < 0.3
    with httpx.Client(base_url=gateway.url, headers={"x-llm-d-inference-objective": "gold"}) as client:
        plain = client.post("/v1/completions", json=bodies[0])
        assert plain.json()["model"] == "public"
        streamed = client.post("/v1/completions", json={**bodies[0], "stream": True})
        models = {json.loads(line[6:])["model"] for line in streamed.text.splitlines()
                  if line.startswith("data: {")}
        assert models == {"public"}
        receipt = client.get(f"/debug/decisions/{plain.headers['x-request-id']}").json()
    assert receipt["model"] == "public" and receipt["target_model"] in ("stable", "next")
    assert receipt["priority"] == 7
    assert 'model_rewrite_name="canary"' in gateway.get("/metrics")

    replace(objects, OBJECTS.replace("priority: 7", "priority: -7"))
    deadline.until(lambda: gateway.lines("objectives and rewrites reloaded"), "the objects are reloaded", 10)
    asked = sluice("explain", "--url", gateway.url, "--dry-run", "-f", "-", "--path", "/v1/completions", "-o", "json",
                   stdin=json.dumps(bodies[0]))
    assert asked.returncode == 0, asked.stderr


# Receipts, the decision log, replay


def test_a_dry_run_says_where_a_request_would_go_and_sends_nothing(run):
    workers = [run.echo(), run.echo()]
    gateway = run.gateway(*workers)
    asked = sluice("explain", "--url", gateway.url, "--dry-run", "-f", "-",
                   stdin=json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello"}]}))
    assert asked.returncode == 0, asked.stderr
    assert "->" in asked.stdout and "expected first token after" in asked.stdout
    assert all("vllm:request_success_total" not in w.get("/metrics") or w.running() == 0 for w in workers)
    assert not gateway.lines("access")
    wrong = sluice("explain", "--url", gateway.url, "--dry-run", "-f", "-", stdin='{"model": "echo"}')
    assert wrong.returncode == 2 and "messages" in wrong.stderr


def test_a_recorded_log_replays_bit_for_bit_and_shows_what_another_policy_would_do(run, tmp_path):
    workers = [run.echo(delay_ms=1) for _ in range(3)]
    config, log = tmp_path / "epp.yaml", tmp_path / "decisions.jsonl"
    replace(config, PREFIX)
    gateway = run.gateway(*workers, arguments=["--config-file", config, "--decision-log", log])
    outcomes = load.many(gateway.url, [load.completion(f"{'a shared prefix ' * 40}{i % 5} secretword", stream=True,
                                                       max_tokens=8) for i in range(60)], 6)
    assert all(o.ok for o in outcomes)
    assert gateway.stop() == 0
    assert "secretword" not in log.read_text() and "shared prefix" not in log.read_text()

    done = sluice("replay", log)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 decisions, 60 repeated bit for bit" in done.stdout
    other = tmp_path / "other.yaml"
    other.write_text(RANDOM)
    compared = json.loads(sluice("replay", log, "--config-file", other, "-o", "json").stdout)
    assert compared["equal"] == 60 and compared["elsewhere"]
    assert compared["policy"]["shadows"][0]["name"] == "other"

    text = log.read_text()
    at = text.index('"acting":true,"request":{"id":')
    last = text.index('"}', text.index('"digest":"', at)) - 1
    log.write_text(text[:last] + ("1" if text[last] != "1" else "2") + text[last + 1:])
    changed = sluice("replay", log)
    assert changed.returncode == 1 and "not repeated" in changed.stdout
    assert sluice("replay", other).returncode == 2


def test_what_the_latency_model_learned_survives_a_restart(run, tmp_path):
    worker = run.echo(delay_ms=2)
    arguments = ["--state-dir", tmp_path]
    gateway = run.gateway(worker, arguments=arguments)
    assert all(o.ok for o in load.many(gateway.url, completions(40), 4))
    assert gateway.stop() == 0
    again = run.gateway(worker, arguments=arguments)
    kind = again.get_json("/debug/latency")["pools"][0]["kinds"][0]
    assert kind["ttft"]["samples"] == 40 and kind["itl"]["samples"] == 40
    again.stop()
    (tmp_path / "latency-default.json").write_text("{broken")
    fresh = run.gateway(worker, arguments=arguments)
    assert fresh.get_json("/debug/latency")["pools"][0]["kinds"] == []
    assert fresh.lines("the latency model starts anew")


# Shadows


def test_a_shadow_is_compared_promoted_and_stays_when_it_is_no_worse(run, tmp_path):
    workers = [run.echo(delay_ms=1), run.echo(delay_ms=1)]
    trial = tmp_path / "trial.yaml"
    trial.write_text(RANDOM)
    gateway = run.gateway(*workers, arguments=["--shadow", f"trial={trial}"])
    assert all(o.ok for o in load.many(gateway.url, completions(60), 4))
    table = sluice("explain", "--url", gateway.url, "--shadow").stdout
    assert "live policy: configured" in table and "trial" in table
    shadow = gateway.get_json("/debug/policy")["pools"][0]["policy"]["shadows"][0]
    assert shadow["requests"] == 60 and 0 < shadow["other_pick"] < 60

    missing = sluice("promote", "trail", "--url", gateway.url)
    assert missing.returncode == 2 and "did you mean 'trial'?" in missing.stderr
    promoted = sluice("promote", "trial", "--url", gateway.url)
    assert promoted.returncode == 0 and "policy 'trial' is live" in promoted.stdout
    assert all(o.ok for o in load.many(gateway.url, completions(40), 4))
    assert "live policy: trial" in sluice("explain", "--url", gateway.url, "--shadow").stdout
    assert sluice("promote", "configured", "--url", gateway.url).returncode == 0


def test_a_promotion_that_measures_worse_is_taken_back(run, tmp_path):
    fast, slow = run.echo(delay_ms=1), run.echo("--max-num-seqs", 1, delay_ms=4)  # its requests wait for each other
    workers = {"fast": fast, "slow": slow}
    endpoints, config, trial = tmp_path / "endpoints.yaml", tmp_path / "epp.yaml", tmp_path / "trial.yaml"
    endpoints.write_text(sided(workers))
    replace(config, only("fast"))
    trial.write_text(only("slow"))
    gateway = run.gateway(arguments=["--endpoints-file", endpoints, "--config-file", config, "--shadow",
                                     f"trial={trial}"])
    servers.await_rotation(gateway, workers.values())
    bodies = [load.completion("many words to be repeated one by one " + str(i), stream=True, max_tokens=8) for i in range(80)]
    assert all(o.ok for o in load.many(gateway.url, bodies, 4))
    assert sluice("promote", "trial", "--url", gateway.url).returncode == 0
    assert all(o.ok for o in load.many(gateway.url, bodies, 4))
    assert gateway.lines("promotion taken back", "'trial' was taken back after")
    assert "live policy: configured" in sluice("explain", "--url", gateway.url, "--shadow").stdout
    assert policy_changes(gateway, "reverted") == 1
