"""gRPC under asyncio."""

from __future__ import annotations

import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tesserank_client._config import Timeout
from tesserank_client._errors import translated
from tesserank_client._grpc import channel_arguments
from tesserank_client._kserve import decode_answer, encode_call
from tesserank_client._result import Answer
from tesserank_client._tensors import Call


class AsyncGrpcTransport:
    """See ``AsyncTransport``."""

    def __init__(self, url: str, timeout: Timeout) -> None:
        self._where = f"grpc://{url}"
        with translated(self._where, timeout.total):
            self._channel = grpc.aio.insecure_channel(url, options=channel_arguments(timeout))
            self._triton = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def infer(self, call: Call, timeout: float) -> Answer:
        with translated(self._where, timeout):
            return decode_answer(await self._triton.ModelInfer(encode_call(call, timeout), timeout=timeout))

    async def is_ready(self, model: str, timeout: float) -> bool:
        with translated(self._where, timeout):
            answer = await self._triton.ModelReady(service_pb2.ModelReadyRequest(name=model), timeout=timeout)
            return bool(answer.ready)

    async def close(self) -> None:
        await self._channel.close()
