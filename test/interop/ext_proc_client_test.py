"""`sluice epp` driven by a stock gRPC client: order, pieces, the subset, trailers, refusals, health, TLS, limits."""
import json
import subprocess

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc
from google.protobuf import struct_pb2

from support import deadline, envoy, servers, tree

DESTINATION = "x-gateway-destination-endpoint"


@pytest.fixture
def run(tmp_path):
    with servers.Servers(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with servers.Servers(tmp_path_factory.mktemp("site")) as started:
        workers = [started.echo(), started.echo()]
        picker = envoy.picker(started, *workers, arguments=["--secure-serving=false", "--health-checking",
                                                            "--emit-endpoint-scores"])
        with grpc.insecure_channel(picker.ext_proc) as channel:
            yield picker, workers, channel


def head(end=False, **headers):
    return ext_proc.HttpHeaders(end_of_stream=end, headers=base_pb2.HeaderMap(headers=[
        base_pb2.HeaderValue(key=key.replace("_", "-"), raw_value=value.encode()) for key, value in headers.items()]))


def request_head(end=False, **headers):
    message = ext_proc.ProcessingRequest(request_headers=head(end, **headers))
    message.request_headers.headers.headers.append(base_pb2.HeaderValue(key=":path", raw_value=b"/v1/completions"))
    return message


def body(data, end=False, subset=None):
    message = ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=data, end_of_stream=end))
    if subset is not None:
        hint = struct_pb2.Struct()
        hint.update({"x-gateway-destination-endpoint-subset": subset})
        message.metadata_context.filter_metadata["envoy.lb.subset_hint"].CopyFrom(hint)
    return message


def talk(channel, *messages):
    return list(external_processor_pb2_grpc.ExternalProcessorStub(channel).Process(iter(messages), timeout=30))


def headers_of(mutation):
    return {h.header.key: h.header.raw_value.decode() for h in mutation.set_headers}


PROMPT = b'{"model":"echo","prompt":"hi"}'


def test_a_request_and_its_answer(site):
    picker, workers, channel = site
    answers = talk(channel, request_head(x_request_id="grpc-1"), body(PROMPT[:10]), body(PROMPT[10:]), body(b"", True),
                   ext_proc.ProcessingRequest(response_headers=head(x="y")),
                   ext_proc.ProcessingRequest(response_body=ext_proc.HttpBody(body=b"{}")),
                   ext_proc.ProcessingRequest(response_body=ext_proc.HttpBody(body=b"", end_of_stream=True)))
    assert [a.WhichOneof("response") for a in answers] == ["request_headers", "request_body", "response_headers",
                                                           "response_body"]
    first = answers[0].request_headers.response
    assert first.clear_route_cache
    picked = headers_of(first.header_mutation)
    assert picked[DESTINATION] in {w.address for w in workers}
    assert picked["Content-Length"] == str(len(PROMPT))
    lb = answers[0].dynamic_metadata["envoy.lb"]
    assert lb[DESTINATION] == picked[DESTINATION]
    assert set(lb[DESTINATION + "-scores"].keys()) == {w.address for w in workers}
    streamed = answers[1].request_body.response.body_mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (PROMPT, True)
    assert headers_of(answers[2].response_headers.response.header_mutation) == {"x-went-into-resp-headers": "true",
                                                                               "x": "y"}
    assert picker.get_json("/debug/decisions/grpc-1")["request_id"] == "grpc-1"


def test_a_long_body_comes_back_in_pieces(site):
    prompt = b'{"model":"echo","prompt":"' + b"word " * 400_000 + b'"}'
    pieces = [body(prompt[i:i + 16_000]) for i in range(0, len(prompt), 16_000)]
    answers = talk(site[2], request_head(), *pieces, body(b"", True))[1:]
    streamed = [a.request_body.response.body_mutation.streamed_response for a in answers]
    assert b"".join(s.body for s in streamed) == prompt
    assert {len(s.body) for s in streamed[:-1]} == {62_000}
    assert [s.end_of_stream for s in streamed] == [False] * (len(streamed) - 1) + [True]


