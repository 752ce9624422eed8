"""The segment cache as Triton metrics, on the server's own metrics endpoint."""

from __future__ import annotations

from typing import Any

from tesserank.encoding.cache import CacheCounters

_COUNTERS = {
    "hits": "Segments found in the segment cache",
    "misses": "Segments not found in the segment cache, and encoded",
    "evictions": "Segments evicted from the segment cache",
}
_GAUGES = {"entries": "Segments in the segment cache", "bytes": "Bytes in the segment cache"}


class CacheMetrics:
    """``tesserank_cache_{hits,misses,evictions}_total`` and ``tesserank_cache_{entries,bytes}``."""

    def __init__(self, pb_utils: Any) -> None:
        self._last = CacheCounters(0, 0, 0, 0, 0)
        self._metrics = {}
        self._families = []  # a family that is collected takes its metrics with it
        for names, suffix, kind in (
            (_COUNTERS, "_total", pb_utils.MetricFamily.COUNTER),
            (_GAUGES, "", pb_utils.MetricFamily.GAUGE),
        ):
            for name, text in names.items():
                family = pb_utils.MetricFamily(name=f"tesserank_cache_{name}{suffix}", description=text, kind=kind)
                self._families.append(family)
                self._metrics[name] = family.Metric(labels={"model": "segment_embedder"})

    def update(self, counters: CacheCounters) -> None:
        """Bring the metrics up to a reading of the counters."""
        for name in _COUNTERS:
            grown = getattr(counters, name) - getattr(self._last, name)
            if grown:
                self._metrics[name].increment(grown)
        for name in _GAUGES:
            self._metrics[name].set(getattr(counters, name))
        self._last = counters
