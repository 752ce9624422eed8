"""The highest rate that meets an SLO, by binary search: between one that meets it and one that does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """A rate that was tried, in requests a second, and whether it meets the SLO."""

    rate: float
    met: bool


@dataclass(frozen=True)
class Knee:
    """What was found: all trials, in order. ``rate`` is the highest that met the SLO, None when none did; ``bounded``
    says that a higher one was seen to miss it."""

    trials: tuple[Trial, ...]

    @property
    def rate(self) -> float | None:
        return max((trial.rate for trial in self.trials if trial.met), default=None)

    @property
    def bounded(self) -> bool:
        return any(not trial.met for trial in self.trials)


def find_knee(meets: Callable[[float], bool], low: float, high: float, precision: float) -> Knee:
    """Try ``low``, then ``high``, then the geometric mean of the best that met and the worst that missed, until they
    are within ``precision`` (a share) of each other."""
    trials = [Trial(low, meets(low))]
    if not trials[-1].met:
        return Knee(tuple(trials))
    trials.append(Trial(high, meets(high)))
    if trials[-1].met:
        return Knee(tuple(trials))
    while high > low * (1 + precision):
        middle = math.sqrt(low * high)
        trials.append(Trial(middle, meets(middle)))
        low, high = (middle, high) if trials[-1].met else (low, middle)
    return Knee(tuple(trials))
