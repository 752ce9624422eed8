"""When requests are sent in an open loop: send times made before the run, which no answer can delay.

An intensity λ(t) in requests a second, and its integral Λ(t), which is the expected number of requests until t. Random
arrivals are a Poisson process: Λ⁻¹ of the arrival times of a process of rate 1 (Çinlar, Introduction to Stochastic
Processes, 1975, "time rescaling"). Constant ones are evenly spaced: Λ⁻¹(1), Λ⁻¹(2), …
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tesserank.errors import ConfigError

Kind = Literal["poisson", "constant", "step", "spike", "diurnal", "replay"]
KINDS: tuple[Kind, ...] = ("poisson", "constant", "step", "spike", "diurnal", "replay")
EVEN: frozenset[Kind] = frozenset({"poisson", "constant"})  # one intensity from beginning to end

SPIKE = (0.45, 0.55)  # of the duration
DIURNAL_KNOTS = 10_001  # the cosine's integral between two of them is a straight line, to within 1e-8 of it

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arrivals:
    """The send times of a run, as a plan names them.

    Args:
        kind: ``poisson`` and ``constant``: ``rate`` throughout. ``step``: from half of the duration on ``peak``.
            ``spike``: ``peak`` in the tenth in the middle. ``diurnal``: one day, from ``rate`` (night) by a cosine to
            ``peak`` (noon) and back. ``replay``: the times of the workload's own events, as many as the run sends at
            ``rate``, compressed to its duration.
        rate: Requests a second.
        peak: Requests a second, for the three kinds that have one.
    """

    kind: Kind
    rate: float
    peak: float | None = None

    def __post_init__(self) -> None:
        if (self.peak is not None) != (self.kind in _INTENSITIES):
            has = "needs" if self.peak is None else "has no"
            raise ConfigError(f"--arrivals {self.kind} {has} --peak: it is for {', '.join(_INTENSITIES)}")


def send_times(arrivals: Arrivals, duration_s: float, seed: int) -> Times:
    """Seconds from the start of the run, ascending, float64 [n], all before ``duration_s``.

    Raises ConfigError for ``replay``, whose times are the workload's: ``replayed_times``.
    """
    if arrivals.kind == "replay":
        raise ConfigError("replayed send times are those of the workload's events")
    seconds, expected = _cumulated(arrivals, duration_s)
    total = float(expected[-1])
    counts = np.arange(1.0, total + 1.0) if arrivals.kind == "constant" else _unit_poisson(total, seed)
    return np.interp(counts[counts < total], expected, seconds)


def replayed_times(timestamps: Times, rate: float) -> tuple[Times, float]:
    """Send times of events at ``timestamps`` (seconds, ascending) compressed to ``rate`` a second, and the compression.

    Events of one time are spread evenly, in their order, over the step in which the log's times tell time: the
    greatest common divisor of what lies between them, as a day, or a minute; a second at least.

    Raises ConfigError when all events came in the same second.
    """
    whole, first, counts = np.unique(np.floor(timestamps), return_index=True, return_counts=True)
    step = np.gcd.reduce(np.diff(whole).astype(np.int64))
    order = np.arange(len(timestamps)) - np.repeat(first, counts)
    spread = np.repeat(whole, counts) + step * order / np.repeat(counts, counts)
    span = float(spread[-1] - spread[0]) if len(spread) else 0.0
    if span <= 0:
        raise ConfigError(f"the {len(timestamps):,} events to replay have one and the same time: replay a longer log")
    compression = span * rate / len(timestamps)
    return (spread - spread[0]) / compression, compression


def _cumulated(arrivals: Arrivals, duration_s: float) -> tuple[Times, Times]:
    """Knots of t and Λ(t), between which Λ is linear."""
    if arrivals.peak is None:
        return np.array([0.0, duration_s]), np.array([0.0, arrivals.rate * duration_s])
    return _INTENSITIES[arrivals.kind](arrivals.rate, arrivals.peak, duration_s)


def _step(rate: float, peak: float, duration_s: float) -> tuple[Times, Times]:
    return _pieces([0.0, 0.5, 1.0], [rate, peak], duration_s)


def _spike(rate: float, peak: float, duration_s: float) -> tuple[Times, Times]:
    return _pieces([0.0, *SPIKE, 1.0], [rate, peak, rate], duration_s)


def _diurnal(rate: float, peak: float, duration_s: float) -> tuple[Times, Times]:
    share = np.linspace(0.0, 1.0, DIURNAL_KNOTS)
    mean, swing = (rate + peak) / 2, (peak - rate) / 2
    return share * duration_s, duration_s * (mean * share - swing * np.sin(2 * np.pi * share) / (2 * np.pi))


def _pieces(shares: list[float], rates: list[float], duration_s: float) -> tuple[Times, Times]:
    seconds = np.array(shares) * duration_s
    return seconds, np.concatenate([[0.0], np.cumsum(np.diff(seconds) * rates)])


_INTENSITIES: dict[Kind, Callable[[float, float, float], tuple[Times, Times]]] = {
    "step": _step,
    "spike": _spike,
    "diurnal": _diurnal,
}


def _unit_poisson(total: float, seed: int) -> Times:
    """Arrival times of a Poisson process of rate 1, beyond ``total``."""
    rng = np.random.default_rng([seed, 0xA221])  # a stream of its own, apart from the workload's
    times = np.cumsum(rng.exponential(size=int(total + 10 * np.sqrt(total) + 10)))
    while times[-1] < total:
        times = np.concatenate([times, times[-1] + np.cumsum(rng.exponential(size=1000))])
    return np.asarray(times, dtype=np.float64)
