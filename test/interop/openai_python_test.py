"""The official Python client, unmodified, against `sluice up` with the real model. The model is small and says odd
things: what is asserted is the shape of its answers and what the API guarantees, not their sense."""
import json
import math
import threading
import urllib.request

import openai
import pytest

from support import deadline

HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {
    "type": "object", "properties": {"hour24": {"type": "boolean"}}, "required": ["hour24"],
    "additionalProperties": False}}}
ASK_WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def client(up):
    with openai.OpenAI(base_url=up.url + "/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


@pytest.fixture(scope="module")
def chat(up, client):
    def ask(messages=HELLO, **more):
        return client.chat.completions.create(model=up.model, messages=messages, **{"max_tokens": 12, **more})
    return ask


@pytest.fixture(scope="module")
def complete(up, client):
    def ask(prompt, **more):
        return client.completions.create(model=up.model, prompt=prompt, **{"max_tokens": 6, **more})
    return ask


def test_models_are_listed(up, client):
    models = client.models.list().data
    assert [m.id for m in models] == [up.model]
    assert models[0].owned_by == "vllm"
    assert models[0].max_model_len == 8192


def test_a_chat(up, chat):
    answer = chat()
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.model == up.model
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_what_the_plain_answer_says(chat):
    plain = chat(temperature=0)
    pieces = list(chat(temperature=0, stream=True))
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == plain.choices[0].message.content
    assert pieces[-1].choices[0].finish_reason == plain.choices[0].finish_reason
    assert len({p.id for p in pieces}) == 1
    assert all(p.usage is None for p in pieces)


def test_a_stream_with_usage_ends_with_it(chat):
    pieces = list(chat(stream=True, stream_options={"include_usage": True}))
    assert pieces[-1].choices == []
    assert 0 < pieces[-1].usage.completion_tokens <= 12
    assert all(p.usage is None for p in pieces[:-1])
    running = list(chat(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}))
    counts = [p.usage.completion_tokens for p in running]
    assert counts == sorted(counts) and counts[-1] > 0


def test_two_answers_to_one_question(chat):
    answer = chat(n=2, seed=3)
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens > 2
    streamed = {0: "", 1: ""}
    for piece in chat(n=2, stream=True):
        for choice in piece.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert all(streamed.values())


def test_a_stop_string_ends_the_answer_and_is_left_out(complete):
    whole = complete("One, two, three, four,", temperature=0, max_tokens=16).choices[0].text
    stop = whole[5:8]
    cut = complete("One, two, three, four,", temperature=0, max_tokens=16, stop=[stop]).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.text == whole[:whole.index(stop)]


def test_a_seed_repeats_and_another_differs(complete):
    def text(seed):
        return complete("The old man", temperature=1.5, seed=seed, max_tokens=16).choices[0].text
    complete("The old man")  # from here on the prompt is where it was
    first = text(7)
    assert text(7) == first
    assert any(text(seed) != first for seed in (8, 9, 10))


def test_max_tokens_is_a_limit_under_both_names(chat):
    for name in ("max_tokens", "max_completion_tokens"):
        answer = chat(**{"max_tokens": openai.omit, name: 3}, extra_body={"ignore_eos": True})
        assert answer.usage.completion_tokens == 3
        assert answer.choices[0].finish_reason == "length"


