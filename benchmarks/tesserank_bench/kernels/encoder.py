"""The served encoder against raw onnxruntime at its best, and sentence-transformers, on the same texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.encoding.template import Composed, Template
from tesserank_bench.kernels.catalogue import Catalogue, Texts
from tesserank_bench.kernels.contest import Environments, absent
from tesserank_bench.kernels.plan import BASE, Plan
from tesserank_bench.kernels.served_encoder import Load, ServedEncoder
from tesserank_bench.kernels.workers import INSTALL_PEERS, Entry, TimedCase, Worker, WorkerError
from tesserank_bench.latency.rounds import Case, run_rounds

Result = dict[str, Any]
SEGMENTS, SESSIONS = "segments of 32 tokens", "texts of mixed lengths"
SERVED, RAW, SENTENCE_TRANSFORMERS = "tesserank, through Triton", "onnxruntime", "sentence-transformers"
_CONTESTANTS = "tesserank_bench.kernels.contestants"
TRIALS = 2  # of each way to run onnxruntime, to choose the best
PEER_BATCH = 32  # sentence-transformers' own default


@dataclass(frozen=True)
class Served:
    """What is compared: a server, the graph it runs on how many threads, and the checkpoint it came from."""

    address: str
    pid: int
    graph: Path
    threads: int
    checkpoint: Path | None  # as sentence-transformers opens it


@dataclass(frozen=True)
class Encoders:
    """What every kind of text is measured with."""

    plan: Plan
    template: Template
    served: Served
    callers: ServedEncoder
    environments: Environments
    work: Path
    seed: int


def measure(
    plan: Plan, catalogue: Catalogue, served: Served, peers_python: Path, work: Path, seed: int,
    say: Callable[[str], None], into: Result,
) -> None:  # fmt: skip
    """Fill ``into["encoder"]``, an entry for each kind of text and contestant."""
    kinds = {SEGMENTS: catalogue.segments(plan.texts), SESSIONS: catalogue.sessions(plan.texts)}
    into["encoder"] = []
    with ExitStack() as stack:
        environments = Environments(peers_python, work, stack)
        callers = stack.enter_context(ServedEncoder(served.address, served.pid, catalogue.template, plan.callers))
        encoders = Encoders(plan, catalogue.template, served, callers, environments, work, seed)
        for name, texts in kinds.items():
            say(f"encoder: {plan.texts} {name}, in turn {SERVED}, {RAW} and {SENTENCE_TRANSFORMERS}")
            _measure_kind(encoders, name, texts, into["encoder"])


def _measure_kind(encoders: Encoders, name: str, texts: Texts, into: list[Result]) -> None:
    inputs, rounds = encoders.work / "texts.npz", encoders.plan.encoder_rounds
    texts.save(inputs)
    raw_worker = encoders.environments.worker(RAW, own=True)
    tried, raw = _best_raw(encoders, texts, inputs, raw_worker)
    load = _LoadCase(encoders.callers, users_of(texts.composed), rounds)
    cases: list[TimedCase | _LoadCase] = [load, raw]
    peer: Result = {"contestant": SENTENCE_TRANSFORMERS, "status": "measured"}
    try:
        cases.append(_sentence_transformers(encoders, texts, peer))
    except WorkerError as error:
        peer |= absent(error, INSTALL_PEERS)
    try:
        run_rounds(cases, rounds, encoders.seed, lambda done: None)
        load.key |= compared(texts, load.vectors, raw_worker.answer(raw.name, encoders.work)["vectors"])
    finally:
        for case in cases:
            case.key |= rates(texts.tokens, case.seconds) | case.samples
        into += [{"texts": name} | key for key in (load.key, raw.key | {"tried": tried}, peer)]
    raw_worker.close(raw.name)


def _best_raw(encoders: Encoders, texts: Texts, inputs: Path, worker: Worker) -> tuple[list[Result], TimedCase]:
    """All batch sizes, with threads that wait actively or not, and the fastest of them, to be timed anew.

    It is chosen on samples that do not count: the best of many noisy ones would be a little too good.
    """
    served, cases = encoders.served, []
    for batch in encoders.plan.batches:
        for spinning in (False, True):
            key = {"contestant": RAW, "status": "measured", "batch": batch, "spinning": spinning}
            options = {"graph": served.graph, "inputs": inputs, "threads": served.threads, "batch": batch}
            options |= {"spinning": spinning, "pad": encoders.template.pad}
            entry = Entry(f"batch {batch} {spinning}", f"{_CONTESTANTS}.encoders:OnnxRuntime", options)
            worker.open(entry)
            cases.append(TimedCase(key, TRIALS, worker, entry.name, 0.0))
    run_rounds(cases, TRIALS, encoders.seed, lambda done: None)
    best = min(cases, key=lambda case: min(case.seconds))
    for case in cases:
        if case is not best:
            worker.close(case.name)
    tried = [case.key | rates(texts.tokens, case.seconds) | case.samples for case in cases]
    return tried, TimedCase(dict(best.key), encoders.plan.encoder_rounds, worker, best.name, 0.0)


def _sentence_transformers(encoders: Encoders, texts: Texts, key: Result) -> TimedCase:
    """Raises WorkerError if it is not installed, or does not read the same tokens."""
    served = encoders.served
    if served.checkpoint is None:
        raise WorkerError("no checkpoint for it on this machine: name a directory with --model")
    worker = encoders.environments.worker(SENTENCE_TRANSFORMERS, own=False)
    options = {"model": served.checkpoint, "texts": texts.texts, "threads": served.threads, "batch": PEER_BATCH}
    worker.open(Entry(SENTENCE_TRANSFORMERS, f"{_CONTESTANTS}.peers:SentenceTransformers", options))
    counted = worker.answer(SENTENCE_TRANSFORMERS, encoders.work)["tokens"]
    if not np.array_equal(counted, texts.lengths):
        raise WorkerError(f"it reads {counted.sum():,} tokens, the others {texts.tokens:,}")
    return TimedCase(key, encoders.plan.encoder_rounds, worker, SENTENCE_TRANSFORMERS, 0.0)


def compared(texts: Texts, served: Sequence[NDArray[np.float32]], raw: NDArray[np.float32]) -> Result:
    """The largest difference of a component of the texts' own tokens; ``raw`` has special tokens besides."""
    starts = np.cumsum(texts.lengths) - texts.lengths
    kept = [raw[start + composed.kept] for start, composed in zip(starts, texts.composed, strict=True)]
    return {"max_difference_from_raw": max(float(np.abs(a - b).max()) for a, b in zip(served, kept, strict=True))}


