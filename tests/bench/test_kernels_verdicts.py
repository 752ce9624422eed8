"""Ceilings, ratios, verdicts and the picture of ``tesserank bench kernels``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tesserank_bench import plots
from tesserank_bench.kernels import ceilings, report
from tesserank_bench.kernels.ceilings import BF16, COPIED_BYTES, COPY, FP32, INT8
from tesserank_bench.kernels.encoder import SEGMENTS, SESSIONS, efficiency
from tesserank_bench.kernels.pictures import NAME, draw
from tesserank_bench.kernels.verdicts import verdicts
from tesserank_bench.kernels.workers import TimedCase
from tests.bench.kernels_result import make_result


def timed(key: dict[str, Any], seconds: list[float]) -> TimedCase:
    case = TimedCase(key, len(seconds), None, str(key), 0.0)  # type: ignore[arg-type]  # nothing is timed here
    case.seconds = seconds
    return case


def gemm(ceiling: str, by: str, size: int, seconds: list[float], threads: int = 1) -> TimedCase:
    return timed({"ceiling": ceiling, "by": by, "sizes": (size, size, size), "threads": threads}, seconds)


def test_a_ceiling_is_the_best_call_of_whoever_is_fastest() -> None:
    cases = [
        gemm(FP32, "numpy", 1_000, [0.05, 0.04]),
        gemm(FP32, "torch", 1_000, [0.025, 0.5]),
        gemm(FP32, "numpy", 1_000, [0.02], threads=2),
        gemm(INT8, "torch", 100, []),
        timed({"ceiling": COPY, "by": "numpy", "threads": 1}, [COPIED_BYTES / 5e9]),
    ]
    found = ceilings.figures(cases)
    assert len(found) == 4  # what was not timed has no figure
    assert ceilings.peak(found, (FP32,), 1) == 80.0  # 2·1000³ operations in 25 ms
    assert ceilings.peak(found, (FP32,), 2) == 100.0
    assert ceilings.peak(found, (BF16, INT8), 1) is None
    assert ceilings.copy_rate(found, 1) == 5.0
    assert ceilings.copy_rate(found, 2) is None


def test_only_what_may_become_a_ceiling_is_timed_again() -> None:
    best, near = gemm(FP32, "numpy", 1_000, [0.02]), gemm(FP32, "torch", 1_000, [0.9, 0.028])
    hopeless, alone = gemm(FP32, "numpy", 100, [0.02]), gemm(FP32, "numpy", 100, [0.02], threads=2)
    assert ceilings.promising([best, near, hopeless, alone]) == [best, near, alone]


def test_verdicts_are_ratios_of_one_run() -> None:
    found = {verdict["name"]: (verdict["value"], verdict["verdict"]) for verdict in verdicts(make_result())}
    assert found["MaxSim int8 / fp32 gemm peak, 1 thread"] == (1.6, "met")
    assert found["MaxSim int8 / int8 or bf16 gemm peak, 2 threads"] == (0.8, "met")
    assert found[f"encoder through Triton / raw onnxruntime, {SEGMENTS}"] == (0.95, "met")
    assert found[f"encoder through Triton / raw onnxruntime, {SESSIONS}"] == (0.8, "not met")


def test_targets_without_a_figure_are_not_passed_over() -> None:
    assert {verdict["verdict"] for verdict in verdicts({})} == {"not measured"}
    partial = make_result()
    del partial["ceilings"]
    assert {v["verdict"] for v in verdicts(partial) if v["name"].startswith("MaxSim")} == {"not measured"}


def test_picked_candidates_are_not_what_is_judged() -> None:
    result = make_result()
    for entry in result["maxsim"]:
        if entry["candidates"]:
            entry["gops"] = 1e6
    assert verdicts(result) == make_result()["targets"]


def test_efficiency_needs_both_sides() -> None:
    entries = make_result()["encoder"]
    assert efficiency(entries, SEGMENTS) == 0.95
    assert efficiency(entries[1:], SEGMENTS) is None
    assert efficiency([], SEGMENTS) is None


def test_the_report_says_who_was_absent_and_how_to_install_it() -> None:
    console = Console(width=200, file=io.StringIO())
    report.show(console, make_result())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for text in ("not installed (no python): make bench-peers", "160 GOP/s", "1.60", "0.80", "not met"):
        assert text in shown


def test_equal_results_give_equal_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plots._STYLE, "svg.fonttype", "none")  # texts as texts, to read them here
    first, second = (draw(make_result(), tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [NAME]
    assert first[0].read_bytes() == second[0].read_bytes()
    text = first[0].read_text(encoding="utf-8")
    for wanted in ("1 core", "2 cores", "128  (1.60×)", "320  (2.00×)", "10,000 items", "a processor"):
        assert wanted in text


def test_nothing_is_drawn_of_half_a_measurement(tmp_path: Path) -> None:
    result = make_result()
    result["maxsim"] = result["maxsim"][:2]
    assert draw(result, tmp_path) == []
    assert not list(tmp_path.iterdir())
