"""What the histogram says of latencies is what they are, to a thousandth; and merging loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank_loadtest.histogram import Histogram
from tesserank_loadtest.recorder import Recorder, Sample

SECONDS = st.lists(st.floats(1e-6, 60.0), min_size=1, max_size=200)


def filled(seconds: list[float]) -> Histogram:
    histogram = Histogram()
    for value in seconds:
        histogram.record(value)
    return histogram


@given(seconds=SECONDS, percent=st.sampled_from([1.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentiles_are_the_nearest_rank_to_a_thousandth(seconds: list[float], percent: float) -> None:
    exact = np.sort(seconds)[max(0, int(np.ceil(percent / 100 * len(seconds) - 1e-9)) - 1)] * 1e3
    # and to a microsecond, the unit it counts in
    assert filled(seconds).percentile_ms(percent) == pytest.approx(exact, rel=1.1e-3, abs=1.1e-3)


@given(left=SECONDS, right=SECONDS)
def test_merged_and_decoded_histograms_are_those_of_all_values(left: list[float], right: list[float]) -> None:
    merged = Histogram.decode(filled(left).encode())
    merged.merge(Histogram.decode(filled(right).encode()))
    together = filled(left + right)
    assert merged.count == len(left) + len(right)
    for percent in (10.0, 50.0, 99.0, 100.0):
        assert merged.percentile_ms(percent) == together.percentile_ms(percent)
    assert merged.max_ms == together.max_ms


def test_an_empty_histogram_has_no_values() -> None:
    empty = Histogram.decode(Histogram().encode())
    assert (empty.count, empty.percentile_ms(50.0), empty.mean_ms, empty.max_ms) == (0, None, None, None)


def test_what_is_within_a_bound_is_counted() -> None:
    assert filled([0.010, 0.020, 0.030]).count_within(20.1) == 2


def test_more_than_an_hour_is_refused() -> None:
    with pytest.raises(ValueError, match="10000 s: at most 3600 s"):
        filled([10_000.0])


SAMPLES = st.builds(
    Sample,
    endpoint=st.sampled_from(["gRPC recommend", "HTTP recommend"]),
    intended=st.floats(0, 9),
    sent=st.floats(9, 10),
    done=st.floats(10, 20),
    error=st.sampled_from([None, None, "DeadlineExceededError", "ConnectError"]),
    message=st.just("why"),
    cache_hits=st.integers(0, 3),
    cache_misses=st.integers(0, 3),
)


@given(samples=st.lists(st.tuples(SAMPLES, st.integers(0, 2)), max_size=40))
def test_recorders_of_processes_merge_to_one_of_all_samples(samples: list[tuple[Sample, int]]) -> None:
    alone = Recorder(0.5, warmup_s=2.0)
    parts = [Recorder(0.5, warmup_s=2.0) for _ in range(3)]
    for sample, process in samples:
        alone.add(sample)
        parts[process].add(sample)
    merged = Recorder(0.5, warmup_s=2.0)
    for part in parts:
        merged.merge(Recorder.from_dict(part.to_dict()))
    assert merged.to_dict() == alone.to_dict()
    assert merged.warmup == sum(sample.intended < 2.0 for sample, _ in samples)
    answered = sum(endpoint.latency.count for endpoint in merged.endpoints.values())
    failed = sum(endpoint.errors.total() for endpoint in merged.endpoints.values())
    assert answered + failed + merged.warmup == len(samples)


@pytest.mark.parametrize(("hits", "misses", "warmth"), [(0, 0, "hot"), (3, 0, "hot"), (2, 1, "warm"), (0, 2, "cold")])
def test_a_request_is_as_warm_as_its_segments(hits: int, misses: int, warmth: str) -> None:
    assert Sample("", 0, 0, 0, cache_hits=hits, cache_misses=misses).warmth == warmth
