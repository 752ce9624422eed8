"""Which targets a result meets."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from tesserank_bench.latency import report
from tesserank_bench.latency.paths import COLD, HOT
from tesserank_bench.latency.single import IN_PROCESS, SERVED
from tesserank_bench.latency.verdicts import TARGETS, find, verdicts
from tests.bench.results import make_result


def judged(result: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [verdict for verdict in verdicts(result) if name in verdict["name"]]
    return found


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("of a cold request, 100 candidates", 160.0, "met"),  # 4,000 / 25
        ("of a warm request, 100 candidates", 400.0, "met"),
        ("of a cold request, 1,000 candidates", 1_600.0, "met"),
        ("of a warm request, 1,000 candidates", 4_000.0, "met"),
        ("in process, p50", 1.0, "met"),  # 2.5 - 1.5
        ("in process, p99", 2.0, "met"),  # 5 - 3
        ("90% of segments cached", 6.0, "met"),
        ("cut by item", 1.656, "not met"),  # 5 / 3.02
        ("cut by content", 1.198, "met"),  # 12 / 10.02
        ("mixed lengths", 0.1, "met"),
    ],
)
def test_figures_and_verdicts_of_a_result(name: str, value: float, verdict: str) -> None:
    found = judged(make_result(), name)
    assert (found["value"], found["verdict"]) == (value, verdict)


def test_every_target_is_judged_and_none_is_of_an_empty_result() -> None:
    assert len(verdicts(make_result())) == len(TARGETS)
    assert {verdict["verdict"] for verdict in verdicts({})} == {"not measured"}


def test_a_percentile_that_lacks_samples_is_no_figure() -> None:
    result = make_result()
    entry = find(result["single"], path=HOT, where=IN_PROCESS, candidates=100)
    assert entry is not None
    entry["p99_ms"] = None
    assert judged(result, "in process, p99")["verdict"] == "not measured"


def test_a_slow_request_misses_its_target() -> None:
    result = make_result()
    entry = find(result["single"], path=COLD, where=SERVED, candidates=100)
    assert entry is not None
    entry["p50_ms"] = 70.0
    assert judged(result, "of a cold request, 100 candidates")["verdict"] == "not met"


def test_the_report_has_a_table_for_each_part_and_none_for_what_is_missing() -> None:
    console = Console(record=True, width=200, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    report.show(console, make_result() | {"targets": verdicts(make_result())})
    shown = console.export_text()
    for text in ("160×", "4.0 s", "what a request is made of", "requests a second", "one appended", "not met"):
        assert text in shown
    console.file.close()
    report.show(Console(quiet=True), {"setup": {"candidates": []}})
