"""Every figure that a run is judged by: its name, unit, and which way is better. docs/metrics.md has the formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "neither"]
Scope = Literal["endpoint", "generator", "server"]


@dataclass(frozen=True)
class Metric:
    """A figure in a result, under ``name``; ``slo`` is what an SLO calls it, if it may name it."""

    name: str
    unit: str
    scope: Scope
    better: Better = "neither"
    slo: str | None = None


PERCENTILES: dict[str, float] = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}


def percentile_name(label: str) -> str:
    """``p99.9`` as a result spells it: ``p999_ms``."""
    return f"{label.replace('.', '')}_ms"


METRICS = (
    Metric("requests", "requests", "endpoint"),
    Metric("answered", "requests", "endpoint"),
    Metric("failed", "requests", "endpoint"),
    Metric("dropped", "requests", "endpoint"),
    Metric("error_ratio", "share", "endpoint", "lower", "errors"),
    Metric("throughput_per_s", "requests/s", "endpoint", "higher", "throughput"),
    Metric("goodput_per_s", "requests/s", "endpoint", "higher", "goodput"),
    Metric("mean_ms", "ms", "endpoint", "lower", "mean"),
    *(Metric(percentile_name(label), "ms", "endpoint", "lower", label) for label in PERCENTILES),
    Metric("max_ms", "ms", "endpoint", "neither", "max"),
    Metric("service_p50_ms", "ms", "endpoint", "neither"),
    Metric("service_p99_ms", "ms", "endpoint", "neither"),
    Metric("segments_cached", "share", "endpoint"),
    Metric("cold", "share", "endpoint"),
    Metric("warm", "share", "endpoint"),
    Metric("hot", "share", "endpoint"),
    Metric("planned", "requests", "generator"),
    Metric("unsent", "requests", "generator"),
    Metric("lag_p50_ms", "ms", "generator"),
    Metric("lag_p99_ms", "ms", "generator"),
    Metric("lag_max_ms", "ms", "generator"),
    Metric("generator_cpu", "cores", "generator"),
    Metric("stage_ms", "ms", "server"),
    Metric("queue_ms", "ms", "server"),
    Metric("compute_ms", "ms", "server"),
    Metric("batch_size", "rows", "server"),
    Metric("cache_hit_ratio", "share", "server"),
    Metric("padding_waste", "share", "server"),
    Metric("cpu_cores", "cores", "server"),
    Metric("peak_rss_mib", "MiB", "server"),
)

BY_SLO_NAME = {metric.slo: metric for metric in METRICS if metric.slo is not None}
COMPARED = tuple(metric for metric in METRICS if metric.better != "neither")
