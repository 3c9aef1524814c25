"""Writes messages.txt: ext_proc messages as protobuf's own library encodes them, one "name hex" a line.
Run with build/venv/bin/python. test/interop/ext_proc_messages_test.py says when the file is out of date."""
import pathlib

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf import struct_pb2

FILE = pathlib.Path(__file__).with_name("messages.txt")


def header_map(*pairs):
    return base_pb2.HeaderMap(headers=[base_pb2.HeaderValue(key=k, raw_value=v) for k, v in pairs])


def metadata(space, **values):
    struct = struct_pb2.Struct()
    struct.update({key.replace("_", "-"): value for key, value in values.items()})
    return base_pb2.Metadata(filter_metadata={space: struct})


def common(**mutation):
    return ext_proc.CommonResponse(**mutation)


def overwrite(*pairs):
    return [base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=k, raw_value=v),
                                       append_action="OVERWRITE_IF_EXISTS_OR_ADD") for k, v in pairs]


def streamed(body, end):
    return ext_proc.BodyResponse(response=common(body_mutation=ext_proc.BodyMutation(
        streamed_response=ext_proc.StreamedBodyResponse(body=body, end_of_stream=end))))


def messages():
    request, response = ext_proc.ProcessingRequest, ext_proc.ProcessingResponse
    yield "request-headers", request(
        request_headers=ext_proc.HttpHeaders(headers=header_map((":path", b"/v1/completions"), ("X-Mixed", b"Case"))),
        protocol_config=ext_proc.ProtocolConfiguration(request_body_mode="FULL_DUPLEX_STREAMED",
                                                       response_body_mode="FULL_DUPLEX_STREAMED"))
    yield "request-headers-lean", request(
        request_headers=ext_proc.HttpHeaders(headers=header_map((":path", b"/v1/models")), end_of_stream=True),
        protocol_config=ext_proc.ProtocolConfiguration(request_body_mode="FULL_DUPLEX_STREAMED"))
    yield "request-headers-plain-value", request(request_headers=ext_proc.HttpHeaders(headers=base_pb2.HeaderMap(
        headers=[base_pb2.HeaderValue(key="a", value="text"), base_pb2.HeaderValue(key="b", value="x", raw_value=b"y")])))
    yield "request-body-subset", request(
        request_body=ext_proc.HttpBody(body=b"{}", end_of_stream=True),
        metadata_context=metadata("envoy.lb.subset_hint", x_gateway_destination_endpoint_subset=[
            "10.0.0.1:8000", "[2001:db8::1]:8000", 7, "10.0.0.3"]))
    yield "request-body-empty-subset", request(
        request_body=ext_proc.HttpBody(end_of_stream=True),
        metadata_context=metadata("envoy.lb.subset_hint", x_gateway_destination_endpoint_subset=[]))
    yield "request-body-subset-no-list", request(
        request_body=ext_proc.HttpBody(end_of_stream=True),
        metadata_context=metadata("envoy.lb.subset_hint", x_gateway_destination_endpoint_subset="10.0.0.1:8000"))
    yield "request-trailers", request(request_trailers=ext_proc.HttpTrailers(trailers=header_map(("t", b"1"))))
    yield "response-headers-served", request(
        response_headers=ext_proc.HttpHeaders(headers=header_map((":status", b"200"))),
        metadata_context=metadata("envoy.lb", x_gateway_destination_endpoint_served="10.0.0.2:8000"))
    yield "response-body", request(response_body=ext_proc.HttpBody(body=b"data: x\n\n"))
    yield "response-trailers", request(response_trailers=ext_proc.HttpTrailers())

    struct = struct_pb2.Struct()
    struct.update({"envoy.lb": {"x-gateway-destination-endpoint": "10.0.0.2:8000"}})
    yield "answer-request-headers", response(
        request_headers=ext_proc.HeadersResponse(response=common(
            header_mutation=ext_proc.HeaderMutation(
                set_headers=overwrite(("x-gateway-destination-endpoint", b"10.0.0.2:8000"), ("long", b"v" * 300)),
                remove_headers=["x-prefiller-host-port"]),
            clear_route_cache=True)),
        dynamic_metadata=struct)
    yield "answer-response-headers", response(response_headers=ext_proc.HeadersResponse(response=common(
        header_mutation=ext_proc.HeaderMutation(set_headers=overwrite(("x-went-into-resp-headers", b"true"))))))
    yield "answer-request-body", response(request_body=streamed(b"b" * 1000, True))
    yield "answer-response-body", response(response_body=streamed(b"data: x\n\n", False))
    yield "answer-empty-body", response(response_body=streamed(b"", True))
    yield "answer-request-trailers", response(request_trailers=ext_proc.TrailersResponse())
    yield "answer-response-trailers", response(response_trailers=ext_proc.TrailersResponse())
    yield "answer-immediate", response(immediate_response=ext_proc.ImmediateResponse(
        status={"code": 429}, body=b"inference error: ResourceExhausted - full",
        headers=ext_proc.HeaderMutation(
            set_headers=overwrite(("x-llm-d-request-dropped-reason", b"rejected-saturated")))))


def text():
    return "".join(f"{name} {message.SerializeToString(deterministic=True).hex()}\n" for name, message in messages())


if __name__ == "__main__":
    FILE.write_text(text())
