"""Interleaving: every round runs every case, in a shuffled order, so that what disturbs the machine hits all alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Case:
    """One thing to time. ``prepare(turn)`` makes a call and what checks its answer; only the call is timed."""

    key: dict[str, Any]  # what the result says it is
    repeats: int
    prepare: Callable[[int], tuple[Callable[[], Any], Callable[[Any], None]]]
    seconds: list[float] = field(default_factory=list)  # filled by run_rounds

    def run(self, turn: int) -> None:
        """Take one sample."""
        call, check = self.prepare(turn)
        started = time.perf_counter()
        answer = call()
        passed = time.perf_counter() - started
        check(answer)
        self.seconds.append(passed)


def schedule(cases: Sequence[Case], rounds: int, seed: int) -> Iterator[list[Case]]:
    """The cases of each round in the order to run: repeats are spread evenly over the rounds, each of them shuffled.

    The first round has one of each: what is broken shows at once.
    """
    rng = np.random.default_rng(seed)
    for turn in range(rounds):
        due = [case for case in cases for _ in range(_due(case.repeats, turn, rounds))]
        yield [due[position] for position in rng.permutation(len(due)).tolist()]


def run_rounds(cases: Sequence[Case], rounds: int, seed: int, progress: Callable[[int], None]) -> None:
    """Take all samples; cases keep what they have when a run is interrupted. ``progress`` hears of finished rounds.

    Garbage is collected between rounds, not within: a pause of the benchmark's own must not fall to one of the paths.
    """
    gc.disable()
    try:
        for turn, due in enumerate(schedule(cases, rounds, seed)):
            gc.collect()
            for case in due:
                case.run(turn)
            progress(turn + 1)
    finally:
        gc.enable()


def _due(repeats: int, turn: int, rounds: int) -> int:
    """How many of a case's repeats fall into a round."""
    return math.ceil(repeats * (turn + 1) / rounds) - math.ceil(repeats * turn / rounds)
