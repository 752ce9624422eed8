"""HTTP under asyncio."""

from __future__ import annotations

import asyncio

import aiohttp
import tritonclient.http.aio as triton

from tesserank_client._config import Timeout
from tesserank_client._errors import translated
from tesserank_client._result import Answer
from tesserank_client._tensors import Call
from tesserank_client._transport import inference_arguments, read_outputs


class AsyncHttpTransport:
    """See ``AsyncTransport``. A pool of connections, as many as there are calls in flight."""

    def __init__(self, url: str, timeout: Timeout) -> None:
        self._where = f"http://{url}"
        with translated(self._where, timeout.total):
            self._triton = triton.InferenceServerClient(url, conn_limit=0)
            self._limit_connecting(timeout.connect)

    async def infer(self, call: Call, timeout: float) -> Answer:
        with translated(self._where, timeout):
            arguments = inference_arguments(triton, call, timeout)
            return read_outputs(await asyncio.wait_for(self._triton.infer(**arguments), timeout), call)

    async def is_ready(self, model: str, timeout: float) -> bool:
        with translated(self._where, timeout):
            return bool(await asyncio.wait_for(self._triton.is_model_ready(model), timeout))

    async def close(self) -> None:
        await self._triton.close()

    def _limit_connecting(self, connect: float | None) -> None:
        """Replace tritonclient's session, whose one timeout is for all calls alike and not for connecting."""
        connector = self._triton._stub.connector
        self._triton._stub.detach()
        self._triton._stub = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
            auto_decompress=False,
        )