class _LoadCase(Case):
    """A load of the server among the cases of a round."""

    def __init__(self, callers: ServedEncoder, users: Sequence[Sequence[Composed]], repeats: int) -> None:
        key = {"contestant": SERVED, "status": "measured"}
        super().__init__(key, repeats, lambda turn: (lambda: None, lambda answer: None))
        self._callers = callers
        self._users = users
        self._loads: list[Load] = []

    def run(self, turn: int) -> None:
        load = self._callers.load(self._users)
        self.seconds.append(load.seconds)
        self._loads.append(load)

    @property
    def vectors(self) -> Sequence[NDArray[np.float32]]:
        """Of the last load."""
        return self._loads[-1].vectors

    @property
    def samples(self) -> Result:
        """What a result keeps of the loads; ``cpu_seconds`` are the server's."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": [load.server_cpu_s for load in self._loads],
            "caller_cpu_seconds": [load.caller_cpu_s for load in self._loads],
        }


def users_of(composed: Sequence[Composed]) -> list[Sequence[Composed]]:
    """Segments in users of BASE.segments each."""
    return [composed[start : start + BASE.segments] for start in range(0, len(composed), BASE.segments)]


def rates(tokens: int, seconds: Sequence[float]) -> Result:
    """Real tokens a second, of the median sample."""
    if not seconds:
        return {}
    return {"tokens_per_s": round(tokens / float(np.median(seconds)), 1)}


def efficiency(entries: Sequence[Mapping[str, Any]], texts: str) -> float | None:
    """Tokens a second through Triton over raw onnxruntime's; None if one of them was not measured."""
    found = {entry["contestant"]: entry.get("tokens_per_s") for entry in entries if entry["texts"] == texts}
    served, raw = found.get(SERVED), found.get(RAW)
    return served / raw if served and raw else None
