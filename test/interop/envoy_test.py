"""`sluice epp` behind a real Envoy with the configurations that are shipped, before workers that repeat the prompt."""
import collections
import concurrent.futures
import json
import re
import signal

import httpx
import pytest

from support import deadline, envoy, load, metrics_text, servers

REWRITE = """\
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: canary}
spec:
  poolRef: {name: default}
  rules:
    - matches: [{model: {type: Exact, value: public}}]
      targets: [{modelRewrite: echo, weight: 1}]
"""


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


class Site:
    """Workers, a picker and an Envoy in each form that no test harms."""

    def __init__(self, folder, run):
        (folder / "objects.yaml").write_text(REWRITE)
        self.workers = [run.echo("--max-model-len", 1_000_000) for _ in range(3)]
        self.picker = envoy.picker(run, *self.workers, arguments=["--health-checking", "--objects-file",
                                                                  folder / "objects.yaml"])
        self.envoys = {form: envoy.Envoy(folder, form, envoy.configuration(form, self.picker, self.workers[0]))
                       for form in ("full", "lean")}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("envoy")
    with servers.Servers(folder) as started:
        made = Site(folder, started)
        with made.envoys["full"], made.envoys["lean"]:
            yield made


@pytest.fixture(params=["full", "lean"])
def front(site, request):
    return site.envoys[request.param]


def total(picker, name):
    return sum(value for (sample, _), value in metrics_text.read(picker.get("/metrics")).items() if sample == name)


def idle(picker):
    deadline.until(lambda: total(picker, "llm_d_epp_request_running") == 0, "the picker follows no request", 20)


def agree(answer, workers):
    """What was picked, as header and as metadata, is who served."""
    picked = answer.headers["x-picked"]
    assert picked == answer.headers["x-metadata"] == answer.headers["x-gateway-destination-endpoint-served"]
    assert picked in {w.address for w in workers}
    return picked


def test_a_chat_streams_through(site, front):
    words = "the quick brown fox jumps over the lazy dog"
    body = {"model": "echo", "stream": True, "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": words}]}
    text, usage = "", None
    with httpx.stream("POST", front.url + "/v1/chat/completions", json=body, timeout=30) as answer:
        assert answer.status_code == 200
        assert answer.headers["x-went-into-resp-headers"] == "true"
        agree(answer, site.workers)
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        event = json.loads(line.removeprefix("data: "))
        text += "".join(c["delta"].get("content") or "" for c in event["choices"])
        usage = event.get("usage") or usage
    assert words in text
    assert usage["completion_tokens"] > 0


def test_the_full_form_counts_tokens(site):
    name = "llm_d_epp_request_output_tokens_sum"
    before = total(site.picker, name)
    answer = httpx.post(site.envoys["full"].url + "/v1/completions", json=load.completion("a b c d", model="echo"),
                        headers={"x-request-id": "counted"}, timeout=30).json()
    deadline.until(lambda: total(site.picker, name) - before == answer["usage"]["completion_tokens"],
                   "the answer's tokens are counted", 10)
    receipt = site.picker.get_json("/debug/decisions/counted")
    assert receipt["request_id"] == "counted"


def test_prompts_of_a_megabyte(site, front):
    prompt = "word " * 210_000
    body = {"model": "echo", "prompt": prompt, "max_tokens": 8}
    direct = httpx.post(site.workers[0].url + "/v1/completions", json=body, timeout=60)
    for _ in range(3):
        answer = httpx.post(front.url + "/v1/completions", json=body, timeout=60)
        assert answer.status_code == direct.status_code, answer.text[:500]
        assert answer.json()["usage"]["prompt_tokens"] == direct.json()["usage"]["prompt_tokens"] > 200_000


def test_long_answers_come_whole(site, front):
    prompt = " ".join(f"w{i}" for i in range(40_000))
    body = {"model": "echo", "prompt": prompt, "max_tokens": 200_000}
    direct = httpx.post(site.workers[0].url + "/v1/completions", json=body, timeout=60).json()
    answer = httpx.post(front.url + "/v1/completions", json=body, timeout=60).json()
    assert answer["choices"] == direct["choices"]
    assert len(answer["choices"][0]["text"]) > 124_000, "more than two pieces"


def test_a_request_without_a_body_goes_anywhere(site, front):
    answer = httpx.get(front.url + "/v1/models", timeout=10)
    assert [m["id"] for m in answer.json()["data"]] == ["echo"]
    agree(answer, site.workers)


def test_a_clients_word_for_the_endpoint_does_not_count(site, front):
    answer = httpx.post(front.url + "/v1/completions", json=load.completion("a"), timeout=10,
                        headers={"x-gateway-destination-endpoint": "127.0.0.1:1"})
    assert answer.status_code == 200
    agree(answer, site.workers)


def test_a_rewritten_model_is_named_as_the_client_asked(site):
    for stream in (False, True):
        answer = httpx.post(site.envoys["full"].url + "/v1/completions",
                            json=load.completion("a b c", stream=stream) | {"model": "public"}, timeout=10)
        assert answer.status_code == 200, answer.text
        assert set(re.findall(r'"model": ?"(\w+)"', answer.text)) == {"public"}


