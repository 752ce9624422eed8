"""SLOs, the search for the knee, comparisons: judged on figures that are given."""

from __future__ import annotations

from argparse import ArgumentTypeError
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesserank_loadtest.arrivals import Arrivals
from tesserank_loadtest.compare import compare, unlike
from tesserank_loadtest.errors import LoadTestError
from tesserank_loadtest.knee import find_knee
from tesserank_loadtest.metrics import BY_SLO_NAME, METRICS
from tesserank_loadtest.monitor import Reading
from tesserank_loadtest.plan import Plan, WorkloadOptions
from tesserank_loadtest.recorder import Recorder, Sample
from tesserank_loadtest.report import html, write_reports
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.result import build_result, exit_status, load_result
from tesserank_loadtest.server_figures import server_figures
from tesserank_loadtest.slo import parse_slo

PLAN = Plan({"grpc": "127.0.0.1:1"}, WorkloadOptions(Path("items")), arrivals=Arrivals("constant", 10.0), duration_s=3)


def recorded(latency_s: float = 0.02, count: int = 29, failed: int = 0, lag_s: float = 0.001) -> Recorder:
    recorder = Recorder(PLAN.interval_s)
    for number in range(1, count + 1):
        due = number / 10
        error = "InternalServerError" if number <= failed else None
        recorder.add(Sample("gRPC recommend", due, due + lag_s, due + latency_s, error, "</script><b>gone", 3, 1))
    recorder.cpu["1"] = 0.5
    return recorder


