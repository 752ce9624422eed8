"""Percentiles and targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank_bench.figures import Target, p50_ms, percentile_ms, summarise

SECONDS = st.lists(st.floats(1e-4, 100.0), min_size=1, max_size=300)


@given(SECONDS)
def test_percentiles_lie_between_samples_in_order(seconds: list[float]) -> None:
    summary = summarise(seconds)
    known = [summary[name] for name in ("p50_ms", "p95_ms", "p99_ms") if summary[name] is not None]
    assert known == sorted(known)
    assert min(seconds) * 1e3 - 0.001 <= known[0]
    assert known[-1] <= max(seconds) * 1e3 + 0.001
    below = sum(second * 1e3 <= summary["p50_ms"] + 0.001 for second in seconds)
    assert below >= len(seconds) / 2


@pytest.mark.parametrize(
    ("count", "p95", "p99"), [(1, False, False), (19, False, False), (20, True, False), (100, True, True)]
)
def test_a_percentile_takes_as_many_samples_as_it_has_parts(count: int, p95: bool, p99: bool) -> None:
    summary = summarise([0.001] * count)
    assert (summary["p95_ms"] is not None, summary["p99_ms"] is not None) == (p95, p99)


def test_percentiles_are_those_of_a_known_distribution() -> None:
    seconds = (np.random.default_rng(0).permutation(1_001) / 1e3).tolist()
    assert p50_ms(seconds) == 500.0
    assert percentile_ms(seconds, 0.95) == 950.0
    assert percentile_ms(seconds, 0.99) == 990.0
    assert percentile_ms([], 0.5) is None


def test_samples_are_kept_in_the_order_taken() -> None:
    assert summarise([0.003, 0.001, 0.002])["samples_ms"] == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (Target("gap", 60, "×"), 60.0, "met"),
        (Target("gap", 60, "×"), 59.99, "not met"),
        (Target("cost", 1.5, "ms", at_least=False), 1.5, "met"),
        (Target("cost", 1.5, "ms", at_least=False), 1.51, "not met"),
        (Target("cost", 1.5, "ms", at_least=False), None, "not measured"),
    ],
    ids=str,
)
def test_a_target_is_met_up_to_its_bound(target: Target, value: float | None, verdict: str) -> None:
    judged = target.judge(value)
    assert judged["verdict"] == verdict
    assert judged["value"] == value


def test_a_target_reads_as_the_issue_writes_it() -> None:
    assert str(Target("gap", 1_000, "×")) == "≥ 1,000 ×"
    assert str(Target("cost", 1.5, "ms", at_least=False)) == "≤ 1.5 ms"
