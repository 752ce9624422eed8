"""Every error of a layer below becomes one of the client's. The texts of Triton's are copied from Triton 24.10."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import geventhttpclient.response
import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

import tesserank_client as client
from tesserank_client._config import Timeout
from tesserank_client._errors import translate
from tesserank_client._request import Request, check
from tesserank_client._tensors import encode_recommend
from tesserank_client._transport import open_async_transport, open_transport

ENSEMBLE = "in ensemble 'recommend', "
RAISED = ENSEMBLE + "Failed to process the request(s) for model 'segment_embedder_0_0', message: ValueError: "
TRACEBACK = "\n\nAt:\n  /models/segment_embedder/1/model.py(11): execute\n"
SHAPE = "[request id: <id_unknown>] unexpected shape for input 'TOP_K' for model 'recommend'. Expected [-1,1], got [1]."
DATATYPE = (
    "[request id: <id_unknown>] inference input 'TEXTS' data-type is 'FP32', but model 'recommend' expects 'BYTES'"
)
BATCH = "[request id: <id_unknown>] inference request batch-size must be <= 64 for 'recommend'"
REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
    "Failed to connect to remote host: Connection refused"
)
LOST = "recvmsg:Connection reset by peer (104)"

# gRPC status, HTTP status (None: gRPC's alone), what the server says, the error, and its text if not the whole.
ANSWERS: list[tuple[str, int | None, str, type[Exception], str | None]] = [
    ("INVALID_ARGUMENT", 400, ENSEMBLE + "invalid_argument: weight -1.0", client.InvalidArgumentError, "weight -1.0"),
    ("INTERNAL", 500, ENSEMBLE + "unknown_item: 'x: y'", client.UnknownItemError, "'x: y'"),
    ("INTERNAL", 500, RAISED + "unknown_item: 'x'" + TRACEBACK, client.UnknownItemError, "'x'"),
    ("INTERNAL", 500, RAISED + "empty_request: user 0" + TRACEBACK, client.EmptyRequestError, "user 0"),
    ("INTERNAL", 500, RAISED + "limit_exceeded: 40 texts" + TRACEBACK, client.LimitExceededError, "40 texts"),
    ("INTERNAL", 500, RAISED + "top_k_too_large: 9 of 3" + TRACEBACK, client.TopKTooLargeError, "9 of 3"),
    ("INTERNAL", 500, RAISED + "internal: index" + TRACEBACK, client.InternalServerError, "index"),
    ("INTERNAL", 500, "invalid_argument: id 'internal: x'", client.InvalidArgumentError, "id 'internal: x'"),
    ("INTERNAL", 500, RAISED + "division by zero" + TRACEBACK, client.InternalServerError, None),
    ("INVALID_ARGUMENT", 400, SHAPE, client.InvalidArgumentError, None),
    ("INVALID_ARGUMENT", 400, DATATYPE, client.InvalidArgumentError, None),
    ("INVALID_ARGUMENT", 400, BATCH, client.LimitExceededError, None),
    ("NOT_FOUND", 404, "Request for unknown model: 'recommend' is not found", client.ModelUnavailableError, None),
    ("UNAVAILABLE", 503, "Exceeds maximum queue size", client.ModelUnavailableError, None),
    ("UNAVAILABLE", 503, "Request timeout expired", client.DeadlineExceededError, "Request timeout expired"),
    ("UNAVAILABLE", None, REFUSED, client.ConnectError, REFUSED),
    ("UNAVAILABLE", None, LOST, client.TransportError, LOST),
    ("CANCELLED", 499, "cancelled", client.TransportError, "cancelled"),
    ("DEADLINE_EXCEEDED", 504, "Deadline Exceeded", client.DeadlineExceededError, "Deadline Exceeded"),
    ("RESOURCE_EXHAUSTED", 413, "too much", client.LimitExceededError, "too much"),
    ("PERMISSION_DENIED", 403, "restricted", client.RequestRejectedError, "restricted"),
    ("UNAUTHENTICATED", 401, "who are you", client.RequestRejectedError, "who are you"),
    ("UNIMPLEMENTED", 501, "no such method", client.ServerError, "no such method"),
    ("UNKNOWN", 500, "surprise", client.InternalServerError, "surprise"),
    ("DATA_LOSS", 507, "surprise", client.InternalServerError, "surprise"),
]
GRPC_ANSWERS = [(code, text, kind, part) for code, _, text, kind, part in ANSWERS]
HTTP_ANSWERS = [(code, text, kind, part) for _, code, text, kind, part in ANSWERS if code is not None]


@pytest.fixture
def grpc_server() -> Iterator[Callable[[str, str], str]]:
    """``answer(status, text)`` -> url of a gRPC server that answers every inference with that status."""
    servers = []

    def answer(status: str, text: str) -> str:
        class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc, unused-ignore]
            def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> None:
                context.abort(grpc.StatusCode[status], text)

        server = grpc.server(futures.ThreadPoolExecutor(1))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield answer
    for server in servers:
        server.stop(None).wait(5)


@pytest.fixture
def http_server() -> Iterator[Callable[[int, bytes], str]]:
    """``answer(status, body)`` -> url of an HTTP server that answers every POST so."""
    servers = []

    def answer(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True  # their clients keep connections alive
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"127.0.0.1:{server.server_address[1]}"

    yield answer
    for server, thread in servers:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.mark.parametrize("ask", [("sync", "grpc"), ("async", "grpc")], ids="-".join, indirect=True)
@pytest.mark.parametrize(("status", "text", "kind", "part"), GRPC_ANSWERS)
def test_a_grpc_status_becomes(
    grpc_server: Any, ask: Any, status: str, text: str, kind: type[Exception], part: str | None
) -> None:
    with pytest.raises(kind) as raised:
        ask(grpc_server(status, text), history=["a"])
    assert type(raised.value) is kind
    assert (part or text) in str(raised.value)
    assert TRACEBACK not in str(raised.value) or part is None


@pytest.mark.parametrize("ask", [("sync", "http"), ("async", "http")], ids="-".join, indirect=True)
@pytest.mark.parametrize(("status", "text", "kind", "part"), HTTP_ANSWERS)
def test_an_http_status_becomes(
    http_server: Any, ask: Any, status: int, text: str, kind: type[Exception], part: str | None
) -> None:
    with pytest.raises(kind) as raised:
        ask(http_server(status, json.dumps({"error": text}).encode()), history=["a"])
    assert type(raised.value) is kind
    assert (part or text) in str(raised.value)


@pytest.mark.parametrize("ask", [("sync", "http"), ("async", "http")], ids="-".join, indirect=True)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b'{"outputs": [{"name": "ITEM_IDS"}]}'])
def test_an_http_answer_that_is_not_tritons_is_an_error_of_the_clients(http_server: Any, ask: Any, body: bytes) -> None:
    with pytest.raises(client.TesserankClientError):
        ask(http_server(200, body), history=["a"])


@pytest.mark.parametrize("status", list(grpc.StatusCode), ids=str)
def test_every_grpc_status_is_translated(status: grpc.StatusCode) -> None:
    error = translate(InferenceServerException("what happened", status=str(status)))
    assert isinstance(error, client.TesserankClientError)
    assert "what happened" in str(error)


@pytest.mark.parametrize("message", ["", None, "in ensemble 'recommend', Stub process 'inner_0_0' is not healthy."])
def test_a_dead_model_process_is_named_with_its_remedy(message: str | None) -> None:
    error = translate(InferenceServerException(message, status="StatusCode.INTERNAL"))
    assert isinstance(error, client.InternalServerError)
    assert "tesserank doctor" in str(error)


# What the libraries raise besides an InferenceServerException, and what each becomes.
CONNECTION_KEY: Any = aiohttp.client_reqrep.ConnectionKey("127.0.0.1", 1, False, True, None, None, None)
EXCEPTIONS: list[tuple[Exception, type[Exception]]] = [
    (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), client.ConnectError),
    (OSError(errno.EHOSTUNREACH, "no route"), client.ConnectError),
    (socket.gaierror(-2, "name not known"), client.ConnectError),
    (aiohttp.ClientConnectorError(CONNECTION_KEY, OSError(errno.ECONNREFUSED, "refused")), client.ConnectError),
    (aiohttp.ClientConnectorDNSError(CONNECTION_KEY, OSError(None, "name not known")), client.ConnectError),
    (aiohttp.ConnectionTimeoutError("connecting"), client.ConnectError),
    (asyncio.TimeoutError(), client.DeadlineExceededError),
    (aiohttp.ServerTimeoutError("reading"), client.DeadlineExceededError),
    (grpc.FutureTimeoutError(), client.TransportError),
    (grpc.RpcError(), client.TransportError),
    (grpc.aio.UsageError("closed"), client.TransportError),
    (ConnectionResetError(errno.ECONNRESET, "reset"), client.TransportError),
    (BrokenPipeError(errno.EPIPE, "pipe"), client.TransportError),
    (aiohttp.ServerDisconnectedError(), client.TransportError),
    (aiohttp.ClientPayloadError("cut off"), client.TransportError),
    (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), client.TransportError),
    (geventhttpclient.response.HTTPConnectionClosed("closed"), client.TransportError),
    (geventhttpclient.response.HTTPParseError("not HTTP", 0), client.TransportError),
    (json.JSONDecodeError("not JSON", "", 0), client.TransportError),
    (InferenceServerException("refused before sending"), client.InvalidArgumentError),
    (KeyError("outputs"), client.TransportError),
]


class Raising:
    """In the place of a tritonclient: every method raises, at once or when awaited."""

    def __init__(self, error: Exception, awaited: bool) -> None:
        self._error = error
        self._awaited = awaited

    def close(self) -> Any:
        return asyncio.sleep(0) if self._awaited else None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: object, **__: object) -> None:
            raise self._error

        async def fail_later(*_: object, **__: object) -> None:
            raise self._error

        return fail_later if self._awaited else fail


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("flavour", ["sync", "async"])
@pytest.mark.parametrize(("error", "kind"), EXCEPTIONS, ids=lambda value: getattr(type(value), "__name__", None))
def test_no_exception_of_a_lower_layer_escapes(
    flavour: str, protocol: Any, error: Exception, kind: type[Exception]
) -> None:
    if (flavour, protocol) == ("sync", "http") and isinstance(error, TimeoutError):
        kind = client.ConnectError  # there, only connecting has a timeout of that type
    with pytest.raises(client.TesserankClientError) as raised:
        _infer_with(flavour, protocol, error)
    assert type(raised.value) is kind


def test_the_cause_is_kept() -> None:
    error = ConnectionResetError("reset")
    with pytest.raises(client.TransportError) as raised:
        _infer_with("async", "http", error)
    assert raised.value.__cause__ is error


def test_cancelling_a_task_is_not_an_error_of_the_clients(silent_url: str) -> None:
    async def cancel() -> None:
        async with client.AsyncClient(silent_url, "http") as asking:
            task = asyncio.create_task(asking.recommend(["a"]))
            await asyncio.sleep(0.05)
            task.cancel()
            await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())


def test_a_closed_client_says_so() -> None:
    with client.Client("127.0.0.1:1") as sync:
        pass
    with pytest.raises(client.ClientClosedError, match="closed"):
        sync.recommend(["a"])

    async def ask_closed() -> None:
        closed = client.AsyncClient("127.0.0.1:1")
        await closed.close()
        await closed.cross_encode("a", ["b"])

    with pytest.raises(client.ClientClosedError, match="closed"):
        asyncio.run(ask_closed())


def _infer_with(flavour: str, protocol: Any, error: Exception) -> None:
    call = encode_recommend([check(Request(["a"]))])
    if flavour == "sync":
        transport: Any = open_transport(protocol, "127.0.0.1:1", Timeout(1.0))
        transport.close()
        transport._triton = Raising(error, awaited=False)
        transport.infer(call, 1.0)

    async def infer() -> None:
        transport: Any = open_async_transport(protocol, "127.0.0.1:1", Timeout(1.0))
        await transport.close()
        transport._triton = Raising(error, awaited=True)
        await transport.infer(call, 1.0)

    asyncio.run(infer())
