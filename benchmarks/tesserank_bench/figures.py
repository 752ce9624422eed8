"""From samples to figures: percentiles, and whether a figure meets its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def percentile_ms(seconds: Sequence[float], share: float) -> float | None:
    """A percentile in milliseconds, ``share`` in (0, 1), by linear interpolation between the samples.

    None where there are too few samples to have one: fewer than 1 / (1 - share), as 20 for the 95th.
    """
    # 1e-9: 1 / (1 - 0.99) is a little above 100 in floating point
    if not seconds or len(seconds) + 1e-9 < 1 / (1 - share):
        return None
    return round(float(np.quantile(seconds, share)) * 1e3, 3)


def p50_ms(seconds: Sequence[float]) -> float:
    """The median in milliseconds of one sample or more."""
    return round(float(np.median(seconds)) * 1e3, 3)


def summarise(seconds: Sequence[float]) -> dict[str, Any]:
    """Percentiles of samples, how many there are, and they themselves, in milliseconds and in the order taken."""
    return {
        "samples": len(seconds),
        "p50_ms": p50_ms(seconds),
        "p95_ms": percentile_ms(seconds, 0.95),
        "p99_ms": percentile_ms(seconds, 0.99),
        "samples_ms": [round(value * 1e3, 3) for value in seconds],
    }


@dataclass(frozen=True)
class Target:
    """A figure's target: ``bound`` in ``unit``, which the figure is to reach (``at_least``) or not to exceed."""

    name: str
    bound: float
    unit: str
    at_least: bool = True

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:,g} {self.unit}".rstrip()

    def met(self, value: float) -> bool:
        """Whether a figure meets the target; its very bound does."""
        return value >= self.bound if self.at_least else value <= self.bound

    def judge(self, value: float | None) -> dict[str, Any]:
        """What the result says of the target; ``value`` None is a figure that this run did not measure."""
        verdict = "not measured" if value is None else "met" if self.met(value) else "not met"
        rounded = None if value is None else float(f"{value:.4g}")
        return {"name": self.name, "target": str(self), "value": rounded, "unit": self.unit, "verdict": verdict}
