# SPDX-License-Identifier: MIT
"""The cases of gRPC's public interoperability tests, of Python's side: a client's, and a server."""
import threading
import time

import grpc
import interop_pb2 as pb

SERVICE = "/grpc.testing.TestService/"
REQUESTS, ANSWERS = (27182, 8, 1828, 45904), (31415, 9, 2653, 58979)
LARGE_REQUEST, LARGE_ANSWER = 271828, 314159
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
METADATA = (("x-grpc-test-echo-initial", "test_initial_metadata_value"),
            ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"))
PATIENCE = 60
GZIP, NONE = grpc.Compression.Gzip, grpc.Compression.NoCompression


class Stub:
    def __init__(self, channel):
        def made(kind, name, request, reply):
            return getattr(channel, kind)(SERVICE + name, request_serializer=request.SerializeToString,
                                          response_deserializer=reply.FromString)
        self.channel = channel
        self.empty = made("unary_unary", "EmptyCall", pb.Empty, pb.Empty)
        self.unary = made("unary_unary", "UnaryCall", pb.SimpleRequest, pb.SimpleResponse)
        self.output = made("unary_stream", "StreamingOutputCall", pb.StreamingOutputCallRequest,
                           pb.StreamingOutputCallResponse)
        self.input = made("stream_unary", "StreamingInputCall", pb.StreamingInputCallRequest,
                          pb.StreamingInputCallResponse)
        self.duplex = made("stream_stream", "FullDuplexCall", pb.StreamingOutputCallRequest,
                           pb.StreamingOutputCallResponse)
        self.none = made("unary_unary", "UnimplementedCall", pb.Empty, pb.Empty)
        self.no_service = channel.unary_unary("/grpc.testing.UnimplementedService/UnimplementedCall",
                                              request_serializer=pb.Empty.SerializeToString,
                                              response_deserializer=pb.Empty.FromString)


def payload(size):
    return pb.Payload(body=bytes(size))


def simple(**more):
    return pb.SimpleRequest(response_size=LARGE_ANSWER, payload=payload(LARGE_REQUEST), **more)


def duplex(request, answer, interval=0):
    return pb.StreamingOutputCallRequest(
        response_parameters=[pb.ResponseParameters(size=answer, interval_us=interval)],
        payload=payload(request))


def fails(code, call, *arguments, **more):
    try:
        result = call(*arguments, **more)
        if hasattr(result, "__next__"):
            list(result)
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError(f"it went well, and not {code}")


# ---- a client's cases ----

def empty_unary(stub):
    assert stub.empty(pb.Empty(), timeout=PATIENCE) == pb.Empty()


def large_unary(stub):
    assert stub.unary(simple(), timeout=PATIENCE).payload.body == bytes(LARGE_ANSWER)


def client_compressed_unary(stub):
    yes, no = pb.BoolValue(value=True), pb.BoolValue(value=False)
    fails(grpc.StatusCode.INVALID_ARGUMENT, stub.unary, simple(expect_compressed=yes),
          timeout=PATIENCE)
    stub.unary(simple(expect_compressed=yes), timeout=PATIENCE, compression=GZIP)
    stub.unary(simple(expect_compressed=no), timeout=PATIENCE)


def server_compressed_unary(stub):
    for wanted in (True, False):
        reply = stub.unary(simple(response_compressed=pb.BoolValue(value=wanted)), timeout=PATIENCE)
        assert reply.payload.body == bytes(LARGE_ANSWER)


def client_streaming(stub):
    requests = (pb.StreamingInputCallRequest(payload=payload(size)) for size in REQUESTS)
    assert stub.input(requests, timeout=PATIENCE).aggregated_payload_size == 74922


def client_compressed_streaming(stub):
    def one(size):
        return pb.StreamingInputCallRequest(payload=payload(size),
                                            expect_compressed=pb.BoolValue(value=True))
    fails(grpc.StatusCode.INVALID_ARGUMENT, stub.input, iter([one(27182)]), timeout=PATIENCE)
    reply = stub.input(iter([one(27182), one(45904)]), timeout=PATIENCE, compression=GZIP)
    assert reply.aggregated_payload_size == 73086


def server_streaming(stub):
    request = pb.StreamingOutputCallRequest(
        response_parameters=[pb.ResponseParameters(size=size) for size in ANSWERS])
    assert [len(r.payload.body) for r in stub.output(request, timeout=PATIENCE)] == list(ANSWERS)


def server_compressed_streaming(stub):
    request = pb.StreamingOutputCallRequest(response_parameters=[
        pb.ResponseParameters(size=31415, compressed=pb.BoolValue(value=True)),
        pb.ResponseParameters(size=92653, compressed=pb.BoolValue(value=False))])
    assert [len(r.payload.body) for r in stub.output(request, timeout=PATIENCE)] == [31415, 92653]


def ping_pong(stub):
    def requests():
        for i in range(len(REQUESTS)):
            assert len(got) == i  # each answer before the next request
            yield duplex(REQUESTS[i], ANSWERS[i])
            until = time.monotonic() + PATIENCE
            while len(got) == i and time.monotonic() < until:
                time.sleep(0.001)
    got = []
    for reply in stub.duplex(requests(), timeout=PATIENCE):
        got.append(len(reply.payload.body))
    assert got == list(ANSWERS)


def empty_stream(stub):
    assert not list(stub.duplex(iter(()), timeout=PATIENCE))


def custom_metadata(stub):
    reply, call = stub.unary.with_call(simple(), timeout=PATIENCE, metadata=METADATA)
    streamed = stub.duplex(iter([duplex(LARGE_REQUEST, LARGE_ANSWER)]), timeout=PATIENCE,
                           metadata=METADATA)
    list(streamed)
    for each in (call, streamed):
        assert METADATA[0] in [tuple(m) for m in each.initial_metadata()]
        assert METADATA[1] in [tuple(m) for m in each.trailing_metadata()]


def status_is(stub, text):
    status = pb.EchoStatus(code=2, message=text)
    error = fails(grpc.StatusCode.UNKNOWN, stub.unary, pb.SimpleRequest(response_status=status),
                  timeout=PATIENCE)
    assert error.details() == text, error
    error = fails(grpc.StatusCode.UNKNOWN, stub.duplex,
                  iter([pb.StreamingOutputCallRequest(response_status=status)]), timeout=PATIENCE)
    assert error.details() == text, error


def status_code_and_message(stub):
    status_is(stub, "test status message")


def special_status_message(stub):
    status_is(stub, SPECIAL)


def unimplemented_method(stub):
    fails(grpc.StatusCode.UNIMPLEMENTED, stub.none, pb.Empty(), timeout=PATIENCE)


def unimplemented_service(stub):
    fails(grpc.StatusCode.UNIMPLEMENTED, stub.no_service, pb.Empty(), timeout=PATIENCE)


def cancel_after_begin(stub):
    over = threading.Event()

    def nothing():  # and does not end, or the server might have answered already
        over.wait(PATIENCE)
        yield from ()
    call = stub.input.future(nothing(), timeout=PATIENCE)
    call.cancel()
    over.set()
    assert call.cancelled() and call.code() == grpc.StatusCode.CANCELLED


def cancel_after_first_response(stub):
    def requests():
        yield duplex(27182, 31415)
        time.sleep(0.2)
    call = stub.duplex(requests(), timeout=PATIENCE)
    assert len(next(call).payload.body) == 31415
    call.cancel()
    fails(grpc.StatusCode.CANCELLED, lambda: call)


def timeout_on_sleeping_server(stub):
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, stub.duplex, iter([duplex(27182, 31415, 100000)]),
          timeout=0.001)


