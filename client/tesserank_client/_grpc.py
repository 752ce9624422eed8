"""gRPC, synchronous."""

from __future__ import annotations

import tritonclient.grpc as triton

from tesserank_client._config import Timeout
from tesserank_client._errors import translated
from tesserank_client._result import Answer
from tesserank_client._tensors import Call
from tesserank_client._transport import inference_arguments, read_outputs

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
            self._triton = triton.InferenceServerClient(url, channel_args=channel_arguments(timeout))

    def infer(self, call: Call, timeout: float) -> Answer:
        with translated(self._where, timeout):
            arguments = inference_arguments(triton, call, timeout)
            return read_outputs(self._triton.infer(**arguments, client_timeout=timeout), call)

    def is_ready(self, model: str, timeout: float) -> bool:
        with translated(self._where, timeout):
            return bool(self._triton.is_model_ready(model, client_timeout=timeout))

    def close(self) -> None:
        self._triton.close()