def test_the_subset_is_kept_to(site):
    _, workers, channel = site
    for _ in range(5):
        answers = talk(channel, request_head(), body(PROMPT, True, subset=[workers[0].address]))
        assert answers[0].WhichOneof("response") == "request_headers", "by address, the port does not count"
    for subset in ([], ["10.9.9.9:8000"]):
        [refused] = talk(channel, request_head(), body(PROMPT, True, subset=subset))
        assert refused.immediate_response.status.code == 503
        assert refused.immediate_response.body.startswith(b"inference error: ServiceUnavailable - ")
        assert headers_of(refused.immediate_response.headers) == {
            "x-llm-d-request-dropped-reason": "rejected-no-endpoints"}


def test_trailers_end_a_request(site):
    answers = talk(site[2], request_head(), body(PROMPT), ext_proc.ProcessingRequest(request_trailers=ext_proc.HttpTrailers()))
    assert [a.WhichOneof("response") for a in answers] == ["request_headers", "request_body", "request_trailers"]
    assert not answers[1].request_body.response.body_mutation.streamed_response.end_of_stream


def test_a_cache_that_nobody_has_is_412(site):
    [refused] = talk(site[2], request_head(prefer="if-available; wait=1"),
                     body(b'{"model":"echo","prompt":"' + b"never seen before " * 200 + b'"}', True))
    assert refused.immediate_response.status.code == 412
    assert refused.immediate_response.body == (
        b"inference error: PreconditionFailed - no decode worker has the requested KV cache")


def test_what_is_out_of_order_fails_the_stream(site):
    with pytest.raises(grpc.RpcError) as failed:
        talk(site[2], body(PROMPT, True))
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_cancelled_at_each_step(site):
    picker, _, channel = site
    steps = [request_head(), body(PROMPT), body(b"", True), ext_proc.ProcessingRequest(response_headers=head())]
    for upto in range(1, len(steps) + 1):
        call = external_processor_pb2_grpc.ExternalProcessorStub(channel).Process(_then_wait(steps[:upto]), timeout=30)
        for _ in range(max(0, upto - 2) and (2 if upto == 3 else 3)):
            next(call)
        call.cancel()
    deadline.until(lambda: 'llm_d_epp_request_running{model_name="echo",target_model_name="echo",'
                           'fairness_id="default-flow",priority="0"} 0\n' in picker.get("/metrics"),
                   "no request is followed any more", 10)


def _then_wait(messages):
    import threading
    yield from messages
    threading.Event().wait(2)