def concurrent_large_unary(stub, many=1000):
    calls = [stub.unary.future(simple(), timeout=PATIENCE) for _ in range(many)]
    for call in calls:
        assert len(call.result().payload.body) == LARGE_ANSWER


CASES = (empty_unary, large_unary, client_compressed_unary, server_compressed_unary,
         client_streaming, client_compressed_streaming, server_streaming,
         server_compressed_streaming, ping_pong, empty_stream, custom_metadata,
         status_code_and_message, special_status_message, unimplemented_method,
         unimplemented_service, cancel_after_begin, cancel_after_first_response,
         timeout_on_sleeping_server, concurrent_large_unary)


# ---- a server ----

def echo(context):
    given = dict(context.invocation_metadata())
    if METADATA[0][0] in given:
        context.send_initial_metadata(((METADATA[0][0], given[METADATA[0][0]]),))
    if METADATA[1][0] in given:
        context.set_trailing_metadata(((METADATA[1][0], given[METADATA[1][0]]),))


def as_asked(request, context):
    if request.response_status.code:
        context.abort(grpc.StatusCode(next(c.value for c in grpc.StatusCode
                                           if c.value[0] == request.response_status.code)),
                      request.response_status.message)


def serve_unary(request, context):
    echo(context)
    as_asked(request, context)
    context.set_compression(GZIP if request.response_compressed.value else NONE)
    return pb.SimpleResponse(payload=payload(request.response_size))


def answers(request, context):
    as_asked(request, context)
    for p in request.response_parameters:
        time.sleep(p.interval_us / 1e6)
        yield p, pb.StreamingOutputCallResponse(payload=payload(p.size))


def serve_output(request, context):
    echo(context)
    if any(p.compressed.value for p in request.response_parameters):
        context.set_compression(GZIP)
    for p, reply in answers(request, context):
        if not p.compressed.value:
            context.disable_next_message_compression()
        yield reply


def serve_input(requests, context):
    total = sum(len(r.payload.body) for r in requests)
    return pb.StreamingInputCallResponse(aggregated_payload_size=total)


def serve_duplex(requests, context):
    echo(context)
    for request in requests:
        for _, reply in answers(request, context):
            yield reply


def handlers():
    def made(kind, serve, request, reply):
        return getattr(grpc, kind + "_rpc_method_handler")(
            serve, request_deserializer=request.FromString,
            response_serializer=reply.SerializeToString)
    output = (pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse)
    return grpc.method_handlers_generic_handler("grpc.testing.TestService", {
        "EmptyCall": made("unary_unary", lambda request, context: (echo(context), pb.Empty())[1],
                          pb.Empty, pb.Empty),
        "UnaryCall": made("unary_unary", serve_unary, pb.SimpleRequest, pb.SimpleResponse),
        "StreamingOutputCall": made("unary_stream", serve_output, *output),
        "StreamingInputCall": made("stream_unary", serve_input, pb.StreamingInputCallRequest,
                                   pb.StreamingInputCallResponse),
        "FullDuplexCall": made("stream_stream", serve_duplex, *output)})
