"""Sessions of ONNX Runtime: on an execution provider, or on the CPU's threads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tesserank.encoding.providers import CPU, Provider, ProviderSettings, check_loaded
from tesserank.errors import ArtifactError
from tesserank.protocol import SEGMENT_ENCODER
from tesserank.threads import cpus_of_its_own, on_cpu

_IDS, _MASK = (tensor.name for tensor in SEGMENT_ENCODER.inputs)

# Spinning threads would take the cores from the other models of the server.
_ASLEEP = {"session.intra_op.allow_spinning": "0"}


class CpuSession:
    """A graph of ids and mask, both int64 [rows, L], to its output [rows, ...], on ``threads`` threads.

    Threads that share a run meet at every operator, and to sleep there costs a short row a third of its time. So they
    spin, until the run is over, but only if they are as many as this process has CPUs, and each stays on its own:
    where two of them are on one CPU, each waits for the other's time slice to end. Raises ArtifactError for a file that
    cannot be loaded.
    """

    def __init__(self, path: Path, threads: int) -> None:
        cpus = cpus_of_its_own(threads) if threads > 1 else ()
        self._cpu = cpus[0] if cpus else None  # the caller's, who is one of the threads
        entries = _spinning(cpus[1:]) if cpus else _ASLEEP
        self._session = _open(path, threads, ProviderSettings().options(CPU), CPU, entries)

    def __call__(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        with nullcontext() if self._cpu is None else on_cpu(self._cpu):
            outputs: list[Any] = self._session.run(None, {_IDS: input_ids, _MASK: attention_mask})
        result: NDArray[np.float32] = outputs[0]
        return result


def open_session(path: Path, threads: int, providers: list[Provider], chosen: str) -> Any:
    """A graph on the providers, of which ``chosen`` must be there. Raises ArtifactError for a broken file."""
    return _open(path, threads, providers, chosen, _ASLEEP)


def _spinning(cpus: tuple[int, ...]) -> dict[str, str]:
    """The session's own threads on these CPUs, one each, which ONNX Runtime counts from 1."""
    return {
        "session.intra_op.allow_spinning": "1",
        "session.force_spinning_stop": "1",
        "session.intra_op_thread_affinities": ";".join(str(cpu + 1) for cpu in cpus),
    }


def _open(path: Path, threads: int, providers: list[Provider], chosen: str, entries: Mapping[str, str]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises classes of its own for every kind of broken file
        raise ArtifactError(f"{path} cannot be loaded ({error}): rebuild it with make export") from error
    check_loaded(chosen, session.get_providers())
    return session
