"""Running ONNX graphs with ONNX Runtime in Python, as the embedded server does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tesserank.encoding.batching import Engine, on_cores
from tesserank.encoding.bound import BoundEngine, ProfiledEngine
from tesserank.encoding.providers import AUTO, CPU, CUDA, ProviderSettings, profiles
from tesserank.encoding.sessions import CpuSession, open_session
from tesserank.encoding.template import LENGTH_BUCKETS, row_lengths
from tesserank.errors import ArtifactError, ConfigError
from tesserank.threads import share


@dataclass(frozen=True)
class Graph:
    """An exported graph. ``plain`` is the same in standard operators, for TensorRT; ``max_tokens``: its longest row.

    ``row_by_row``: see ``OnnxEngine``.
    """

    path: Path
    precision: str
    row_by_row: bool = False
    plain: Path | None = None
    max_tokens: int = LENGTH_BUCKETS[-1]


class OnnxEngine(Engine):
    """On a CPU: a graph of ids and mask, both int64 [rows, L], to one output [rows, ...].

    ``engine(ids, mask)`` runs a batch on ``threads`` threads, ``on_this_thread`` on the caller's alone: threads that
    share a batch wait for each other at every operator, threads that have batches of their own do not. So the one is
    quicker for what comes alone, the other does more in a second. Each way has a session, and the weights, of its own.

    ``row_by_row``: run every row alone, without its padding. Dynamic int8 takes its activations' scale from the whole
    batch, so that a row's result would depend on its neighbours and its padding, and a cached segment on whom it
    happened to be encoded with. Alone, a row's result is a function of the row. float32 gives the same bits either way,
    and both precisions do on any number of threads: a single row is shared by all, of several each takes its own.

    Raises ArtifactError for a file that cannot be loaded.
    """

    def __init__(self, path: Path, threads: int, row_by_row: bool = False) -> None:
        self.batching = on_cores(threads, row_by_row)
        self._row_by_row = row_by_row
        self._shared = CpuSession(path, threads)
        self._single = self._shared if threads == 1 else CpuSession(path, 1)
        helpers = threads - 1 if row_by_row else 0
        self._pool = ThreadPoolExecutor(helpers, thread_name_prefix="encoder") if helpers else None

    @classmethod
    def for_precision(cls, path: Path, precision: str, threads: int) -> OnnxEngine:
        """The engine as it is served: int8 runs row by row."""
        return cls(path, threads, row_by_row=precision == "int8")

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        if not self._row_by_row:
            return self._shared(input_ids, attention_mask)
        session = self._shared if len(input_ids) == 1 else self._single
        return self._rows(session, input_ids, attention_mask, self._pool)

    def on_this_thread(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """The same, without other threads. May be called from several threads at once."""
        if not self._row_by_row:
            return self._single(input_ids, attention_mask)
        return self._rows(self._single, input_ids, attention_mask, None)

    @staticmethod
    def _rows(
        session: CpuSession, ids: NDArray[np.int64], mask: NDArray[np.int64], pool: ThreadPoolExecutor | None
    ) -> NDArray[np.float32]:
        rows: list[Any] = [None] * len(ids)
        lengths = row_lengths(mask)

        def run_rows(begin: int, end: int) -> None:
            for i in range(begin, end):
                length = lengths[i]
                output = session(ids[i : i + 1, :length], mask[i : i + 1, :length])
                rows[i] = output if output.ndim < 3 else _lengthened(output, ids.shape[1])

        share(run_rows, len(rows), 1, pool)
        return np.concatenate(rows)


def _lengthened(vectors: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """[1, n, d] -> [1, length, d], zeros behind."""
    if vectors.shape[1] == length:
        return vectors
    longer = np.zeros((1, length, vectors.shape[2]), dtype=vectors.dtype)
    longer[:, : vectors.shape[1]] = vectors
    return longer


def open_onnx(graph: Graph, threads: int, settings: ProviderSettings) -> Engine:
    """A graph on the execution provider that the settings choose.

    Raises ConfigError for a provider that is not there, and for int8 on a GPU; ArtifactError for a file that cannot be
    loaded, or was not exported.
    """
    chosen = settings.choose(ort.get_available_providers(), ort.__version__)
    if graph.precision == "int8" and chosen != CPU:
        if settings.provider != AUTO:
            raise ConfigError(
                f"execution_provider {chosen} and an export of precision int8, which is for CPUs: export with fp32"
            )
        chosen = CPU
    if chosen == CPU:
        return OnnxEngine(graph.path, threads, graph.row_by_row)
    device = ("cuda", settings.device_id)
    if chosen == CUDA:
        session = open_session(graph.path, threads, settings.options(chosen), chosen)
        return BoundEngine(session, device, graph.max_tokens, settings.cuda_graphs)
    if graph.plain is None or not graph.plain.is_file():
        raise ArtifactError(
            f"TensorRT does not know the fused operators of {graph.path}, and there is no {graph.plain}: export the "
            "encoder anew with --engine plain"
        )
    prepared = profiles(settings.profile_lengths, settings.profile_rows, graph.max_tokens)
    sessions = [open_session(graph.plain, threads, settings.options(chosen, profile), chosen) for profile in prepared]
    return ProfiledEngine(prepared, [BoundEngine(session, device, graph.max_tokens) for session in sessions])
