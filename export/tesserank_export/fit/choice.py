"""Choosing between settings by what they gain, without taking luck for a gain.

The best of several settings on the same cases looks better than it is. So what a choice is worth is read off cases that
had no say in it: users are dealt into folds, and a fold's cases count with the setting that is best on the other
folds (cross-validation; Stone 1974). A change is made only if that is above what there was by more than one standard
error of the difference, paired and by user, after the one-standard-error rule of Breiman et al. (1984, section 3.4.3),
so that what is as good stays as simple as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 5

Gains = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A mean over cases and its standard error, users being independent."""

    mean: float
    error: float

    @property
    def is_gain(self) -> bool:
        return self.mean > self.error


class Judge:
    """Judges the gains [C] of the cases of ``users`` [C]."""

    def __init__(self, users: NDArray[np.int32], seed: int) -> None:
        distinct, self._user = np.unique(users, return_inverse=True)
        dealt = np.random.default_rng(seed).permutation(len(distinct)) % FOLDS
        self._fold = dealt[self._user]

    def cross_validated(self, options: Gains) -> Gains:
        """``options`` [S, C] → [C]: of each case, the gain of the option that is best where the case is not."""
        honest = np.empty(options.shape[1])
        for fold in range(FOLDS):
            own = self._fold == fold
            if own.any():
                others = options[:, ~own]
                best = int(others.mean(axis=1).argmax()) if others.shape[1] else 0
                honest[own] = options[best, own]
        return honest

    def difference(self, gains: Gains, baseline: Gains) -> Difference:
        """How much more ``gains`` [C] are than ``baseline`` [C]."""
        change = gains - baseline
        deviations = np.bincount(self._user, weights=change - change.mean())
        users = len(deviations)
        error = np.sqrt((deviations**2).sum() * users / max(users - 1, 1)) / len(change)
        return Difference(float(change.mean()), float(error))
