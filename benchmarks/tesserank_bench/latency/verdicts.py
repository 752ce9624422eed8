"""Targets of this benchmark, and which of them a result meets. Ratios of one run; see docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tesserank_bench.figures import Target
from tesserank_bench.latency.paths import COLD, CROSS_INT8, HOT, WARM
from tesserank_bench.latency.plan import COMPARED
from tesserank_bench.latency.single import IN_PROCESS, SERVED

Result = dict[str, Any]
Figure = Callable[[Result], float | None]
SHORT_HISTORY, LONG_HISTORY = 20, 2_000


def verdicts(result: Result) -> list[dict[str, Any]]:
    """Each target with the figure of this result and whether it is met; what was not measured is said too."""
    return [target.judge(figure(result)) for target, figure in TARGETS]


def find(entries: list[dict[str, Any]], **key: Any) -> dict[str, Any] | None:
    """The entry with these values, or None."""
    return next((entry for entry in entries if key.items() <= entry.items()), None)


def _gap(path: str, candidates: int) -> Figure:
    """How many times the int8 cross-encoder's p50 a path's fits into."""

    def figure(result: Result) -> float | None:
        return _ratio(
            _single(result, CROSS_INT8, SERVED, candidates, "p50_ms"),
            _single(result, path, SERVED, candidates, "p50_ms"),
        )

    return figure


def _cost_of_serving(percentile: str) -> Figure:
    def figure(result: Result) -> float | None:
        served, own = (_single(result, HOT, where, COMPARED, percentile) for where in (SERVED, IN_PROCESS))
        return None if served is None or own is None else served - own

    return figure


def _cache_gain(result: Result) -> float | None:
    loads = result.get("cache", {})
    cached, off = (loads.get(name, {}).get("per_second") for name in ("cached", "off"))
    return _ratio(cached, off)


def _long_history(cut: str) -> Figure:
    def figure(result: Result) -> float | None:
        entries = result.get("histories", [])
        long, short = (find(entries, cut=cut, events=events) for events in (LONG_HISTORY, SHORT_HISTORY))
        return _ratio(long["p50_ms"], short["p50_ms"]) if long and short else None

    return figure


def _padding_waste(result: Result) -> float | None:
    waste: float | None = result.get("padding", {}).get("waste")
    return waste


def _single(result: Result, path: str, where: str, candidates: int, figure: str) -> float | None:
    entry = find(result.get("single", []), path=path, where=where, candidates=candidates)
    return entry[figure] if entry else None


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


TARGETS: tuple[tuple[Target, Figure], ...] = (
    (Target("p50 of the int8 cross-encoder / of a cold request, 100 candidates", 60, "×"), _gap(COLD, 100)),
    (Target("p50 of the int8 cross-encoder / of a warm request, 100 candidates", 150, "×"), _gap(WARM, 100)),
    (Target("p50 of the int8 cross-encoder / of a cold request, 1,000 candidates", 400, "×"), _gap(COLD, 1_000)),
    (Target("p50 of the int8 cross-encoder / of a warm request, 1,000 candidates", 1_000, "×"), _gap(WARM, 1_000)),
    (Target("hot request, served less in process, p50", 1.5, "ms", at_least=False), _cost_of_serving("p50_ms")),
    (Target("hot request, served less in process, p99", 3.0, "ms", at_least=False), _cost_of_serving("p99_ms")),
    (Target("throughput of 32 callers, 90% of segments cached / cache off", 5, "×"), _cache_gain),
    (
        Target("p50 of 2,000 events and one appended / of 20, cut by item", 1.2, "×", at_least=False),
        _long_history("item"),
    ),
    (
        Target("p50 of 2,000 events and one appended / of 20, cut by content", 1.2, "×", at_least=False),
        _long_history("content"),
    ),
    (Target("padding of the encoder's input, mixed lengths", 0.15, "of its tokens", at_least=False), _padding_waste),
)
