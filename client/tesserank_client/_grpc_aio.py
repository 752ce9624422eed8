"""gRPC under asyncio."""

from __future__ import annotations

import tritonclient.grpc.aio as triton

from tesserank_client._config import Timeout
from tesserank_client._errors import translated
from tesserank_client._grpc import channel_arguments
from tesserank_client._result import Answer
from tesserank_client._tensors import Call
from tesserank_client._transport import inference_arguments, read_outputs


class AsyncGrpcTransport:
    """See ``AsyncTransport``."""

    def __init__(self, url: str, timeout: Timeout) -> None:
        self._where = f"grpc://{url}"
        with translated(self._where, timeout.total):
            self._triton = triton.InferenceServerClient(url, channel_args=channel_arguments(timeout))

    async def infer(self, call: Call, timeout: float) -> Answer:
        with translated(self._where, timeout):
            arguments = inference_arguments(triton, call, timeout)
            return read_outputs(await self._triton.infer(**arguments, client_timeout=timeout), call)

    async def is_ready(self, model: str, timeout: float) -> bool:
        with translated(self._where, timeout):
            return bool(await self._triton.is_model_ready(model, client_timeout=timeout))

    async def close(self) -> None:
        await self._triton.close()