def test_messages_too_large_or_compressed_are_refused(site):
    with pytest.raises(grpc.RpcError) as failed:
        talk(site[2], request_head(), body(b"x" * (4 * 1024 * 1024)))
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    with grpc.insecure_channel(site[0].ext_proc, compression=grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            talk(channel, request_head(a="a" * 1000))
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


def health(address, method="Check", request=b""):
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary(f"/grpc.health.v1.Health/{method}")(request, timeout=10)


def test_health_on_both_ports(site):
    picker = site[0]
    for address in (picker.health, picker.ext_proc):
        assert health(address) == health(address, request=b"\n\x13inference-extension") == b"\x08\x01"
        assert b"envoy.service.ext_proc.v3.ExternalProcessor" in health(address, "List")
        with pytest.raises(grpc.RpcError) as failed:
            health(address, "Watch")
        assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_health_says_at_once_that_it_stops(run):
    worker = run.echo()
    picker = envoy.picker(run, worker, arguments=["--secure-serving=false", "--drain-timeout", "30s"])
    assert health(picker.health) == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as failed:
        health(picker.ext_proc)
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED, "only with --health-checking"
    picker.process.terminate()
    deadline.until(lambda: health(picker.health) == b"\x08\x02", "not serving", 10)
    with grpc.insecure_channel(picker.ext_proc) as channel:
        assert len(talk(channel, request_head(), body(PROMPT, True))) == 2, "and serves nevertheless"
    picker.process.terminate()  # a second signal ends the waiting
    assert picker.process.wait(10) == 0


def make_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=picker", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                    str(folder / "tls.key"), "-out", str(folder / "tls.crt")], check=True, capture_output=True)
    return (folder / "tls.crt").read_bytes()


def answers_with(picker, certificate):
    with grpc.secure_channel(picker.ext_proc, grpc.ssl_channel_credentials(certificate)) as channel:
        try:
            return len(talk(channel, request_head(), body(PROMPT, True))) == 2
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            return False


def test_tls_with_a_given_certificate_that_is_replaced(run, tmp_path):
    first = make_certificate(tmp_path)
    picker = envoy.picker(run, run.echo(), arguments=["--cert-path", tmp_path, "--enable-cert-reload"])
    assert answers_with(picker, first)
    assert not answers_with(picker, None), "nobody vouches for it"
    (tmp_path / "tls.key").write_text("no key")
    deadline.until(lambda: picker.lines("changed certificate refused"), "it says so", 10)
    assert answers_with(picker, first)
    second = make_certificate(tmp_path)
    deadline.until(lambda: answers_with(picker, second), "the new certificate is used", 10)
    assert not answers_with(picker, first)


@pytest.mark.parametrize("arguments, words", [
    (["--lora-info-metric", "x"], "parameters of core-metrics-extractor"),
    (["--pool-group", "x"], "needs Kubernetes"),
    (["--ha-enable-leader-election"], "needs Kubernetes"),
    (["--tracing"], "receipts"),
    (["--tracing=false", "--enable-pprof=false", "--endpoint", "nowhere"], "--endpoint 'nowhere'"),
    (["-v", "2"], "--log-level"),
    (["--config-text", "kind: x"], "--config-text"),
    (["--tls-min-version", "VersionTLS10"], "VersionTLS12"),
    (["--endpoint", "127.0.0.1:1", "--cert-path", "/nowhere"], "/nowhere/tls.crt"),
    (["--grpc-max-recv-msg-size", "lots"], "is not a size"),
])
def test_flags_that_cannot_be_honoured_say_why(run, arguments, words):
    server = run.start("epp", *arguments)
    assert server.process.wait(20) != 0
    assert words in server.said()


def test_prompts_are_tokenized_before_the_decision(run, tmp_path):
    config = tmp_path / "policy.yaml"
    config.write_text(f"""apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: token-producer
  parameters: {{tokenizer: {{path: {tree.ROOT / 'test/golden/hf/byte-level'}}}}}
- type: prefix-cache-scorer
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: prefix-cache-scorer
""")
    workers = [run.echo(), run.echo()]
    picker = envoy.picker(run, *workers, arguments=["--secure-serving=false", "--config-file", str(config)])
    long_text = " ".join(f"word{i}" for i in range(5000))
    with grpc.insecure_channel(picker.ext_proc) as channel:
        for name, text in (("short", "Hello, world!"), ("long", long_text)):
            answers = talk(channel, request_head(x_request_id=name),
                           body(json.dumps({"model": "echo", "prompt": text}).encode(), end=True))
            assert answers[0].WhichOneof("response") == "request_headers"
            receipt = picker.get_json(f"/debug/decisions/{name}")
            # A build without cargo has no tokenizer, and says so.
            assert receipt["token_source"] == "tokenizer" or "without" in receipt["notes"][0], receipt
            assert receipt["prompt_tokens_estimated"] == (receipt["token_source"] != "tokenizer")
        for i in range(20):  # clients that leave while their prompts are tokenized take nothing with them
            call = external_processor_pb2_grpc.ExternalProcessorStub(channel).Process(iter([
                request_head(x_request_id=f"left-{i}"),
                body(json.dumps({"model": "echo", "prompt": f"{i} {long_text}"}).encode(), end=True)]))
            call.cancel()
        assert talk(channel, request_head(), body(PROMPT, end=True))[0].HasField("request_headers")