def test_logprobs_of_a_chat(chat):
    tokens = chat(temperature=0, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    for token in tokens:
        assert bytes(token.bytes).decode(errors="replace") == token.token
        assert len(token.top_logprobs) == 3
        best = [t.logprob for t in token.top_logprobs]
        assert best == sorted(best, reverse=True)
        assert best[0] <= 0 and math.fsum(map(math.exp, best)) <= 1.0001
        assert token.logprob == pytest.approx(best[0]), "greedy takes the likeliest"
    streamed = [t for p in chat(logprobs=True, top_logprobs=2, stream=True) if p.choices and p.choices[0].logprobs
                for t in p.choices[0].logprobs.content]
    assert 0 < len(streamed) <= 12 and all(len(t.top_logprobs) == 2 for t in streamed)


def test_completions_take_text_texts_and_token_ids(up, complete):
    assert complete("The capital of France is").choices[0].text
    both = complete(["One", "Two"], max_tokens=2)
    assert [c.index for c in both.choices] == [0, 1]
    request = urllib.request.Request(up.url + "/tokenize", method="POST", headers={"content-type": "application/json"},
                                     data=json.dumps({"model": up.model, "prompt": "One, two, three,"}).encode())
    with urllib.request.urlopen(request) as answer:
        ids = json.load(answer)["tokens"]
    by_ids, by_text = (complete(p, temperature=0) for p in (ids, "One, two, three,"))
    assert by_ids.usage.prompt_tokens == by_text.usage.prompt_tokens == len(ids)
    assert by_ids.choices[0].text == by_text.choices[0].text
    assert len(complete([ids, ids[:2]], max_tokens=1).choices) == 2


def test_echo_and_logprobs_of_completions(complete):
    answer = complete("The capital", echo=True, logprobs=2, max_tokens=2, temperature=0).choices[0]
    assert answer.text.startswith("The capital")
    table = answer.logprobs
    assert "".join(table.tokens) == answer.text
    assert len(table.tokens) == len(table.token_logprobs) == len(table.top_logprobs) == len(table.text_offset)
    assert table.token_logprobs[0] is None and all(p <= 0 for p in table.token_logprobs[1:])
    assert table.text_offset[0] == 0 and table.text_offset == sorted(table.text_offset)


def check_weather(call):
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"}
    assert isinstance(arguments["city"], str) and arguments["unit"] in ("celsius", "fahrenheit")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_demanded_tool_is_called_with_arguments_of_its_schema(chat, choice):
    # One call when one was named; else only when several are forbidden: a small model does not know when to stop.
    more = {"parallel_tool_calls": False} if choice == "required" else {}
    answer = chat(ASK_WEATHER, tools=[WEATHER], tool_choice=choice, max_tokens=120, temperature=0, **more).choices[0]
    assert answer.finish_reason == ("tool_calls" if choice == "required" else "stop")
    assert len(answer.message.tool_calls) == 1
    for call in answer.message.tool_calls:
        check_weather(call)
        assert call.id and call.type == "function"
    if choice != "required":
        return
    follow_up = ASK_WEATHER + [answer.message.model_dump(exclude_none=True),
                               {"role": "tool", "tool_call_id": answer.message.tool_calls[0].id, "content": "18 C"}]
    assert chat(follow_up, tools=[WEATHER], tool_choice="none").choices[0].message.content


def test_a_named_tool_is_the_one_called(chat):
    choice = {"type": "function", "function": {"name": "get_time"}}
    [call] = chat(ASK_WEATHER, tools=[WEATHER, TIME], tool_choice=choice, max_tokens=80).choices[0].message.tool_calls
    assert call.function.name == "get_time"
    assert isinstance(json.loads(call.function.arguments)["hour24"], bool)


def test_with_auto_the_model_may_answer_either_way(chat):
    answer = chat(ASK_WEATHER, tools=[WEATHER], tool_choice="auto", max_tokens=120, temperature=0).choices[0]
    if answer.finish_reason == "tool_calls":
        for call in answer.message.tool_calls:
            json.loads(call.function.arguments)
    else:
        assert answer.message.content and not answer.message.tool_calls


def test_streamed_tool_deltas_assemble_to_a_call(chat):
    calls, reason = {}, None
    for piece in chat(ASK_WEATHER, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=120,
                      temperature=0, stream=True):
        reason = piece.choices[0].finish_reason or reason
        for delta in piece.choices[0].delta.tool_calls or []:
            call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += delta.id or ""
            call["name"] += delta.function.name or ""
            call["arguments"] += delta.function.arguments or ""
    assert reason == "tool_calls"
    assert calls and all(c["id"] and c["name"] == "get_weather" for c in calls.values())
    for call in calls.values():
        assert set(json.loads(call["arguments"])) == {"city", "unit"}


def test_the_clients_own_stream_helper_works(up, client):
    with client.chat.completions.stream(model=up.model, messages=HELLO, max_tokens=200, temperature=0,
                                        stop=["."]) as stream:
        texts = [e.delta for e in stream if e.type == "content.delta"]
    assert "".join(texts) == stream.get_final_completion().choices[0].message.content


def test_a_json_schema_is_kept(chat):
    schema = {"type": "object", "additionalProperties": False, "required": ["city", "population", "tags"], "properties": {
        "city": {"type": "string", "maxLength": 15}, "population": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["old", "new"]}, "minItems": 1, "maxItems": 2}}}
    answer = chat([{"role": "user", "content": "Describe Paris."}], max_tokens=150, temperature=0, response_format={
        "type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}}).choices[0]
    assert answer.finish_reason == "stop"
    value = json.loads(answer.message.content)
    assert set(value) == {"city", "population", "tags"}
    assert len(value["city"]) <= 15 and isinstance(value["population"], int)
    assert 1 <= len(value["tags"]) <= 2 and set(value["tags"]) <= {"old", "new"}


def test_a_json_object_is_one_as_far_as_it_goes(chat):
    answer = chat([{"role": "user", "content": 'Reply with {"ok": true}'}], max_tokens=100, temperature=0,
                  response_format={"type": "json_object"}).choices[0]
    assert answer.message.content.lstrip().startswith("{")
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_embeddings(up, client):
    texts = ["a small boat", "a small boat", "quarterly tax report"]
    as_floats = client.embeddings.create(model=up.model, input=texts, encoding_format="float")
    assert [e.index for e in as_floats.data] == [0, 1, 2]
    vectors = [e.embedding for e in as_floats.data]
    assert cosine(vectors[0], vectors[1]) == pytest.approx(1, abs=1e-3)
    assert cosine(vectors[0], vectors[2]) < 0.999
    packed = client.embeddings.create(model=up.model, input=texts[0]).data[0].embedding  # base64 on the wire
    assert cosine(packed, vectors[0]) == pytest.approx(1, abs=1e-3)
    assert as_floats.usage.prompt_tokens > 0


def test_an_aborted_stream_frees_its_worker(up, chat):
    def running():
        with urllib.request.urlopen(up.url + "/debug/endpoints") as answer:
            return sum(e["running"] for p in json.load(answer)["pools"] for e in p["endpoints"])
    stream = chat(stream=True, max_tokens=4000, extra_body={"ignore_eos": True})
    next(iter(stream))
    deadline.until(lambda: running() == 1, "the gateway sees the request running", 10)
    stream.close()
    deadline.until(lambda: running() == 0, "the worker has dropped the request", 10)


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="gpt-none", messages=HELLO)
    assert "gpt-none" in raised.value.message
    assert raised.value.body["code"] == 404 and raised.value.request_id


@pytest.mark.parametrize("change, word", [
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"top_p": 3}, "top_p"),
    ({"messages": "hi"}, "messages"),
    ({"messages": []}, "messages"),
    ({"tool_choice": "required"}, "tool"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}}, ""),
])
def test_a_wrong_request_is_a_bad_request_that_names_the_field(chat, change, word):
    with pytest.raises(openai.BadRequestError) as raised:
        chat(**change)
    assert word in raised.value.message
    assert raised.value.body["code"] == 400


