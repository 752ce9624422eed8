"""Weights of spaces, chosen together: each changes what the others should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tesserank_export.fit.cases import Cases
from tesserank_export.fit.choice import Gains
from tesserank_export.fit.scoring import Scores, gains

_BASE = 2.0**0.5  # a step multiplies a weight by so much
_MOVES = (-2, -1, 1, 2)  # steps that are tried at once
_ROUNDS = 3

Steps = tuple[int, ...]


class Weighing:
    """Coordinate ascent over weights on a grid of ratios, from ``weights`` on; only ratios matter, so the first stays.

    What any weights gain is computed once for all cases, whichever of them choose by it.
    """

    def __init__(self, scores: Sequence[Scores], weights: Sequence[float], cases: Cases) -> None:
        self._scores, self._begun, self._cases = scores, weights, cases
        self._gains: dict[Steps, Gains] = {}

    def weights(self, steps: Steps) -> list[float]:
        """Those that many steps away from where it began."""
        return [weight * _BASE**step for weight, step in zip(self._begun, steps, strict=True)]

    def gains(self, steps: Steps) -> Gains:
        """NDCG@10 of all cases [C]."""
        if steps not in self._gains:
            total = np.zeros_like(self._scores[0])
            for weight, scores in zip(self.weights(steps), self._scores, strict=True):
                total += np.float32(weight) * scores
            self._gains[steps] = gains(total, self._cases)
        return self._gains[steps]

    def best(self, rows: NDArray[np.bool_]) -> Steps:
        """Where the cases of ``rows`` [C] gain most, as far as one weight at a time leads."""
        steps: Steps = (0,) * len(self._begun)
        for _ in range(_ROUNDS):
            before = steps
            for place in range(1, len(steps)):
                options = [steps, *(_moved(steps, place, move) for move in _MOVES)]
                steps = max(options, key=self._mean_over(rows))  # of equals the first: as it was
            if steps == before:
                break
        return steps

    def _mean_over(self, rows: NDArray[np.bool_]) -> Callable[[Steps], float]:
        return lambda steps: float(self.gains(steps)[rows].mean())


def _moved(steps: Steps, place: int, move: int) -> Steps:
    return (*steps[:place], steps[place] + move, *steps[place + 1 :])
