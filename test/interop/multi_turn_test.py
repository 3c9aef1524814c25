"""Conversations reuse what earlier turns computed, and an answer does not depend on whether they did.

How far it can be independent: a hit computes a shorter tail, for which other kernels may be chosen than for the whole
prompt, so that log-probabilities differ in their last digits (on this quantized model by up to about 0.2). TOLERANCE
holds that with room. On short natural prompts the likeliest token is clear enough for equal greedy text.
"""
import json
import urllib.request

import pytest

BLOCK = 16
TOLERANCE = 0.35
LONG = ("The ferry leaves the northern harbour at seven in the morning and comes back after dark. On board there are a "
        "cook, two deck hands and a captain who has crossed the strait for thirty years and still writes every wave "
        "down. Passengers bring their own bread, and in summer the cook makes soup for those who forgot. ") * 2


def post(url, path, body):
    request = urllib.request.Request(url + path, data=json.dumps(body).encode(), method="POST",
                                     headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer), answer.headers


def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_each_turn_reuses_the_turns_before_and_stays_with_its_worker(up):
    messages = [{"role": "system", "content": "You answer briefly. " + LONG}]
    endpoints, computed = [], 0
    for question in ("Who is on board?", "What do they eat?", "When does it leave?", "Why?"):
        messages.append({"role": "user", "content": question})
        answer, headers = post(up.url, "/v1/chat/completions", {
            "model": up.model, "messages": messages, "max_tokens": 24, "temperature": 0, "stop": ["\n"]})
        endpoints.append(headers["x-gateway-destination-endpoint-served"])
        if computed:
            # A block must be full to be kept; the last token's KV is never computed, and the stop string is not sent back.
            assert computed - BLOCK - 2 <= cached(answer) <= answer["usage"]["prompt_tokens"] - 1
        computed = answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
        messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"]})
    assert len(set(endpoints)) == 1


@pytest.fixture(scope="module")
def worker(up):
    return next(iter(up.worker_urls.values()))


def without_and_with(up, worker, prompt, **more):
    """The same request computed anew, then from the cache."""
    body = {"model": up.model, "prompt": prompt, "temperature": 0, "cache_salt": f"salt {hash(prompt)}", **more}
    cold, warm = (post(worker, "/v1/completions", body)[0] for _ in range(2))
    assert cached(cold) == 0
    assert cached(warm) >= BLOCK
    return cold, warm


@pytest.mark.parametrize("prompt", [LONG, LONG + LONG, LONG + "The captain's name is"])
def test_log_probabilities_with_and_without_the_cache_agree(up, worker, prompt):
    cold, warm = (a["choices"][0]["logprobs"]["top_logprobs"][0]
                  for a in without_and_with(up, worker, prompt, max_tokens=1, logprobs=5))
    best_cold, best_warm = max(cold.values()), max(warm.values())
    assert abs(best_cold - best_warm) < TOLERANCE
    both = set(cold) & set(warm)
    assert len(both) >= 3, (cold, warm)
    for token in both:
        assert abs(cold[token] - warm[token]) < TOLERANCE, (token, cold, warm)


@pytest.mark.parametrize("prompt", [
    "The capital of France is Paris. The capital of Italy is Rome. The capital of Spain is",
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, Monday, Tuesday,",
    "One plus one is two. Two plus two is four. Three plus three is six. Four plus four is",
    "Water freezes when it is very cold, and it turns to steam when it is very hot. Ice is cold, and steam is",
])
def test_greedy_text_with_and_without_the_cache_is_equal(up, worker, prompt):
    cold, warm = without_and_with(up, worker, prompt, max_tokens=8)
    assert cold["choices"][0]["text"] == warm["choices"][0]["text"]


def test_a_reset_cache_is_empty_and_changes_no_answer(up, worker):
    body = {"model": up.model, "prompt": "Red, green, blue, red, green, blue, red, green, blue, red, green,",
            "max_tokens": 6, "temperature": 0}
    post(worker, "/v1/completions", body)
    warm, _ = post(worker, "/v1/completions", body)
    post(worker, "/reset_prefix_cache", {})
    cold, _ = post(worker, "/v1/completions", body)
    assert cached(warm) >= BLOCK and cached(cold) == 0
    assert cold["choices"][0]["text"] == warm["choices"][0]["text"]
