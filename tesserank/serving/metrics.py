"""What a model counts, as Triton metrics on the server's own metrics endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tesserank.encoding.batching import EncoderCounts
from tesserank.encoding.cache import CacheCounters
from tesserank.serving.stages import STAGES, StageClock

_CACHE_COUNTERS = {
    "hits": "Segments found in the segment cache",
    "misses": "Segments not found in the segment cache, and encoded",
    "evictions": "Segments evicted from the segment cache",
}
_CACHE_GAUGES = {"entries": "Segments in the segment cache", "bytes": "Bytes in the segment cache"}


class _Family:
    """A metric's series, which are told from each other by labels; each is sent only when it has changed.

    By how much it has changed, of gauges too: where a model has several processes, a series is their sum.
    """

    def __init__(self, pb_utils: Any, name: str, text: str, counter: bool) -> None:
        kind = pb_utils.MetricFamily.COUNTER if counter else pb_utils.MetricFamily.GAUGE
        # A family that is collected takes its metrics with it.
        self._family = pb_utils.MetricFamily(name=name, description=text, kind=kind)
        self._counter = counter
        self._series: dict[tuple[str, ...], Any] = {}
        self._last: dict[tuple[str, ...], float] = {}

    def set(self, value: float, **labels: str) -> None:
        """Bring a series to a total (counter) or a value (gauge)."""
        key = tuple(labels.values())
        if key not in self._series:
            self._series[key] = self._family.Metric(labels=labels)
            self._last[key] = 0.0
        change = value - self._last[key]
        if change > 0 or (change and not self._counter):
            self._series[key].increment(change)
        self._last[key] = value


class CacheMetrics:
    """``tesserank_cache_{hits,misses,evictions}_total`` and ``tesserank_cache_{entries,bytes}``."""

    def __init__(self, pb_utils: Any, model: str, read: Callable[[], CacheCounters]) -> None:
        self._model = model
        self._read = read
        self._families = {
            name: _Family(pb_utils, f"tesserank_cache_{name}{'_total' if counter else ''}", text, counter)
            for texts, counter in ((_CACHE_COUNTERS, True), (_CACHE_GAUGES, False))
            for name, text in texts.items()
        }

    def update(self) -> None:
        """Bring the metrics up to date."""
        counters = self._read()
        for name, family in self._families.items():
            family.set(getattr(counters, name), model=self._model)


class StageMetrics:
    """``tesserank_stage_{seconds,runs}_total`` by stage."""

    def __init__(self, pb_utils: Any, model: str, clock: StageClock) -> None:
        self._model = model
        self._clock = clock
        self._seconds = _Family(pb_utils, "tesserank_stage_seconds_total", "Seconds that a stage has taken", True)
        self._runs = _Family(pb_utils, "tesserank_stage_runs_total", "How often a stage has run", True)

    def update(self) -> None:
        """Bring the metrics up to date."""
        reading = self._clock.reading()
        for stage in STAGES:
            self._seconds.set(reading.seconds[stage], model=self._model, stage=stage)
            self._runs.set(reading.runs[stage], model=self._model, stage=stage)


class EncoderMetrics:
    """``tesserank_encoder_{batches,rows}_total``, and ``tesserank_encoder_tokens_total`` real and padded."""

    def __init__(self, pb_utils: Any, model: str, read: Callable[[], EncoderCounts]) -> None:
        self._model = model
        self._read = read
        self._batches = _Family(pb_utils, "tesserank_encoder_batches_total", "Batches that the encoder has run", True)
        self._rows = _Family(pb_utils, "tesserank_encoder_rows_total", "Segments that the encoder has run", True)
        self._tokens = _Family(
            pb_utils, "tesserank_encoder_tokens_total", "Tokens that the encoder has run: real, and with padding", True
        )

    def update(self) -> None:
        """Bring the metrics up to date."""
        counts = self._read()
        self._batches.set(counts.batches, model=self._model)
        self._rows.set(counts.rows, model=self._model)
        self._tokens.set(counts.real_tokens, model=self._model, tokens="real")
        self._tokens.set(counts.padded_tokens, model=self._model, tokens="padded")


class Updated(Protocol):
    """Metrics that are brought up to date now and then."""

    def update(self) -> None:
        """Bring them up to date."""


class Publisher:
    """A thread that brings metrics up to date every ``interval_s``.

    Not in the request's own time: each change of a metric crosses to the server's process and back (0.07 ms).
    """

    def __init__(self, metrics: Sequence[Updated], interval_s: float = 0.25) -> None:
        self._metrics = metrics
        self._interval_s = interval_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._update()  # so that the series are there, at 0
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._interval_s):
            self._update()

    def _update(self) -> None:
        for metrics in self._metrics:
            metrics.update()
