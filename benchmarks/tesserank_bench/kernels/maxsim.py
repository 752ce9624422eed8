"""MaxSim of tesserank over shapes: against the float64 reference, and against the ceilings of the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim import jit
from tesserank_bench.kernels import ceilings
from tesserank_bench.kernels.plan import BASE, THREADS, Plan, Shape
from tesserank_bench.kernels.task import Task, draw, recall
from tesserank_bench.kernels.workers import Entry, TimedCase, Worker
from tesserank_bench.latency.rounds import run_rounds

Result = dict[str, Any]
COARSE = "int8 coarse"  # int8 with queries in 8 bits: where the processor has instructions for that
KINDS = ("int8", COARSE, "float16")  # of item vectors in the index; float16 is scored in float32
OWN = "tesserank_bench.kernels.contestants.own:Tesserank"


def measure(plan: Plan, worker: Worker, work: Path, seed: int, say: Callable[[str], None], into: Result) -> None:
    """Fill ``into["ceilings"]`` and ``into["maxsim"]``: a shape after the other, its contestants interleaved.

    Ceilings are timed in every round of BASE and once with every other shape.
    """
    say("ceilings: matrix products in three formats, and memory")
    trials = ceilings.open_cases(worker, plan.sample_s)
    into["maxsim"] = []
    try:
        run_rounds(trials, ceilings.TRIALS, seed, lambda done: None)
        best = ceilings.promising(trials)
        for case in trials:
            if case not in best:
                worker.close(case.name)
        for shape in plan.shapes:
            say(f"MaxSim {shape}")
            for case in best:
                case.repeats = plan.rounds if shape == BASE else 1
            into["maxsim"] += _measure_shape(plan, shape, best, worker, work, seed)  # whole shapes, or nothing of one
    finally:
        into["ceilings"] = ceilings.figures(trials)


def _measure_shape(
    plan: Plan, shape: Shape, shared: list[TimedCase], worker: Worker, work: Path, seed: int
) -> list[Result]:
    task, path = draw(shape, plan.shape_users, seed), work / "task.npz"
    task.save(path)
    cases = []
    for key, entry in entries(plan, shape, path):
        worker.open(entry)
        cases.append(TimedCase(key, plan.rounds, worker, entry.name, plan.sample_s))
    run_rounds([*cases, *shared], plan.rounds, seed, lambda done: None)
    exact = [task.reference(user) for user in range(task.users)]
    found = []
    for case in cases:
        agreement = compare(exact, worker.answer(case.name, work))
        found.append(case.key | {"shape": vars(shape)} | figures(task, case) | agreement)
        worker.close(case.name)
    path.unlink()
    return found


def entries(plan: Plan, shape: Shape, task: Path) -> Iterator[tuple[Result, Entry]]:
    """Contestants of a shape, with what a result says of each."""
    for vectors in kinds():
        for threads in THREADS:
            for candidates in (0, plan.gather) if shape == BASE else (0,):
                key = {"vectors": vectors, "threads": threads, "candidates": candidates or None}
                options = {"task": task, "rank": False, "candidates": candidates, "threads": threads}
                options |= {"kind": vectors.split()[0], "coarse": vectors == COARSE}
                yield key, Entry(f"{shape} {key}", OWN, options)


def kinds() -> list[str]:
    """Those of KINDS that this processor scores in a way of their own."""
    return [kind for kind in KINDS if kind != COARSE or jit.has_vnni()]


def figures(task: Task, case: TimedCase) -> Result:
    """``gops``: of the best call; ``median_gops``: of the median one. Candidates are taken to be of average length."""
    candidates = case.key["candidates"]
    operations = task.operations * (candidates / len(task.items) if candidates else 1)
    best, middle = min(case.seconds), float(np.median(case.seconds))
    return {
        "gops": round(operations / best / 1e9, 2),
        "median_gops": round(operations / middle / 1e9, 2),
    } | case.samples


def compare(exact: list[NDArray[np.float64]], answer: dict[str, NDArray[Any]]) -> Result:
    """An answer of ``own.Tesserank`` with exact scores [N, K] of each user.

    ``kernel_error``: the largest difference from float64 on the very vectors that were scored, of some of the items;
    ``max_error``: from float64 on the vectors before they were quantised; ``top10_agreement``: of their ten best.
    """
    wanted = np.stack([scores[answer["rows"]] for scores in exact])
    shares = [recall(top, scores) for top, scores in zip(answer["top"], wanted, strict=True)]
    return {
        "kernel_error": float(np.abs(answer["scores"][:, answer["checked"]] - answer["decoded"]).max()),
        "max_error": float(np.abs(answer["scores"] - wanted).max()),
        "top10_agreement": round(float(np.mean(shares)), 4),
    }
