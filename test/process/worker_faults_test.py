"""A real worker with bad input, when it is killed, and its KV events as a ZMQ subscriber sees them."""
import json
import signal
import subprocess

import httpx
import msgpack
import pytest
import zmq

from support import deadline, load, servers, tree

PROMPT = ("The lighthouse keeper climbed the stairs every evening and lit the lamp before the first ship came by, and "
          "every morning he put it out again and wrote the names of the ships into his book. ") * 3
BLOCK = 16
END_OF_REPLAY = 2**64 - 1
EVENT_KEYS = ["type", "block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name",
              "extra_keys", "group_idx", "kv_cache_spec_kind"]


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


class Events:
    """What a worker publishes, and its replay socket."""

    def __init__(self, folder):
        self.live = f"ipc://{folder}/live"
        self.replay = f"ipc://{folder}/replay"
        self.config = json.dumps({"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": self.live,
                                  "replay_endpoint": self.replay, "topic": "kv@worker@smollm2"})
        self.context = zmq.Context()
        self.context.linger = 0  # an unsent message must not keep the test alive
        self.subscriber = self.context.socket(zmq.SUB)
        self.subscriber.connect(self.live)
        self.subscriber.subscribe(b"kv@")

    def batches(self, enough):
        """[(topic, sequence number, [time, events, rank])] as they come, until `enough` says so."""
        found = []

        def more():
            while self.subscriber.poll(0):
                topic, number, payload = self.subscriber.recv_multipart()
                found.append((topic, int.from_bytes(number, "big"), msgpack.unpackb(payload)))
            return enough(found) and found
        return deadline.until(more, lambda: f"{found} is all that came", 30)

    def replayed(self, start):
        dealer = self.context.socket(zmq.DEALER)
        dealer.connect(self.replay)
        dealer.send_multipart([b"", start.to_bytes(8, "big")])
        found = []
        while dealer.poll(30_000):
            empty, topic, number, payload = dealer.recv_multipart()
            assert empty == b""
            if int.from_bytes(number, "big") == END_OF_REPLAY:
                assert payload == b""
                dealer.close()
                return found
            found.append((topic, int.from_bytes(number, "big"), msgpack.unpackb(payload)))
        raise AssertionError("no end marker")

    def close(self):
        self.context.destroy(linger=0)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A worker with the real model and the stream of its KV events."""
    folder = tmp_path_factory.mktemp("kv")
    events = Events(folder)
    with servers.Servers(folder) as started:
        worker = started.worker("--kv-events-config", events.config, "--max-model-len", 2048)
        try:
            _await_subscription(worker, events)
            yield worker, events
        finally:
            events.close()


def _await_subscription(worker, events):
    """A subscription takes effect when the two sides have met; a prompt that is heard shows that they have."""
    tries = iter(range(100))
    deadline.until(lambda: complete(worker, f"{next(tries)} abcdefghij " * BLOCK) and events.subscriber.poll(500),
                   "a subscriber hears of an event", 30)
    reset(worker)
    complete(worker, "Hi")  # events leave with a step
    events.batches(lambda found: found and found[-1][2][1][-1]["type"] == "AllBlocksCleared")


def reset(worker):
    httpx.post(worker.url + "/reset_prefix_cache").raise_for_status()


def complete(worker, prompt, **more):
    answer = httpx.post(worker.url + "/v1/completions", timeout=60,
                        json={"model": "smollm2", "prompt": prompt, "temperature": 0, "max_tokens": 1, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def stored(batches):
    return [event for batch in batches for event in batch[2][1] if event["type"] == "BlockStored"]


def test_a_prompt_is_published_as_a_chain_of_blocks_in_vllms_encoding(served):
    worker, events = served
    reset(worker)
    tokens = httpx.post(worker.url + "/tokenize", json={"model": "smollm2", "prompt": PROMPT}).json()["tokens"]
    complete(worker, PROMPT)
    blocks = len(tokens) // BLOCK
    batches = events.batches(lambda found: sum(len(e["block_hashes"]) for e in stored(found)) >= blocks)

    numbers = [number for _, number, _ in batches]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for topic, _, (time, _, rank) in batches:
        assert topic == b"kv@worker@smollm2"
        assert isinstance(time, float)
        assert rank == 0
    hashes, covered = [], []
    for event in stored(batches):
        assert list(event) == EVENT_KEYS
        assert event["parent_block_hash"] == (hashes[-1] if hashes else None)
        assert len(event["token_ids"]) == BLOCK * len(event["block_hashes"])
        assert len(event["extra_keys"]) == len(event["block_hashes"])
        assert (event["block_size"], event["medium"], event["lora_id"], event["lora_name"]) == (BLOCK, "GPU", None, None)
        hashes += event["block_hashes"]
        covered += event["token_ids"]
    assert covered == tokens[:blocks * BLOCK]
    assert len(set(hashes)) == blocks
    assert all(0 <= h < 2**64 for h in hashes)

    again = complete(worker, PROMPT)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= (blocks - 1) * BLOCK
    salted = complete(worker, PROMPT, cache_salt="other")
    assert salted["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    more = events.batches(lambda found: len(stored(found)) > 0)
    first = stored(more)[0]
    assert first["parent_block_hash"] is None, "the hit was not announced again"
    assert first["extra_keys"][0] == ["other"]
    assert not set(first["block_hashes"]) & set(hashes)


def test_replay_gives_what_was_published_from_the_asked_number_on(served):
    worker, events = served
    reset(worker)
    complete(worker, PROMPT)
    batches = events.batches(lambda found: len(stored(found)) > 0)
    last = batches[-1][1]
    replayed = deadline.until(lambda: (r := events.replayed(0)) and r[-1][1] >= last and r, "the last batch is replayed")
    assert [number for _, number, _ in replayed] == list(range(len(replayed)))
    by_number = {number: batch for _, number, batch in replayed}
    for _, number, batch in batches:
        assert by_number[number] == batch
    tail = events.replayed(last)
    assert tail[0][1] == last
    assert tail[0][2] == batches[-1][2]
    assert events.replayed(last + 1000) == []


def test_a_client_that_leaves_a_real_model_frees_it(served):
    worker, _ = served
    body = {"model": "smollm2", "prompt": PROMPT, "stream": True, "max_tokens": 1500, "ignore_eos": True}
    with httpx.stream("POST", worker.url + "/v1/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()  # kept: when the iterator goes, so does the connection
        next(lines)
        assert worker.running() == 1
    deadline.until(lambda: worker.running() == 0, "the request is aborted", 10)


def test_a_killed_worker_cuts_its_clients_and_its_port_is_free_at_once(run):
    worker = run.worker("--max-model-len", 512)
    body = {"model": "smollm2", "prompt": "Once", "stream": True, "max_tokens": 400, "ignore_eos": True}
    with pytest.raises((httpx.NetworkError, httpx.ProtocolError)):
        with httpx.stream("POST", worker.url + "/v1/completions", json=body, timeout=60) as answer:
            for line in answer.iter_lines():
                if line:
                    worker.process.kill()
    assert worker.process.wait() == -signal.SIGKILL
    again = run.echo(port=worker.port)
    assert again.port == worker.port


def test_sigterm_lets_an_answer_finish_and_ends_with_0(run):
    worker = run.worker("--max-model-len", 512)
    body = {"model": "smollm2", "prompt": "Once", "stream": True, "max_tokens": 60, "ignore_eos": True}
    events = []
    with httpx.stream("POST", worker.url + "/v1/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if line and not events:
                worker.process.send_signal(signal.SIGTERM)
            if line:
                events.append(line)
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert worker.process.wait(20) == 0, worker.said()
    assert worker.lines("draining")


def run_once(*arguments):
    return subprocess.run([str(tree.PROGRAM), "worker", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, cwd=tree.ROOT)


def only_our_words(text):
    """The program's own line; a library's are marked as such."""
    own = [line for line in text.splitlines() if line.startswith("sluice: ")]
    assert len(own) == 1, text
    assert "what():" not in text and "terminate" not in text and "#0" not in text
    return own[0]


def test_a_missing_model_is_one_line_and_2(tmp_path):
    done = run_once("--model", tmp_path / "none.gguf")
    assert done.returncode == 2
    assert "none.gguf" in only_our_words(done.stderr)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("size", [0, 3, 100, 5000, 40_000_000])
def test_a_model_file_that_ends_early_is_said(tmp_path, size):
    file = tmp_path / "cut.gguf"
    with open(servers.MODEL_FILE, "rb") as whole:
        file.write_bytes(whole.read(size))
    done = run_once("--model", file, "--port", 0)
    assert done.returncode == 2
    assert "cut.gguf" in only_our_words(done.stderr)


def test_a_model_file_of_something_else_is_said(tmp_path):
    file = tmp_path / "text.gguf"
    file.write_text("this is not a model\n" * 100)
    done = run_once("--model", file, "--port", 0)
    assert done.returncode == 2
    assert "text.gguf" in only_our_words(done.stderr)


def test_a_taken_port_is_said(run):
    holder = run.echo()
    done = run_once("--engine", "echo", "--port", holder.port)
    assert done.returncode == 1
    assert f"port {holder.port} on 127.0.0.1 is taken" in only_our_words(done.stderr)


def test_a_taken_event_port_is_said(run):
    holder = run.echo()
    config = json.dumps({"enable_kv_cache_events": True, "endpoint": f"tcp://*:{holder.port}"})
    done = run_once("--model", servers.MODEL_FILE, "--port", 0, "--kv-events-config", config)
    assert done.returncode == 1
    assert str(holder.port) in only_our_words(done.stderr)


@pytest.mark.parametrize("arguments, words", [
    (["--engine", "echo", "--max-num-seq", "2"], "did you mean '--max-num-seqs'?"),
    (["--engine", "eco"], "--engine"),
    (["--engine", "echo", "--threads", "2"], "--threads has no meaning with --engine echo"),
    (["--model", "x.gguf", "--echo-delay-ms", "2"], "--echo-delay-ms has a meaning with --engine echo only"),
    (["--model", "x.gguf", "--kv-events-config", '{"enable_kv_cache_event": true}'],
     "did you mean 'enable_kv_cache_events'?"),
    (["--model", "x.gguf", "--kv-events-config", '{"enable_kv_cache_events": "yes"}'], "enable_kv_cache_events"),
    (["--model", "x.gguf", "--kv-events-config", '{"enable'], "--kv-events-config"),
    (["--model", "x.gguf", "--kv-events-config", '{"enable_kv_cache_events": true, "publisher": "carrier-pigeon"}'],
     "carrier-pigeon"),
    (["--model", "x.gguf", "--prefix-caching-hash-algo", "md5"], "md5"),
    (["--model", "x.gguf", "--lora-modules", "name"], "NAME=PATH"),
    (["--model", "x.gguf", "--chat-template", "no-such-file.jinja"], "no-such-file.jinja"),
    ([], "--model"),
])
def test_a_mistaken_flag_is_named_and_ends_with_2(arguments, words):
    done = run_once(*arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr


def test_the_queue_of_an_echo_worker_is_as_long_as_it_was_told(run):
    worker = run.echo("--max-num-seqs", 1, "--max-waiting-requests", 1, delay_ms=20)
    body = load.completion("a b c", stream=True, max_tokens=10_000, ignore_eos=True)
    with httpx.Client(timeout=30) as client, client.stream("POST", worker.url + "/v1/completions", json=body) as first:
        lines = first.iter_lines()
        next(lines)
        with load.connect(worker) as second:
            second.sendall(load.request_bytes(body))
            deadline.until(lambda: worker.running() == 2, "one runs and one waits", 10)
            third = client.post(worker.url + "/v1/completions", json=load.completion("a b c"))
            assert third.status_code == 429
            assert third.json()["error"]["code"] == 429
    deadline.until(lambda: worker.running() == 0, "both were aborted", 10)