def result_of(recorder: Recorder, slo: str = "p99<50ms", plan: Plan = PLAN, planned: int = 29) -> dict[str, Any]:
    return build_result(plan, recorder, [], parse_slo(slo), planned=planned, notes=["a note"])


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("p99<50ms,errors<0.1%", [("p99_ms", "<", 50.0), ("error_ratio", "<", 0.001)]),
        ("p99.9 <= 1.5s", [("p999_ms", "<=", 1500.0), ("error_ratio", "<=", 0.0)]),
        ("throughput>=100/s, errors<0.5", [("throughput_per_s", ">=", 100.0), ("error_ratio", "<", 0.5)]),
        ("mean<200us,goodput>5", [("mean_ms", "<", 0.2), ("goodput_per_s", ">", 5.0), ("error_ratio", "<=", 0.0)]),
    ],
)
def test_an_slo_is_read_in_the_results_units(text: str, clauses: list[tuple[str, str, float]]) -> None:
    found = [(clause.metric, clause.comparison, clause.bound) for clause in parse_slo(text).clauses]
    assert [clause[:2] for clause in found] == [clause[:2] for clause in clauses]
    assert [clause[2] for clause in found] == pytest.approx([clause[2] for clause in clauses])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p99", "'p99' is not like p99<50ms"),
        ("p98<5ms", "'p98' is none of errors, throughput"),
        ("p99<50", "p99 is in us or µs or ms or s, not a bare number"),
        ("errors<5ms", "errors is in % or a bare number, not ms"),
        ("p99<50ms,", "'' is not like"),
    ],
)
def test_what_is_no_slo_is_named(text: str, message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        parse_slo(text)


@given(value=st.floats(0, 100), bound=st.floats(0.001, 100))
def test_a_clause_is_met_as_its_comparison_says(value: float, bound: float) -> None:
    clause = parse_slo(f"p99<{bound:.3f}ms").clauses[0]
    assert clause.met({"p99_ms": value}) == (value < clause.bound)
    assert not clause.met({"p99_ms": None})


@pytest.mark.parametrize(
    ("recorder", "status", "reason"),
    [
        (recorded(), 0, None),
        (recorded(latency_s=0.06), 1, None),
        (recorded(failed=1), 1, None),
        (recorded(lag_s=0.015), 3, "the generator lagged: 1% of requests were sent 15.0 ms late"),
        (recorded(count=20), 3, "9 of 29 requests were not sent"),
        (Recorder(PLAN.interval_s), 3, "no request was sent"),
    ],
    ids=["good", "slow", "failed", "lagged", "unsent", "nothing"],
)
def test_the_exit_status_tells_a_missed_slo_from_a_run_that_says_nothing(
    recorder: Recorder, status: int, reason: str | None
) -> None:
    result = result_of(recorder)
    assert exit_status(result) == status
    reasons = result["verdicts"]["reasons"]
    assert (reason is None and not reasons) or any(reason in each for each in reasons if reason)


def test_a_zero_hit_run_that_found_segments_is_invalid() -> None:
    plan = Plan(PLAN.urls, WorkloadOptions(Path("items"), zero_hit=True), arrivals=PLAN.arrivals, duration_s=3)
    assert any(
        "75.0% of segments were found" in reason for reason in result_of(recorded(), plan=plan)["verdicts"]["reasons"]
    )


def test_a_busy_closed_loop_measured_its_generator() -> None:
    recorder = recorded()
    recorder.cpu["2"] = 0.99
    plan = Plan(PLAN.urls, PLAN.workload, users=2, duration_s=3)
    reasons = build_result(plan, recorder, [], parse_slo("p50<1s"), planned=None, notes=[])["verdicts"]["reasons"]
    assert any("0.99 cores" in reason for reason in reasons)


def test_figures_are_those_of_the_registry_and_add_up() -> None:
    figures = result_of(recorded(failed=4))["figures"]["all"]
    assert set(figures) == {metric.name for metric in METRICS if metric.scope == "endpoint"}
    assert (figures["requests"], figures["answered"], figures["failed"]) == (29, 25, 4)
    assert figures["segments_cached"] == 0.75
    assert (figures["cold"], figures["warm"], figures["hot"]) == (0.0, 1.0, 0.0)
    assert figures["throughput_per_s"] == pytest.approx(25 / 2.92)
    assert figures["p99_ms"] == pytest.approx(20, rel=0.001)
    assert figures["service_p99_ms"] == pytest.approx(19, rel=0.001)


def test_the_html_report_needs_nothing_else_and_shows_data_as_data(tmp_path: Path) -> None:
    result = result_of(recorded(failed=2))
    write_reports(result, Reports(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert page == html(result)
    for loads in ("src=", "href=", "@import", "url(", "fetch(", "https:"):
        assert loads not in page
    assert page.count("</script>") == 1
    assert "&lt;/script&gt;&lt;b&gt;gone" in page
    assert load_result(tmp_path) == load_result(tmp_path / "result.json") == result
    assert (tmp_path / "figures.csv").read_text().splitlines()[1] == "gRPC recommend,requests,requests,29"
    assert len((tmp_path / "intervals.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}'])
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(LoadTestError):
        load_result(tmp_path)


@given(limit=st.floats(1, 1000), precision=st.sampled_from([0.01, 0.05, 0.2]))
def test_the_knee_is_found_to_its_precision(limit: float, precision: float) -> None:
    knee = find_knee(lambda rate: rate <= limit, 1.0, 2000.0, precision)
    assert knee.rate is not None
    assert knee.bounded
    assert knee.rate <= limit < knee.rate * (1 + precision) * (1 + 1e-9)
    assert len(knee.trials) < 15


def test_a_knee_outside_the_range_is_told() -> None:
    assert find_knee(lambda rate: False, 1, 10, 0.1).rate is None
    above = find_knee(lambda rate: True, 1, 10, 0.1)
    assert (above.rate, above.bounded) == (10, False)


@pytest.mark.parametrize(
    ("latency_s", "failed", "worse"),
    [
        (0.02, 0, set()),
        (0.021, 0, set()),
        (0.03, 0, {"mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms"}),
        (0.01, 0, set()),
        (0.02, 5, {"error_ratio", "throughput_per_s", "goodput_per_s"}),
    ],
    ids=["equal", "within", "slower", "quicker", "failing"],
)
def test_what_got_worse_by_more_than_the_tolerance_is_named(latency_s: float, failed: int, worse: set[str]) -> None:
    differences = compare(result_of(recorded()), result_of(recorded(latency_s, failed=failed)), 0.1)
    assert {each.metric.name for each in differences if each.worse} == worse
    assert {each.metric.name for each in differences} == {metric.name for metric in BY_SLO_NAME.values()} - {"max_ms"}


def test_an_invalid_run_is_not_compared_and_plans_that_differ_are_told() -> None:
    good, bad = result_of(recorded()), result_of(recorded(lag_s=0.015))
    with pytest.raises(LoadTestError, match="second result cannot be compared"):
        compare(good, bad, 0.1)
    other = deepcopy(good)
    other["plan"]["workload"]["seed"] = 5
    assert unlike(good, other) == ["workload.seed: 0 and 5"]


def test_the_servers_figures_are_differences_of_its_counters() -> None:
    before = {"stage_seconds/encode": 1.0, "stage_runs/encode": 10.0, "requests/m": 5.0, "cache_hits": 100.0}
    after = {
        "stage_seconds/encode": 1.5,
        "stage_runs/encode": 60.0,
        "requests/m": 105.0,
        "inferences/m": 100.0,
        "executions/m": 25.0,
        "queue_us/m": 200_000.0,
        "compute_us/m": 1_000_000.0,
        "cache_hits": 130.0,
        "cache_misses": 10.0,
        "own_rows/e": 60.0,
        "own_batches/e": 20.0,
        "requests/e": 30.0,
        "inferences/e": 60.0,
        "executions/e": 30.0,
        "tokens/real": 900.0,
        "tokens/padded": 1000.0,
    }
    readings = [Reading(0.0, before, 1.0, 100.0), Reading(2.0, after, 4.0, 150.0), Reading(3.0, after, 4.0, 120.0)]
    assert server_figures(readings) == {
        "stage_ms": {"encode": pytest.approx(10.0)},
        "queue_ms": {"m": 2.0, "e": 0.0},
        "compute_ms": {"m": 10.0, "e": 0.0},
        "batch_size": {"m": 4.0, "e": 3.0},
        "cache_hit_ratio": 0.75,
        "padding_waste": 0.1,
        "cpu_cores": 1.5,
        "peak_rss_mib": 150.0,
    }
    assert set(server_figures([])) == {metric.name for metric in METRICS if metric.scope == "server"}
