"""A result of `tesserank bench latency`, small and made up."""

from __future__ import annotations

from typing import Any

from tesserank_bench.latency.paths import COLD, CROSS_FP32, CROSS_INT8, HOT, ITEMS, ONE_SEGMENT, WARM
from tesserank_bench.latency.single import IN_PROCESS, SERVED

P50_MS = {CROSS_FP32: 8_000.0, CROSS_INT8: 4_000.0, ONE_SEGMENT: 40.0, COLD: 25.0, WARM: 10.0, HOT: 2.5, ITEMS: 3.0}
ITEMS_COUNT = 12_000


def single(path: str, where: str, candidates: int | str, p50_ms: float, p99_ms: float | None = None) -> dict[str, Any]:
    """An entry of the result."""
    return {"path": path, "where": where, "candidates": candidates, "p50_ms": p50_ms, "p95_ms": None, "p99_ms": p99_ms}


def make_result() -> dict[str, Any]:
    """Every part of a result, with figures that are easy to compute with."""
    sizes: list[int | str] = [100, 1_000, "catalogue"]
    served = [
        single(path, SERVED, size, p50 * (10 if size == 1_000 and "cross" in path else 1), p99_ms=p50 * 2)
        for path, p50 in P50_MS.items()
        for size in sizes
        if size != "catalogue" or "cross" not in path
    ]
    return {
        "conditions": {"cores": 2, "cpu": "a processor"},
        "setup": {"dataset": "a catalogue", "items": ITEMS_COUNT, "candidates": sizes},
        "single": [*served, single(HOT, IN_PROCESS, 100, 1.5, 3.0)],
        "stages": [{"path": COLD, "candidates": 100, "requests": 5, "request_ms": 25.0, "client_ms": 1.0}],
        "throughput": [
            {"path": path, "candidates": size, "callers": callers, "per_second": rate * callers**0.5}
            for path, size, rate in ((COLD, 100, 40.0), (HOT, 100, 400.0), (HOT, "catalogue", 50.0))
            for callers in (1, 8, 32)
        ],
        "cache": {"cached": {"per_second": 300.0}, "off": {"per_second": 50.0}},
        "padding": {"waste": 0.1},
        "histories": [
            {"cut": cut, "events": events, "candidates": 100, "p50_ms": base + events / 1_000, "p95_ms": p95}
            for cut, base, p95 in (("item", 3.0, 5.0), ("content", 10.0, None))
            for events in (20, 2_000)
        ],
    }
