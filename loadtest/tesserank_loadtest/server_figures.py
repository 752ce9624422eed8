"""What a server's readings say: where its time went, how full its batches were, what its cache held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tesserank.serving.stages import STAGES
from tesserank_loadtest.monitor import Reading

Counters = Mapping[str, float]
Series = list[float | None]


def server_figures(readings: Sequence[Reading]) -> dict[str, Any]:
    """The server's figures between the first reading and the last; None each where it could not be read."""
    counted = _counted(readings)
    return (_counter_figures(counted) if counted is not None else dict.fromkeys(_COUNTED)) | _usage(readings)


_COUNTED = ("stage_ms", "queue_ms", "compute_ms", "batch_size", "cache_hit_ratio", "padding_waste")


def _counter_figures(counted: Counters) -> dict[str, Any]:
    models = [key.partition("/")[2] for key, value in counted.items() if key.startswith("requests/") and value > 0]
    return {
        "stage_ms": _stages(counted),
        "queue_ms": {model: _ratio(counted, f"queue_us/{model}", f"requests/{model}", 1e-3) for model in models},
        "compute_ms": {model: _ratio(counted, f"compute_us/{model}", f"requests/{model}", 1e-3) for model in models},
        "batch_size": {model: _batch_size(counted, model) for model in models},
        "cache_hit_ratio": _share(counted, "cache_hits", "cache_misses"),
        "padding_waste": _waste(counted),
    }


def server_series(readings: Sequence[Reading]) -> dict[str, Any]:
    """For charts: between each two readings, seconds since the first, and figures of that stretch."""
    pairs = list(pairwise(readings))
    deltas = [_difference(before, after) for before, after in pairs]
    return {
        "seconds": [round(after.at - readings[0].at, 2) for _, after in pairs],
        "stage_ms": {
            stage: [None if delta is None else _stages(delta).get(stage) for delta in deltas]
            for stage in STAGES
            if any(delta is not None and delta.get(f"stage_runs/{stage}") for delta in deltas)
        },
        "cache_hit_ratio": [None if d is None else _share(d, "cache_hits", "cache_misses") for d in deltas],
        "cpu_cores": [_cores(before, after) for before, after in pairs],
        "rss_mib": [after.rss_mib for _, after in pairs],
    }


def _stages(counted: Counters) -> dict[str, float]:
    """Mean milliseconds of a run of each stage that ran."""
    found = {stage: _ratio(counted, f"stage_seconds/{stage}", f"stage_runs/{stage}", 1e3) for stage in STAGES}
    return {stage: value for stage, value in found.items() if value is not None}


def _batch_size(counted: Counters, model: str) -> float | None:
    """What Triton put together; of a model that puts batches together itself, what it did."""
    own = _ratio(counted, f"own_rows/{model}", f"own_batches/{model}")
    return _ratio(counted, f"inferences/{model}", f"executions/{model}") if own is None else own


def _usage(readings: Sequence[Reading]) -> dict[str, Any]:
    measured = [reading for reading in _busy(readings) if reading.cpu_s is not None]
    return {
        "cpu_cores": _cores(measured[0], measured[-1]) if len(measured) > 1 else None,
        "peak_rss_mib": max((reading.rss_mib for reading in measured if reading.rss_mib is not None), default=None),
    }


def _busy(readings: Sequence[Reading]) -> Sequence[Reading]:
    """From before the first request that was counted to after the last: without the generator's start and end."""
    requests = [sum(v for key, v in (r.counters or {}).items() if key.startswith("requests/")) for r in readings]
    grew = [at for at, (before, after) in enumerate(pairwise(requests)) if after > before]
    return readings[grew[0] : grew[-1] + 2] if grew else readings


def _counted(readings: Sequence[Reading]) -> Counters | None:
    read = [reading for reading in readings if reading.counters is not None]
    return _difference(read[0], read[-1]) if len(read) > 1 else None


def _difference(before: Reading, after: Reading) -> Counters | None:
    if before.counters is None or after.counters is None:
        return None
    return {key: value - before.counters.get(key, 0.0) for key, value in after.counters.items()}


def _cores(before: Reading, after: Reading) -> float | None:
    if before.cpu_s is None or after.cpu_s is None or after.at <= before.at:
        return None
    return (after.cpu_s - before.cpu_s) / (after.at - before.at)


def _ratio(counted: Counters, above: str, below: str, scale: float = 1.0) -> float | None:
    return counted.get(above, 0.0) / counted[below] * scale if counted.get(below) else None


def _share(counted: Counters, part: str, rest: str) -> float | None:
    whole = counted.get(part, 0.0) + counted.get(rest, 0.0)
    return counted.get(part, 0.0) / whole if whole else None


def _waste(counted: Counters) -> float | None:
    padded = counted.get("tokens/padded", 0.0)
    return (padded - counted.get("tokens/real", 0.0)) / padded if padded else None
