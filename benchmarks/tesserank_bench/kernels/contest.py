"""MaxSim against what a user would take instead: the same vectors, and answers that are compared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank_bench.figures import p50_ms
from tesserank_bench.kernels.plan import CONTEST_THREADS, Plan
from tesserank_bench.kernels.task import Task, recall
from tesserank_bench.kernels.workers import INSTALL_PEERS, Entry, TimedCase, Worker, WorkerError, own_python
from tesserank_bench.latency.rounds import run_rounds

Result = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """A way to rank by MaxSim. ``own``: its libraries are this environment's; else those of ``make bench-peers``."""

    name: str
    of: str  # module:Class within contestants
    options: dict[str, Any] = field(default_factory=dict)
    own: bool = False
    indexed: bool = False  # keeps files, and has to be given a place for them

    def entry(self, task: Path, scratch: Path) -> Entry:
        """As a worker opens it."""
        options = (
            self.options | {"task": task, "threads": CONTEST_THREADS} | ({"scratch": scratch} if self.indexed else {})
        )
        return Entry(self.name, f"tesserank_bench.kernels.contestants.{self.of}", options)

    @property
    def install(self) -> str:
        """The command that brings its libraries."""
        return "make setup" if self.own else INSTALL_PEERS


PEERS = (
    Peer("tesserank, int8", "own:Tesserank", {"kind": "int8", "rank": True}, own=True),
    Peer("tesserank, float32", "own:Tesserank", {"kind": "float16", "rank": True}, own=True),
    Peer("torch float32, blocked", "libraries:TorchBlocks", {"dtype": "float32", "rank": True}, own=True),
    Peer("torch bfloat16, blocked", "libraries:TorchBlocks", {"dtype": "bfloat16", "rank": True}, own=True),
    Peer("faiss, pooled vectors", "libraries:FaissPooled"),
    Peer("PyLate scorer", "peers:PyLate", {"rank": True}),
    Peer("FastPlaid", "peers:FastPlaid", indexed=True),
    Peer("LanceDB multivector, exact", "peers:LanceDB", {"indexed": False}, indexed=True),
    Peer("LanceDB multivector, IVF_PQ", "peers:LanceDB", {"indexed": True}, indexed=True),
)


class Environments:
    """Worker processes, one for each peer: a library that crashes takes nobody else with it."""

    def __init__(self, peers_python: Path, work: Path, stack: ExitStack) -> None:
        self._peers_python = peers_python
        self._work = work
        self._stack = stack
        self._workers: dict[str, Worker] = {}

    def worker(self, name: str, own: bool) -> Worker:
        """The process of this name, ended with the stack. Raises WorkerError if the peers' environment is not there."""
        if name not in self._workers:
            log = self._work / "logs" / f"{name.replace(' ', '-').replace(',', '')}.log"
            python = own_python() if own else self._peers_python
            self._workers[name] = self._stack.enter_context(Worker(python, log, CONTEST_THREADS))
        return self._workers[name]


def measure(
    plan: Plan, full: Task, peers_python: Path, work: Path, seed: int, say: Callable[[str], None], into: Result
) -> None:
    """Fill ``into["contest"]``: an entry for each peer and number of items; whoever could not take part says why."""
    into["contest"] = []
    for count in plan.contest_items:
        task = full.first(count)
        say(f"{len(PEERS)} ways to rank {len(task.items):,} items of the catalogue")
        with ExitStack() as stack, TemporaryDirectory(dir=work, prefix="contest-") as scratch:
            environments = Environments(peers_python, work, stack)
            _measure_task(plan, task, environments, Path(scratch), seed, say, into["contest"])


def _measure_task(
    plan: Plan, task: Task, environments: Environments, scratch: Path, seed: int, say: Callable[[str], None],
    into: list[Result],
) -> None:  # fmt: skip
    path = scratch / "task.npz"
    task.save(path)
    exact = [task.reference(user) for user in range(task.users)]
    cases = []
    for peer in PEERS:
        say(f"  {peer.name}: preparing")
        entry: Result = {"peer": peer.name, "items": len(task.items), "status": "measured"}
        into.append(entry)
        folder = Path(mkdtemp(dir=scratch))
        try:
            worker = environments.worker(peer.name, peer.own)
            entry["prepare_s"] = round(worker.open(peer.entry(path, folder)), 3)
            entry |= compare(exact, worker.answer(peer.name, folder))
            cases.append(ForgivingCase(entry, plan.contest_rounds, worker, peer.name, plan.sample_s))
        except WorkerError as error:
            entry |= absent(error, peer.install)
    try:
        run_rounds(cases, plan.contest_rounds, seed, lambda done: None)
    finally:
        for case in cases:
            if case.seconds:
                case.key |= {"p50_ms": p50_ms(case.seconds)} | case.samples


class ForgivingCase(TimedCase):
    """One whose failure is a result of its own: it is not timed again, and the others go on."""

    def run(self, turn: int) -> None:
        if self.key["status"] != "measured":
            return
        try:
            super().run(turn)
        except WorkerError as error:
            self.key |= {"status": f"failed: {error}"}


def absent(error: WorkerError, install: str) -> Result:
    """What a result says of a contestant that could not be measured."""
    return {"status": f"failed: {error}" if error.missing is None else f"not installed ({error}): {install}"}


def compare(exact: list[NDArray[np.float64]], answer: dict[str, NDArray[Any]]) -> Result:
    """Of an answer (``contestants.base``) with exact scores [N, K] of each user.

    ``top10_agreement``: share of the exact ten best items that were found; ``max_error`` of the scores, if it has some.
    """
    shares = [recall(top, scores) for top, scores in zip(answer["top"], exact, strict=True)]
    found: Result = {"top10_agreement": round(float(np.mean(shares)), 4)}
    if "scores" in answer:
        found["max_error"] = float(np.abs(answer["scores"] - np.stack(exact)).max())
    return found