def test_what_cannot_be_read_is_answered_by_the_picker(site, front):
    answer = httpx.post(front.url + "/v1/completions", content=b"{not json", timeout=10)
    assert answer.status_code == 400
    assert answer.text.startswith("inference error: BadRequest - ")


def test_header_and_serving_endpoint_are_equal_in_thousands_of_requests(site, front):
    def ask(client, number):
        answer = client.post(front.url + "/v1/completions", json=load.completion(f"request {number}",
                                                                                 stream=number % 3 == 0, max_tokens=4))
        assert answer.status_code == 200, answer.text
        return agree(answer, site.workers)

    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=16)) as client, \
            concurrent.futures.ThreadPoolExecutor(16) as pool:
        served = collections.Counter(pool.map(lambda n: ask(client, n), range(2000)))
    assert len(served) == 3, "each worker served some"
    idle(site.picker)


def test_the_client_leaving_ends_the_request_everywhere(run, tmp_path):
    worker = run.echo(delay_ms=50)
    picker = envoy.picker(run, worker, arguments=["--health-checking"])
    for form in ("full", "lean"):
        with envoy.Envoy(tmp_path, form, envoy.configuration(form, picker, worker)) as front:
            body = load.completion("word " * 400, stream=True, max_tokens=400)
            with httpx.stream("POST", front.url + "/v1/completions", json=body, timeout=30) as answer:
                lines = answer.iter_lines()
                next(lines)
                deadline.until(lambda: worker.running() == 1, "the worker computes", 10)
            deadline.until(lambda: worker.running() == 0, "the worker stops computing", 10)
            idle(picker)


def test_a_dead_endpoint_is_left_out(run, tmp_path):
    workers = [run.echo(), run.echo()]
    picker = envoy.picker(run, *workers, arguments=["--health-checking"])
    with envoy.Envoy(tmp_path, "full", envoy.configuration("full", picker, workers[0])) as front:
        assert {load.ask(httpx.Client(), front.url, load.completion(f"r {i}")).endpoint for i in range(30)} == {
            w.address for w in workers}
        workers[1].kill()
        deadline.until(lambda: picker.in_rotation() == {workers[0].address}, "the picker notices", 20)
        outcomes = load.many(front.url, [load.completion(f"r {i}") for i in range(50)], 4)
        assert all(o.ok and o.endpoint == workers[0].address for o in outcomes)


def test_no_endpoint_is_503_with_its_reason(run, tmp_path):
    worker = run.echo()
    (tmp_path / "none.yaml").write_text("endpoints: []\n")
    picker = envoy.picker(run, arguments=["--health-checking", "--endpoints-file", tmp_path / "none.yaml"])
    with envoy.Envoy(tmp_path, "full", envoy.configuration("full", picker, worker)) as front:
        answer = httpx.post(front.url + "/v1/completions", json=load.completion("a"), timeout=10)
        assert answer.status_code == 503
        assert answer.headers["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"
        assert answer.text.startswith("inference error: ServiceUnavailable - ")
        answer = httpx.get(front.url + "/v1/models", timeout=10)
        assert (answer.status_code, answer.text) == (
            500, "inference error: Internal - no pods available in datastore")


@pytest.mark.parametrize("fail_open", [True, False])
def test_the_picker_is_killed(run, tmp_path, fail_open):
    workers = [run.echo(), run.echo()]
    picker = envoy.picker(run, *workers, arguments=["--health-checking"])
    with envoy.Envoy(tmp_path, "e", envoy.configuration("full", picker, workers[0], fail_open)) as front, \
            httpx.Client() as client:
        assert load.ask(client, front.url, load.completion("a")).ok
        picker.kill()
        if fail_open:
            # Until Envoy has noticed, requests of whose bodies it has sent a part cannot go on without the picker.
            deadline.until(lambda: all(load.ask(client, front.url, load.completion("a")).ok for _ in range(10)),
                           "Envoy notices", 20)
            outcomes = load.many(front.url, [load.completion(f"r {i}") for i in range(50)], 4)
            assert all(o.ok and o.endpoint == workers[0].address for o in outcomes), outcomes
        else:
            outcomes = load.many(front.url, [load.completion(f"r {i}") for i in range(20)], 2)
            assert all(o.status >= 500 for o in outcomes), outcomes


def test_a_picker_that_is_stopped_drops_nothing(run, tmp_path):
    workers = [run.echo(delay_ms=20), run.echo(delay_ms=20)]
    picker = envoy.picker(run, *workers, arguments=["--health-checking", "--drain-timeout", "1500ms"])
    with envoy.Envoy(tmp_path, "e", envoy.configuration("full", picker, workers[0])) as front:
        def stop(n):
            if n == 20:
                picker.process.send_signal(signal.SIGTERM)
        # Short ones until well after the signal, and long ones that end behind the time of serving.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            long = pool.submit(load.many, front.url, [load.completion("word " * 70, stream=True, max_tokens=100)] * 4, 4)
            short = load.many(front.url, [load.completion("a b c", stream=True) for _ in range(60)], 4, stop)
            long = long.result()
        assert [o for o in short + long if not o.ok] == []
        assert picker.process.wait(20) == 0
        stopped = picker.lines("stopped", "connections_cut")
        assert max(o.ended for o in long) - min(o.began for o in long) > 1.5 and len(stopped) == 1
