"""What is counted becomes metrics of Triton's: the right series, by what they grew, and not in a request's time."""

from __future__ import annotations

import time
from typing import Any

from tesserank.encoding.cache import CacheCounters
from tesserank.serving.encoder import EncoderCounts
from tesserank.serving.metrics import CacheMetrics, EncoderMetrics, Publisher, StageMetrics
from tesserank.serving.stages import STAGES, StageClock
from tests.core.test_workers import until


class Metric:
    def __init__(self, name: str, labels: dict[str, str], page: dict[Any, float]) -> None:
        self._key = (name, *sorted(labels.items()))
        self._page = page
        page.setdefault(self._key, 0.0)  # one that another process has made is that one

    def increment(self, value: float) -> None:
        assert value > 0 or not self._key[0].endswith("_total"), "Triton refuses to decrease a counter"
        self._page[self._key] += value


class PbUtils:
    """The part of triton_python_backend_utils that has metrics; ``page`` is what /metrics would show."""

    def __init__(self) -> None:
        page: dict[Any, float] = {}
        self.page = page

        class MetricFamily:
            COUNTER, GAUGE = "counter", "gauge"

            def __init__(self, name: str, description: str, kind: str) -> None:
                assert (kind == self.COUNTER) == name.endswith("_total"), "Prometheus' convention"
                self._name = name

            def Metric(self, labels: dict[str, str]) -> Metric:
                return Metric(self._name, labels, page)

        self.MetricFamily = MetricFamily

    def value(self, name: str, **labels: str) -> float:
        return self.page[(name, *sorted({"model": "m", **labels}.items()))]


def test_cache_counters_grow_by_what_was_counted_and_gauges_follow() -> None:
    triton, reading = PbUtils(), CacheCounters(0, 0, 0, 0, 0)
    metrics = CacheMetrics(triton, "m", lambda: reading)
    for reading in (CacheCounters(5, 2, 0, 2, 900), CacheCounters(9, 2, 1, 1, 400)):
        for _ in range(2):  # the second time, nothing has happened since
            metrics.update()
            for name in ("hits", "misses", "evictions"):
                assert triton.value(f"tesserank_cache_{name}_total") == getattr(reading, name)
            assert triton.value("tesserank_cache_entries") == reading.entries
            assert triton.value("tesserank_cache_bytes") == reading.bytes


def test_series_of_several_processes_of_a_model_are_their_sum() -> None:
    triton = PbUtils()
    first, second = CacheCounters(5, 2, 0, 2, 900), CacheCounters(1, 3, 1, 4, 700)
    metrics = [CacheMetrics(triton, "m", lambda: first), CacheMetrics(triton, "m", lambda: second)]
    for later in (first, CacheCounters(6, 2, 2, 0, 0)):
        first = later
        for own in metrics:
            own.update()
        for name in ("hits", "misses", "evictions"):
            assert triton.value(f"tesserank_cache_{name}_total") == getattr(first, name) + getattr(second, name)
        assert triton.value("tesserank_cache_entries") == first.entries + second.entries
        assert triton.value("tesserank_cache_bytes") == first.bytes + second.bytes


def test_stages_are_series_of_their_own() -> None:
    triton, clock = PbUtils(), StageClock()
    metrics = StageMetrics(triton, "m", clock)
    metrics.update()
    assert {dict(key[1:])["stage"] for key in triton.page if key[0] == "tesserank_stage_runs_total"} == set(STAGES)
    clock.add("maxsim", 0.25)
    clock.add("maxsim", 0.5)
    metrics.update()
    assert triton.value("tesserank_stage_seconds_total", stage="maxsim") == 0.75
    assert triton.value("tesserank_stage_runs_total", stage="maxsim") == 2
    assert triton.value("tesserank_stage_runs_total", stage="encode") == 0


def test_the_encoders_counts_are_series_of_their_own() -> None:
    triton, counts = PbUtils(), EncoderCounts()
    metrics = EncoderMetrics(triton, "m", lambda: counts)
    for counts in (EncoderCounts(1, 2, 30, 40), EncoderCounts(3, 9, 100, 111)):
        metrics.update()
        assert triton.value("tesserank_encoder_batches_total") == counts.batches
        assert triton.value("tesserank_encoder_rows_total") == counts.rows
        assert triton.value("tesserank_encoder_tokens_total", tokens="real") == counts.real_tokens
        assert triton.value("tesserank_encoder_tokens_total", tokens="padded") == counts.padded_tokens


class Updates:
    def __init__(self) -> None:
        self.count = 0

    def update(self) -> None:
        self.count += 1


def test_metrics_are_there_at_once_and_updated_until_the_end() -> None:
    updates: Any = Updates()
    publisher = Publisher([updates], interval_s=0.001)
    assert updates.count >= 1
    until(lambda: updates.count > 2)
    publisher.close()
    ended = updates.count
    time.sleep(0.02)
    assert updates.count == ended
