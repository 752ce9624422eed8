"""The encoder as it is served: callers at the same time, through gRPC, Triton and its dynamic batcher.

A caller sends what the pipeline's own embedder would: a user's segments, in one call of ``encode_composed``. The
inputs are token ids, so a caller's own work is small; it runs on the same cores, and is reported.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import psutil
import tritonclient.grpc as grpc
from numpy.typing import NDArray

from tesserank.encoding.batch import EncoderRows, encode_composed
from tesserank.encoding.template import Composed, Template
from tesserank.protocol import SEGMENT_ENCODER

ROWS = EncoderRows(mixed_lengths=True)  # as model_repository/segment_ranker calls it
TIMEOUT_S = 60.0
_IDS, _MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)
_EMBEDDINGS = SEGMENT_ENCODER.outputs[0].name


@dataclass(frozen=True)
class Load:
    """What a load took, from the first request to the last answer, and processor seconds of both sides."""

    seconds: float
    server_cpu_s: float
    caller_cpu_s: float
    vectors: Sequence[NDArray[np.float32]]  # of each input, in order


class ServedEncoder:
    """The model segment_encoder at a gRPC address, with a connection for every caller; a context manager.

    ``pid``: the server, whose processor time is read.
    """

    def __init__(self, address: str, pid: int, template: Template, callers: int) -> None:
        self._server = psutil.Process(pid)
        self._template = template
        self._clients = [grpc.InferenceServerClient(address) for _ in range(callers)]

    def __enter__(self) -> ServedEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()

    def load(self, users: Sequence[Sequence[Composed]]) -> Load:
        """Encode the segments of all users: each caller takes the next user as soon as it is free.

        Raises InferenceServerException if a request fails.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for user in range(len(users)):
            waiting.put(user)
        vectors: dict[int, list[NDArray[np.float32]]] = {}
        errors: list[Exception] = []

        def call(client: Any) -> None:
            try:
                while not errors:
                    user = waiting.get_nowait()
                    vectors[user] = encode_composed(users[user], self._template, _Remote(client), ROWS)
            except queue.Empty:
                pass
            except Exception as error:  # raised below, where somebody hears of it
                errors.append(error)

        threads = [threading.Thread(target=call, args=(client,), daemon=True) for client in self._clients]
        server_cpu, own_cpu, started = self._server_cpu_s(), time.process_time(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds, own_cpu = time.perf_counter() - started, time.process_time() - own_cpu
        if errors:
            raise errors[0]
        return Load(
            seconds,
            self._server_cpu_s() - server_cpu,
            own_cpu,
            [row for user in range(len(users)) for row in vectors[user]],
        )

    def _server_cpu_s(self) -> float:
        """Of the server and the processes of its models."""
        times = [process.cpu_times() for process in (self._server, *self._server.children(recursive=True))]
        return float(sum(part.user + part.system for part in times))


class _Remote:
    """``encoding.batch.Encode`` over a connection."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs = []
        for name, array in ((_IDS, input_ids), (_MASK, attention_mask)):
            tensor = grpc.InferInput(name, array.shape, "INT64")
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        answer = self._client.infer(SEGMENT_ENCODER.model, inputs, client_timeout=TIMEOUT_S)
        embeddings: NDArray[np.float32] = answer.as_numpy(_EMBEDDINGS)
        return embeddings
