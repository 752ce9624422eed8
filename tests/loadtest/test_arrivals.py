"""Send times: as many as the intensity says, where it says, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank.errors import ConfigError
from tesserank_loadtest.arrivals import Arrivals, Kind, replayed_times, send_times

PEAKED: tuple[Kind, ...] = ("step", "spike", "diurnal")


@given(
    kind=st.sampled_from(["poisson", "constant", *PEAKED]),
    rate=st.floats(0.1, 200),
    peak=st.floats(0.1, 200),
    duration=st.integers(1, 20),
    seed=st.integers(0, 2**63 - 1),
)
def test_send_times_ascend_within_the_run_and_depend_on_the_seed_alone(
    kind: Kind, rate: float, peak: float, duration: int, seed: int
) -> None:
    arrivals = Arrivals(kind, rate, peak if kind in PEAKED else None)
    times = send_times(arrivals, duration, seed)
    assert np.all(np.diff(times) >= 0)
    assert np.all((times >= 0) & (times < duration))
    assert np.array_equal(times, send_times(arrivals, duration, seed))


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert send_times(Arrivals("constant", 4.0), 1.0, 0) == pytest.approx([0.25, 0.5, 0.75])


def test_poisson_arrivals_have_exponential_gaps() -> None:
    times = send_times(Arrivals("poisson", 100.0), 1000.0, 5)
    gaps = np.diff(times)
    # 100,000 arrivals: their number's standard deviation is 0.3%, the quantiles' below 1%
    assert len(times) == pytest.approx(100_000, rel=0.015)
    for share in (0.5, 0.9, 0.99):
        assert np.quantile(gaps, share) == pytest.approx(-np.log(1 - share) / 100, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        # Of ten tenths of 100 s at 100 a second, and 300 at the peak; the diurnal cosine's integral by hand.
        ("step", [1000] * 5 + [3000] * 5),
        ("spike", [1000] * 4 + [2000, 2000] + [1000] * 4),
        (
            "diurnal",
            [
                2000 - 10_000 / (2 * np.pi) * (np.sin(2 * np.pi * (t + 1) / 10) - np.sin(2 * np.pi * t / 10))
                for t in range(10)
            ],
        ),
    ],
)
def test_arrivals_follow_their_intensity(kind: Kind, counts: list[float]) -> None:
    times = send_times(Arrivals(kind, 100.0, 300.0), 100.0, 9)
    found, _ = np.histogram(times, bins=10, range=(0, 100))
    assert found == pytest.approx(counts, abs=5 * np.sqrt(3000))


def test_a_replay_keeps_the_logs_rhythm_at_the_rate() -> None:
    stamps = np.array([0.0, 0.0, 61.0, 61.0, 61.0, 120.0])
    times, compression = replayed_times(stamps, rate=2.0)
    # two events in second 0 and three in second 61 are spread over it; all in 120 s
    assert compression == pytest.approx(120.0 * 2.0 / 6)
    assert times * compression == pytest.approx([0, 0.5, 61, 61 + 1 / 3, 61 + 2 / 3, 120])


@given(
    stamps=st.lists(st.integers(0, 50), min_size=2, max_size=40).filter(lambda ticks: len(set(ticks)) > 1),
    step=st.sampled_from([1, 60, 86_400]),
)
def test_events_of_one_time_are_spread_over_the_logs_step(stamps: list[int], step: int) -> None:
    ticks = np.sort(stamps)
    times, compression = replayed_times(ticks * float(step), rate=2.0)
    assert np.all(np.diff(times) > 0)
    # within its tick each, whichever the step: a log by the day is no burst at midnight
    passed = times * compression / step
    assert np.all((passed > ticks - ticks[0] - 1e-6) & (passed < ticks - ticks[0] + np.gcd.reduce(np.diff(ticks))))


def test_a_replay_of_one_event_is_refused() -> None:
    with pytest.raises(ConfigError, match="the 1 events to replay have one and the same time"):
        replayed_times(np.array([5.0]), 1.0)


@pytest.mark.parametrize(("kind", "peak"), [("poisson", 5.0), ("replay", 5.0), ("step", None)])
def test_a_peak_is_for_the_kinds_that_have_one(kind: Kind, peak: float | None) -> None:
    with pytest.raises(ConfigError, match="--peak"):
        Arrivals(kind, 1.0, peak)
