"""Reading a server's totals, and splitting the time of a request."""

from __future__ import annotations

from typing import Any

import pytest

from tesserank.server.metrics_page import Labels, parse_metrics
from tesserank.serving.stages import STAGES
from tesserank_bench.latency import breakdown
from tesserank_bench.latency.breakdown import ENCODER_TOKENS, STAGE_RUNS, STAGE_SECONDS, mean_stages, padding
from tesserank_bench.latency.stages import Totals

PAGE = """
# HELP tesserank_stage_seconds_total Seconds that a stage has taken
# TYPE tesserank_stage_seconds_total counter
tesserank_stage_seconds_total{model="segment_ranker",stage="maxsim"} 0.25
tesserank_stage_seconds_total{model="segment_ranker",stage="encode"} 1.5e-2
nv_cpu_utilization 0.5
"""


def labels(**values: str) -> Labels:
    return frozenset(values.items())


def test_a_metrics_page_is_read_by_name_and_labels() -> None:
    metrics = parse_metrics(PAGE)
    assert metrics == {
        (STAGE_SECONDS, labels(model="segment_ranker", stage="maxsim")): 0.25,
        (STAGE_SECONDS, labels(model="segment_ranker", stage="encode")): 0.015,
        ("nv_cpu_utilization", labels()): 0.5,
    }
    totals = Totals({}, metrics)
    assert totals.metric(STAGE_SECONDS, stage="maxsim") == 0.25
    assert totals.metric(STAGE_SECONDS) == pytest.approx(0.265)
    assert totals.metric(STAGE_SECONDS, stage="pack") == 0


def test_what_was_added_counts_from_zero_for_what_is_new() -> None:
    before = Totals({("m", "queue", "ns"): 5}, {("a", labels()): 1.0})
    after = Totals({("m", "queue", "ns"): 7, ("m", "queue", "count"): 1}, {("a", labels()): 1.5, ("b", labels()): 2.0})
    added = after.since(before)
    assert added.statistic("m", "queue", "ns") == 2
    assert added.statistic("m", "queue", "count") == 1
    assert added.statistic("other", "queue", "ns") == 0
    assert (added.metric("a"), added.metric("b")) == (0.5, 2.0)


def test_the_stages_of_a_request_add_up_to_what_the_caller_saw() -> None:
    inside = {stage: (number + 1) * 1e-3 for number, stage in enumerate(STAGES)}
    totals = Totals(
        {
            ("recommend", "success", "ns"): 100_000_000,
            ("segment_ranker", "queue", "ns"): 4_000_000,
        },
        {(STAGE_SECONDS, labels(model="segment_ranker", stage=stage)): value for stage, value in inside.items()},
    )
    found = mean_stages(totals, [0.050, 0.070])  # two requests, which took their caller 60 ms on average
    assert found["request_ms"] == 60.0
    assert found["client_ms"] == 10.0
    assert found["queue_ms"] == 2.0
    assert found["maxsim_ms"] == pytest.approx(inside["maxsim"] * 1e3 / 2)
    parts = {name: value for name, value in found.items() if name != "request_ms"}
    assert sum(parts.values()) == pytest.approx(60.0)


def test_padding_is_the_share_of_the_encoders_input_that_is_not_real() -> None:
    def totals(real: float, padded: float) -> Totals:
        counts = {"real": real, "padded": padded}
        return Totals({}, {(ENCODER_TOKENS, labels(model="segment_encoder", tokens=k)): v for k, v in counts.items()})

    assert padding(totals(50, 60), totals(130, 160)) == {"real_tokens": 80, "padded_tokens": 100, "waste": 0.2}
    assert padding(totals(50, 60), totals(50, 60))["waste"] is None


class LaggingServer:
    """Its metrics tell of one more request at every reading, up to ``counted``."""

    def __init__(self, counted: int) -> None:
        self._runs = iter([*range(counted), *[counted] * 1_000])

    def totals(self) -> Totals:
        return Totals({}, {(STAGE_RUNS, labels(model="segment_ranker", stage="pack")): float(next(self._runs))})


@pytest.mark.parametrize(("counted", "told"), [(3, True), (2, False), (4, False)], ids=["all", "one lost", "one more"])
def test_totals_count_only_if_they_tell_of_the_very_requests(
    counted: int, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakdown, "PATIENCE_S", 0.3)
    monkeypatch.setattr(breakdown, "POLL_S", 0.01)
    observer: Any = LaggingServer(counted)
    assert (breakdown.settled(observer, Totals({}, {}), requests=3) is not None) == told
