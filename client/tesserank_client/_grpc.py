"""gRPC, synchronous."""

from __future__ import annotations

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tesserank_client._config import Timeout
from tesserank_client._errors import translated
from tesserank_client._kserve import decode_answer, encode_call
from tesserank_client._result import Answer
from tesserank_client._tensors import Call

LONGEST_MESSAGE = 2**31 - 1  # bytes; gRPC's own default of 4 MiB is less than a large answer


def channel_arguments(timeout: Timeout) -> list[tuple[str, int]]:
    """Options of a gRPC channel."""
    arguments = [
        ("grpc.max_send_message_length", LONGEST_MESSAGE),
        ("grpc.max_receive_message_length", LONGEST_MESSAGE),
        # By default a client refuses to try again for up to two minutes after a server went away.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # As over HTTP: proxies are for the web, not for an inference server.
        ("grpc.enable_http_proxy", 0),
    ]
    if timeout.connect is not None:
        # Despite its name, what gRPC allows one attempt to connect.
        arguments.append(("grpc.min_reconnect_backoff_ms", max(1, int(timeout.connect * 1000))))
    return arguments


class GrpcTransport:
    """See ``Transport``. May be shared between threads."""

    def __init__(self, url: str, timeout: Timeout) -> None:
        self._where = f"grpc://{url}"
        with translated(self._where, timeout.total):
            self._channel = grpc.insecure_channel(url, options=channel_arguments(timeout))
            self._triton = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def infer(self, call: Call, timeout: float) -> Answer:
        with translated(self._where, timeout):
            return decode_answer(self._triton.ModelInfer(encode_call(call, timeout), timeout=timeout))

    def is_ready(self, model: str, timeout: float) -> bool:
        with translated(self._where, timeout):
            answer = self._triton.ModelReady(service_pb2.ModelReadyRequest(name=model), timeout=timeout)
            return bool(answer.ready)

    def close(self) -> None:
        self._channel.close()
