"""A stand-in of the server whose timings are known: what the generator itself can do, and whether reports are right.

Speaks KServe's gRPC over a real connection and answers ``recommend`` with one item. Each request takes ``service_s``,
any number of them at the same time; one that comes within a stall waits for the stall's end first. Times of stalls
count from the first request. Nothing is computed: with no service time it is as quick as a server in Python gets.

    python -m tesserank_loadtest.stub_server --service-ms 20 --stall 2:1 --slow 5:300 --fail-every 10 --log requests

prints ``host:port`` and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from tesserank import protocol
from tesserank_client._kserve import encode_strings
from tesserank_client._tensors import NUMPY_DTYPES

FAULT = f"{protocol.ErrorCode.INTERNAL.value}: injected"


@dataclass(frozen=True)
class Timings:
    """What the stub does: seconds of a request, stalls as (start, length) in seconds, every n-th request slow as (n,
    seconds), and every n-th failed. Requests count from 1."""

    service_s: float = 0.0
    stalls: Sequence[tuple[float, float]] = ()
    slow: tuple[int, float] | None = None
    fail_every: int | None = None

    def waits(self, number: int, at_s: float) -> float:
        """Seconds until the request of a number, which comes ``at_s`` after the first, is answered."""
        ends = [start + length for start, length in self.stalls if start <= at_s < start + length]
        service_s = self.slow[1] if self.slow and number % self.slow[0] == 0 else self.service_s
        return service_s + (max(ends) - at_s if ends else 0.0)

    def fails(self, number: int) -> bool:
        """Whether the request of a number fails."""
        return self.fail_every is not None and number % self.fail_every == 0


@dataclass
class Stub:
    """Answers by the timings and, if it ``keeps`` a log, notes each request that came: Unix seconds, and its digest."""

    timings: Timings
    keeps: bool = False
    log: list[tuple[float, str]] = field(default_factory=list)
    _count: int = 0
    _first: float | None = None
    _answer: bytes = field(default_factory=lambda: recommend_answer().SerializeToString())

    async def infer(self, request: bytes, context: Any) -> bytes:
        """ModelInfer, undecoded: the same answer to every request."""
        now = time.perf_counter()
        self._count += 1
        number = self._count
        if self.keeps:
            self.log.append((time.time(), blake2b(request, digest_size=8).hexdigest()))
        if self._first is None:
            self._first = now
        if pause := self.timings.waits(number, now - self._first):
            await asyncio.sleep(pause)
        if self.timings.fails(number):
            await context.abort(grpc.StatusCode.INTERNAL, FAULT)
        return self._answer

    async def ready(self, request: Any, context: Any) -> Any:
        """ModelReady: always."""
        return service_pb2.ModelReadyResponse(ready=True)


def recommend_answer() -> Any:
    """A ModelInferResponse as ``recommend`` gives it for one user: one item, one segment."""
    answer = service_pb2.ModelInferResponse(model_name=protocol.RECOMMEND.model)
    for output in protocol.RECOMMEND.outputs:
        shape = [1, *([1] * len(output.shape))]
        array: npt.NDArray[Any] = np.full(
            shape, b"x" if output.datatype == "BYTES" else 1, NUMPY_DTYPES[output.datatype]
        )
        answer.outputs.add(name=output.name, datatype=output.datatype, shape=shape)
        content = encode_strings(array) if output.datatype == "BYTES" else array.tobytes()
        answer.raw_output_contents.append(content)
    return answer


async def serve(stub: Stub) -> None:
    """Serve on a free loopback port, which is printed, until standard input ends."""
    server = grpc.aio.server()
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
    handlers = {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(stub.infer),
        "ModelReady": grpc.unary_unary_rpc_method_handler(
            stub.ready, service_pb2.ModelReadyRequest.FromString, service_pb2.ModelReadyResponse.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


def _stall(text: str) -> tuple[float, float]:
    start, _, length = text.partition(":")
    return float(start), float(length)


def _slow(text: str) -> tuple[int, float]:
    number, _, milliseconds = text.partition(":")
    return int(number), float(milliseconds) / 1e3


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service-ms", type=float, default=0.0, metavar="MS")
    parser.add_argument("--stall", type=_stall, action="append", default=[], metavar="START:SECONDS")
    parser.add_argument("--slow", type=_slow, metavar="N:MS", help="every N-th request takes MS instead")
    parser.add_argument("--fail-every", type=int, metavar="N")
    parser.add_argument("--log", type=Path, metavar="FILE", help="a line a request: when it came, and its digest")
    args = parser.parse_args()
    timings = Timings(args.service_ms / 1e3, tuple(args.stall), args.slow, args.fail_every)
    stub = Stub(timings, keeps=args.log is not None)
    asyncio.run(serve(stub))
    if args.log:
        args.log.write_text("".join(f"{seconds:.6f},{digest}\n" for seconds, digest in stub.log))


if __name__ == "__main__":
    main()
