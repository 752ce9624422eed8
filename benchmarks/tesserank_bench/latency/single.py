"""One caller: every path for every number of candidates, served and in process, interleaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from tesserank_bench.figures import summarise
from tesserank_bench.latency.bench import Bench, Result, named
from tesserank_bench.latency.paths import Asker, Prepared
from tesserank_bench.latency.plan import Repeats
from tesserank_bench.latency.rounds import Case, run_rounds

SERVED, IN_PROCESS = "served", "in process"


def measure(bench: Bench, served: Asker, in_process: Asker, into: Result) -> None:
    """Fill ``into["single"]``, one entry a case."""
    cases = [
        *_cases(bench, SERVED, served, bench.plan.served),
        *_cases(bench, IN_PROCESS, in_process, bench.plan.in_process),
    ]
    take(bench, cases, into)


def take(bench: Bench, cases: Sequence[Case], into: Result) -> None:
    """Fill ``into["single"]`` with these cases, one caller's."""
    requests, rounds = sum(case.repeats for case in cases), bench.plan.rounds
    bench.say(f"one caller: {requests:,} requests of {len(cases)} kinds in {rounds} interleaved rounds")
    try:
        run_rounds(cases, rounds, bench.seed, lambda done: _tell(bench, done))
    finally:
        into["single"] = [case.key | summarise(case.seconds) for case in cases if case.seconds]


def _tell(bench: Bench, done: int) -> None:
    """Every tenth of the way."""
    rounds = bench.plan.rounds
    if done * 10 // rounds > (done - 1) * 10 // rounds:
        bench.say(f"  round {done} of {rounds}")


def _cases(bench: Bench, where: str, asker: Asker, repeats: Mapping[str, Repeats]) -> list[Case]:
    def prepare(path: str, size: int | None, turn: int) -> Prepared:
        return asker.prepare(path, bench.material.user(turn), size)

    return [
        Case({"path": path, "where": where, "candidates": named(size)}, count, partial(prepare, path, size))
        for path, counts in repeats.items()
        for size in bench.sizes
        if (count := bench.repeats(counts, size))
    ]
