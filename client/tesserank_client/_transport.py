"""What the four transports have in common: their interface; and calls in the terms of tritonclient's HTTP clients."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

from tesserank_client._config import Protocol as ProtocolName
from tesserank_client._config import Timeout
from tesserank_client._result import Answer
from tesserank_client._tensors import Call


class Transport(Protocol):
    """One connection, or a pool of them, to one server. Every method raises TesserankClientError alone."""

    def infer(self, call: Call, timeout: float) -> Answer:
        """The outputs of the call's interface; ``timeout`` in seconds, from here to the answer."""

    def is_ready(self, model: str, timeout: float) -> bool:
        """Whether the server says that the model is ready."""

    def close(self) -> None:
        """Close the connections."""


class AsyncTransport(Protocol):
    """``Transport`` for asyncio; to be made and used inside one running loop."""

    async def infer(self, call: Call, timeout: float) -> Answer:
        """See ``Transport.infer``."""

    async def is_ready(self, model: str, timeout: float) -> bool:
        """See ``Transport.is_ready``."""

    async def close(self) -> None:
        """See ``Transport.close``."""


# tritonclient's modules take some 0.2 s to import, hence one at a time and not before it is needed.
def open_transport(protocol: ProtocolName, url: str, timeout: Timeout) -> Transport:
    """A transport for synchronous code."""
    if protocol == "grpc":
        from tesserank_client._grpc import GrpcTransport

        return GrpcTransport(url, timeout)
    from tesserank_client._http import HttpTransport

    return HttpTransport(url, timeout)


def open_async_transport(protocol: ProtocolName, url: str, timeout: Timeout) -> AsyncTransport:
    """A transport for the running asyncio loop."""
    if protocol == "grpc":
        from tesserank_client._grpc_aio import AsyncGrpcTransport

        return AsyncGrpcTransport(url, timeout)
    from tesserank_client._http_aio import AsyncHttpTransport

    return AsyncHttpTransport(url, timeout)


def inference_arguments(triton: ModuleType, call: Call, timeout: float) -> dict[str, Any]:
    """The arguments of ``infer`` of tritonclient's HTTP clients.

    The timeout goes to the server too, in microseconds, so that it drops what nobody awaits.
    """
    inputs = []
    for tensor, array in call.inputs:
        infer_input = triton.InferInput(tensor.name, list(array.shape), tensor.datatype)
        infer_input.set_data_from_numpy(array)
        inputs.append(infer_input)
    return {
        "model_name": call.interface.model,
        "inputs": inputs,
        "outputs": [triton.InferRequestedOutput(output.name) for output in call.interface.outputs],
        "timeout": max(1, int(timeout * 1e6)),
    }


def read_outputs(result: Any, call: Call) -> Answer:
    """The arrays of a tritonclient ``InferResult`` by output name; None for one that is missing."""
    return {output.name: result.as_numpy(output.name) for output in call.interface.outputs}
