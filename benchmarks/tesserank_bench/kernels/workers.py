"""Processes that time contestants: this environment's, and one whose libraries this one cannot hold.

A contestant has a process without the settings that change a BLAS's speed, and the peers' environment has versions of
numpy, torch and transformers of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.paths import BUILD, CHECKOUT
from tesserank_bench.latency.rounds import Case

PEERS_PYTHON = BUILD / "bench" / "peers" / "bin" / "python"
INSTALL_PEERS = "make bench-peers"
# Settings of the environment that choose a BLAS's kernels, or its sizes of blocks, against its own judgement.
SLOWING = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_DEBUG_CPU_TYPE",
    "NVPL_BLAS_DEBUG_CPU_TYPE",
    "ONEDNN_MAX_CPU_ISA",
)
QUIET = {"RUST_LOG": "error", "LANCE_LOG": "error", "TOKENIZERS_PARALLELISM": "false"}


class WorkerError(Exception):
    """What a worker could not do. ``missing``: the module that is not installed, if that is why."""

    def __init__(self, message: str, missing: str | None = None) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class Entry:
    """A contestant as the benchmark knows it: its name in results, its class as ``module:Class``, and its options."""

    name: str
    of: str
    options: Mapping[str, Any]


class Worker:
    """One process; a context manager. ``threads``: what libraries that take no argument for it are told, 0 is nothing.

    ``python``: whose libraries it has. ``log``: what it prints. Raises WorkerError if there is no such interpreter.
    """

    def __init__(self, python: Path, log: Path, threads: int = 0) -> None:
        if not python.is_file():
            raise WorkerError(f"no {python}", missing=python.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(python), "-m", "tesserank_bench.kernels.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=worker_environment(threads),
                start_new_session=True,  # Ctrl-C is the benchmark's to handle
                text=True,
                encoding="utf-8",
            )
        self._lock = threading.Lock()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()  # it holds nothing that would have to be put in order
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # of what a request left unsent when the process had ended
                    pipe.close()

    def open(self, entry: Entry) -> float:
        """Prepare a contestant; returns the seconds that took. Raises WorkerError if it cannot be."""
        options = {key: str(value) if isinstance(value, Path) else value for key, value in entry.options.items()}
        answer = self._ask(do="open", name=entry.name, of=entry.of, options=options)
        return float(answer["prepare_s"])

    def time(self, name: str, turn: int, sample_s: float) -> tuple[float, float]:
        """Seconds of one call and processor seconds, as ``worker`` measures them. Raises WorkerError."""
        answer = self._ask(do="time", name=name, turn=turn, sample_s=sample_s)
        return float(answer["seconds"]), float(answer["cpu_s"])

    def answer(self, name: str, scratch: Path) -> dict[str, NDArray[Any]]:
        """What a contestant computes. Raises WorkerError."""
        path = scratch.resolve() / "answer.npz"
        self._ask(do="answer", name=name, into=str(path))
        with np.load(path) as arrays:
            found = dict(arrays)
        path.unlink()
        return found

    def close(self, name: str) -> None:
        """Forget a contestant. Raises WorkerError."""
        self._ask(do="close", name=name)

    def _ask(self, **request: Any) -> dict[str, Any]:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        try:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"ended with status {self._process.wait()}; its log: {self._log}")
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            raise WorkerError(f"no module {answer['missing']}", missing=answer["missing"])
        if "failed" in answer:
            raise WorkerError(answer["failed"])
        return answer


class TimedCase(Case):
    """A contestant among the cases of ``rounds``: its worker takes the time."""

    def __init__(self, key: dict[str, Any], repeats: int, worker: Worker, name: str, sample_s: float) -> None:
        super().__init__(key, repeats, lambda turn: (lambda: None, lambda answer: None))
        self._worker = worker
        self.name = name
        self._sample_s = sample_s
        self.cpu_seconds: list[float] = []

    def run(self, turn: int) -> None:
        seconds, cpu = self._worker.time(self.name, turn, self._sample_s)
        self.seconds.append(seconds)
        self.cpu_seconds.append(cpu)

    @property
    def samples(self) -> dict[str, list[float]]:
        """What a result keeps of them."""
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}


def own_python() -> Path:
    """The interpreter of this environment."""
    return Path(sys.executable)


def worker_environment(threads: int) -> dict[str, str]:
    """This process's, without what slows a BLAS down, and with the checkout's packages importable from anywhere."""
    kept = {name: value for name, value in os.environ.items() if name not in SLOWING}
    counts = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS", "LANCE_CPU_THREADS")
    packages = (str(CHECKOUT), str(CHECKOUT / "benchmarks"))
    return (
        kept
        | QUIET
        | ({name: str(threads) for name in counts} if threads else {})
        | {"PYTHONPATH": os.pathsep.join(packages)}
    )


def removed_settings() -> dict[str, str]:
    """Those of SLOWING that this process has and its workers have not."""
    return {name: os.environ[name] for name in SLOWING if name in os.environ}