def test_a_prompt_that_is_too_long_is_a_bad_request(complete):
    with pytest.raises(openai.BadRequestError) as raised:
        complete([100] * 8192)
    assert "8192" in raised.value.message


def test_a_key_is_asked_for(narrow):
    def list_with(key):
        with openai.OpenAI(base_url=narrow.url + "/v1", api_key=key, max_retries=0) as client:
            return client.models.list().data
    with pytest.raises(openai.AuthenticationError):
        list_with("wrong")
    assert list_with("a-key") and list_with("another-key")


def test_a_full_queue_is_a_rate_limit_error_and_is_over_when_it_empties(narrow):
    body = {"model": "smollm2", "prompt": "Once", "max_tokens": 900, "extra_body": {"ignore_eos": True}}
    with openai.OpenAI(base_url=narrow.url + "/v1", api_key="a-key", max_retries=0, timeout=60) as client:
        first = client.completions.create(stream=True, **body)
        next(iter(first))
        with openai.OpenAI(base_url=narrow.url + "/v1", api_key="a-key", max_retries=0, timeout=60) as other:
            waiting = threading.Thread(target=lambda: other.completions.create(**{**body, "max_tokens": 2}))
            waiting.start()
            deadline.until(lambda: narrow.running() == 2, "one runs, one waits", 10)
            with pytest.raises(openai.RateLimitError) as raised:
                client.completions.create(**body)
            assert "queue" in raised.value.message
            first.close()
            waiting.join(30)
            assert not waiting.is_alive()
        assert client.completions.create(**{**body, "max_tokens": 1}).choices
