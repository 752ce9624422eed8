"""Targets of this benchmark, and which of them a result meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tesserank_bench.figures import Target
from tesserank_bench.latency.device.plan import CROSS
from tesserank_bench.latency.paths import COLD, HOT, WARM
from tesserank_bench.latency.verdicts import find

Result = Mapping[str, Any]  # of one backbone
BASE, LARGEST = "bert-base", "7b"


def verdicts(backbones: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Each target with the figure of these results and whether it is met; what was not measured is said too."""
    return [target.judge(figure(backbones)) for target, figure in TARGETS]


def gap(result: Result, path: str, candidates: int) -> float | None:
    """How many times the cross-encoder's p50 a path's fits into."""
    pairs, ours = (find(result.get("single", []), path=name, candidates=candidates) for name in (CROSS, path))
    return pairs["p50_ms"] / ours["p50_ms"] if pairs and ours else None


def cache_gain(result: Result) -> float | None:
    """Throughput with nine of ten segments cached / without a cache."""
    loads = result.get("cache", {})
    cached, off = (loads.get(name, {}).get("per_second") for name in ("cached", "off"))
    return cached / off if cached is not None and off else None


def hot_per_second(result: Result) -> float | None:
    """The most hot requests a second, over numbers of callers."""
    rates = [entry["per_second"] for entry in result.get("throughput", []) if entry["path"] == HOT]
    return max(rates, default=None)


def _of(backbone: str, figure: Callable[[Result], float | None]) -> Callable[[Mapping[str, Result]], float | None]:
    return lambda backbones: figure(backbones[backbone]) if backbone in backbones else None


def _best_rate(backbones: Mapping[str, Result]) -> float | None:
    servers = [served for result in backbones.values() for served in (result, result.get("several", {}))]
    return max((rate for served in servers if (rate := hot_per_second(served)) is not None), default=None)


TARGETS = (
    (
        Target(f"{BASE}, 1,000 candidates: p50 of the cross-encoder / of a warm request", 200, "×"),
        _of(BASE, lambda result: gap(result, WARM, 1_000)),
    ),
    (
        Target(f"{BASE}, 1,000 candidates: p50 of the cross-encoder / of a cold request", 100, "×"),
        _of(BASE, lambda result: gap(result, COLD, 1_000)),
    ),
    (
        Target(f"{LARGEST}, 1,000 candidates: p50 of the cross-encoder / of a warm request", 1_000, "×"),
        _of(LARGEST, lambda result: gap(result, WARM, 1_000)),
    ),
    (
        Target(f"{BASE}: throughput with 90% of segments cached / cache off", 6, "×"),
        _of(BASE, cache_gain),
    ),
    (Target("hot requests a second, the best backbone", 5_000, "requests/s"), _best_rate),
)
