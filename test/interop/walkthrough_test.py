"""The walk-through of prefix-cache-aware routing (requirements S150 to S156) as a reader follows it: a request, the
gateway's log, the same request again, the gateway's log, the worker's log."""
import json
import pathlib
import re
import urllib.request

import pytest

from support import deadline, metrics_text

WORDS = ("Prompts that begin alike should meet the worker that has already computed the beginning so that it need not "
         "be computed a second time while another customer waits for an answer").split()
PROMPT = " ".join(f"{WORDS[i % len(WORDS)]}" if i % 7 else str(i) for i in range(200))


def curl(url, body=None, headers=()):
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None,
                                     headers={"content-type": "application/json", **dict(headers)})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer), answer.headers


def lines(path, *words):
    return [line for line in pathlib.Path(path).read_text().splitlines() if all(word in line for word in words)]


def scores_of(up, request_id):
    """The one line about a request's scores."""
    [line] = deadline.until(lambda: lines(up.gateway_log, "Got pod scores", request_id), "the scores are logged", 10)
    return line, json.loads(re.search(r"scores=(\S+)", line).group(1))


def complete(up, headers=()):
    answer, got = curl(up.url + "/v1/completions", {"model": up.model, "prompt": PROMPT, "max_tokens": 50,
                                                    "temperature": 0}, headers)
    return answer, got["x-request-id"], got["x-gateway-destination-endpoint-served"]


@pytest.fixture(scope="module")
def twice(up):
    return complete(up), complete(up)


def test_s150_the_models_are_listed_as_vllm_lists_them(up):
    listing, _ = curl(up.url + "/v1/models")
    assert list(listing) == ["object", "data"] and listing["object"] == "list"
    [model] = listing["data"]
    [permission] = model["permission"]
    assert isinstance(model.pop("created"), int) and isinstance(permission.pop("created"), int)
    assert permission.pop("id").startswith("modelperm-")
    assert model == {
        "id": up.model, "object": "model", "owned_by": "vllm", "root": up.state["services"][0]["model_file"],
        "parent": None, "max_model_len": 8192, "permission": [permission]}
    assert permission == {
        "object": "model_permission", "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True,
        "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False, "organization": "*",
        "group": None, "is_blocking": False}


def test_s151_a_prompt_of_200_words_is_completed(twice):
    answer = twice[0][0]
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"]
    assert answer["usage"]["prompt_tokens"] >= 200
    assert 0 < answer["usage"]["completion_tokens"] <= 50


def test_s152_the_first_request_finds_no_scores(up, twice):
    line, scores = scores_of(up, twice[0][1])
    assert scores is None
    assert f"model={up.model} " in line and f"resolvedTargetModel={up.model} " in line
    assert "criticality=Standard" in line


def test_s153_the_second_goes_where_the_first_went(up, twice):
    (first, _, first_endpoint), (second, second_id, second_endpoint) = twice
    _, scores = scores_of(up, second_id)
    assert list(scores) == [first_endpoint] and scores[first_endpoint] > 0
    assert second_endpoint == first_endpoint
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] < 64
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > second["usage"]["prompt_tokens"] - 32

    receipt = up.command("explain", second_id, "--url", up.url, "-o", "json")
    assert receipt["pick"] == first_endpoint and receipt["request_id"] == second_id
    matched = {c["endpoint"]: c["matched_tokens"] for c in receipt["candidates"]}
    assert set(matched) == set(up.worker_urls) and matched[first_endpoint] > 0
    assert all(n == 0 for endpoint, n in matched.items() if endpoint != first_endpoint)


def test_s154_the_worker_s_log_agrees_with_the_gateway_s(up, twice):
    for answer, request_id, endpoint in twice:
        [of_worker] = deadline.until(lambda: lines(up.worker_logs[endpoint], "request done", request_id), "it is logged")
        [of_gateway] = deadline.until(lambda: lines(up.gateway_log, "access: request", request_id), "it is logged")
        usage = answer["usage"]
        for line in (of_worker, of_gateway):
            assert "path=/v1/completions" in line and "status=200" in line
            assert f"prompt_tokens={usage['prompt_tokens']} " in line
            assert f"cached_tokens={usage['prompt_tokens_details']['cached_tokens']} " in line
            assert re.search(rf"completion_tokens={usage['completion_tokens']}\b", line)
        assert f"endpoint={endpoint} " in of_gateway
        assert not [log for other, log in up.worker_logs.items() if other != endpoint and lines(log, request_id)]


def test_s155_and_a_request_s_own_id_is_found_in_every_log(up):
    _, request_id, endpoint = complete(up, {"x-request-id": "my-own-id-42"}.items())
    assert request_id == "my-own-id-42"
    deadline.until(lambda: lines(up.worker_logs[endpoint], "my-own-id-42"), "the worker logs it", 10)
    deadline.until(lambda: len(lines(up.gateway_log, "my-own-id-42")) >= 2, "the gateway logs it", 10)


def test_metrics_of_gateway_and_workers_are_strictly_prometheus(up, twice):
    def scrape(url):
        with urllib.request.urlopen(url + "/metrics", timeout=30) as answer:
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            return metrics_text.read(answer.read().decode())
    gateway = scrape(up.url)
    assert sum(v for (name, labels), v in gateway.items()
               if name == "llm_d_epp_request_total" and ("model_name", up.model) in labels) >= 2
    hits = 0
    for url in up.worker_urls.values():
        worker = scrape(url)
        names = {name for name, _ in worker}
        assert {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
                "vllm:cache_config_info", "vllm:prefix_cache_hits_total"} <= names
        hits += sum(v for (name, _), v in worker.items() if name == "vllm:prefix_cache_hits_total")
    assert hits > 0


@pytest.mark.parametrize("text", [
    "a 1\n", "# TYPE a counter\na{x=1} 1\n", "# TYPE a counter\na 1\na 1\n", "# TYPE a counter\nb 1\n",
    "# TYPE a counter\na -1\n", "# TYPE a counter\na one\n", "# what\n", '# TYPE a gauge\na{x="1",x="2"} 1\n',
    '# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
    '# TYPE a histogram\na_bucket{le="1"} 1\na_sum 1\na_count 1\n',
])
def test_the_strict_reader_is_strict(text):
    with pytest.raises(ValueError):
        metrics_text.read(text)


def test_s156_a_sheddable_request_is_logged_as_such(up):
    _, request_id, _ = complete(up, {"x-gateway-inference-objective": "Sheddable"}.items())
    line, _ = scores_of(up, request_id)
    assert "criticality=Sheddable" in line
