"""The result of a run: what was counted, as figures and verdicts, in one JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from tesserank_loadtest.errors import LoadTestError
from tesserank_loadtest.metrics import METRICS, PERCENTILES, percentile_name
from tesserank_loadtest.monitor import Reading
from tesserank_loadtest.plan import WINDOWS, Plan
from tesserank_loadtest.recorder import WARMTHS, Endpoint, Interval, Recorder
from tesserank_loadtest.server_figures import server_figures, server_series
from tesserank_loadtest.slo import Slo
from tesserank_loadtest.verdicts import judge, stability, validity

FORMAT = 1
ALL = "all"  # the name of the sum over endpoints

Figures = dict[str, Any]


def build_result(
    plan: Plan, recorder: Recorder, readings: Sequence[Reading], slo: Slo, *, planned: int | None, notes: Sequence[str]
) -> dict[str, Any]:
    """The result of a run that has ended.

    Args:
        planned: Requests of an open loop, those of the warm-up left out; None in a closed loop.
        notes: What a reader should know besides.
    """
    seconds = max(0.0, recorder.last_done - recorder.warmup_s)
    total = Endpoint()
    for endpoint in recorder.endpoints.values():
        total.merge(endpoint)
    figures = {name: endpoint_figures(each, seconds, slo) for name, each in sorted(recorder.endpoints.items())}
    figures[ALL] = endpoint_figures(total, seconds, slo, recorder.dropped)
    generator = _generator_figures(recorder, planned)
    server = server_figures(readings)
    _check_names(figures[ALL] | generator | server)
    reasons = validity(plan, figures[ALL], generator)
    return {
        "format": FORMAT,
        "plan": json.loads(json.dumps(asdict(plan), default=str)),
        "conditions": _conditions(),
        "seconds": seconds,
        "last_answer_at": recorder.started_at + recorder.last_done,
        "figures": figures,
        "generator": generator | {"warmup": recorder.warmup, "cpu_of_processes": sorted(recorder.cpu.values())},
        "server": server,
        "errors": _errors(recorder.endpoints),
        "verdicts": {
            "valid": not reasons,
            "reasons": reasons,
            "stability": stability(plan, _windows(recorder.intervals, plan)),
            "slo": judge(slo, figures[ALL]),
        },
        "notes": list(notes),
        "series": _series(recorder, plan),
        "server_series": server_series(readings),
        "histograms": {name: each.latency.encode() for name, each in sorted(recorder.endpoints.items())},
    }


def save_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON."""
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def load_result(path: Path) -> dict[str, Any]:
    """The result that ``save_result`` wrote, by its file or its folder.

    Raises LoadTestError for anything else.
    """
    file = path / "result.json" if path.is_dir() else path
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if result["format"] != FORMAT:
            raise LoadTestError(f"{file} is a result of format {result['format']}, this tesserank reads {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadTestError(f"{file} is no result of tesserank loadtest: {error!r}") from error
    return result


def exit_status(result: Mapping[str, Any]) -> int:
    """0: valid, and the SLO is met. 1: it is missed. 3: the run says nothing about the server."""
    verdicts = result["verdicts"]
    if not verdicts["valid"]:
        return 3
    return 0 if verdicts["slo"]["met"] else 1


def endpoint_figures(endpoint: Endpoint, seconds: float, slo: Slo, dropped: int = 0) -> Figures:
    """The figures of requests that took ``seconds`` from the first send time to the last answer."""
    answered, failed = endpoint.latency.count, endpoint.errors.total()
    bound_ms = slo.latency_bound_ms
    good = answered if bound_ms is None else endpoint.latency.count_within(bound_ms)
    latencies = {percentile_name(label): endpoint.latency.percentile_ms(p) for label, p in PERCENTILES.items()}
    return {
        "requests": answered + failed,
        "answered": answered,
        "failed": failed,
        "dropped": dropped,
        "error_ratio": _share(failed + dropped, answered + failed + dropped) or 0.0,
        "throughput_per_s": answered / seconds if seconds else 0.0,
        "goodput_per_s": good / seconds if seconds else 0.0,
        "mean_ms": endpoint.latency.mean_ms,
        **latencies,
        "max_ms": endpoint.latency.max_ms,
        "service_p50_ms": endpoint.service.percentile_ms(50.0),
        "service_p99_ms": endpoint.service.percentile_ms(99.0),
        "segments_cached": _share(endpoint.cache_hits, endpoint.cache_hits + endpoint.cache_misses),
        **{warmth: _share(endpoint.warmth[warmth], answered) for warmth in WARMTHS},
    }


def _generator_figures(recorder: Recorder, planned: int | None) -> Figures:
    sent = recorder.lag.count + recorder.dropped
    return {
        "planned": planned,
        "unsent": 0 if planned is None else planned - sent,
        "lag_p50_ms": recorder.lag.percentile_ms(50.0),
        "lag_p99_ms": recorder.lag.percentile_ms(99.0),
        "lag_max_ms": recorder.lag.max_ms,
        "generator_cpu": max(recorder.cpu.values(), default=None),
    }


def _check_names(figures: Figures) -> None:
    if list(figures) != [metric.name for metric in METRICS]:
        raise LoadTestError(f"figures {list(figures)} are not those of METRICS")


def _errors(endpoints: Mapping[str, Endpoint]) -> list[dict[str, Any]]:
    return [
        {"endpoint": name, "error": error, "count": count, "first": endpoint.messages[error]}
        for name, endpoint in sorted(endpoints.items())
        for error, count in endpoint.errors.most_common()
    ]


def _windows(intervals: Mapping[int, Interval], plan: Plan) -> list[Figures]:
    """The thirds of what was counted; intervals are whole parts of them."""
    window_s = (plan.duration_s - plan.warmup_s) / WINDOWS
    size = round(window_s / plan.interval_s)
    return [
        _window([intervals[at] for at in range(number * size, (number + 1) * size) if at in intervals], window_s)
        for number in range(WINDOWS)
    ]


def _window(intervals: Iterable[Interval], seconds: float) -> Figures:
    total = Interval()
    for interval in intervals:
        total.merge(interval)
    return {
        "throughput_per_s": total.answered / seconds,
        "answered_ratio": _share(total.answered, total.answered + total.failed + total.dropped),
        "mean_ms": total.latency.mean_ms,
        "p99_ms": total.latency.percentile_ms(99.0),
    }


def _series(recorder: Recorder, plan: Plan) -> dict[str, Any]:
    """For charts and the CSV: of each interval, by the time that its requests were to be sent."""
    last = max(recorder.intervals, default=-1)
    each = [recorder.intervals.get(number, Interval()) for number in range(last + 1)]
    return {
        "seconds": [round(plan.warmup_s + number * plan.interval_s, 3) for number in range(last + 1)],
        "answered_per_s": [interval.answered / plan.interval_s for interval in each],
        "failed_per_s": [interval.failed / plan.interval_s for interval in each],
        "dropped_per_s": [interval.dropped / plan.interval_s for interval in each],
        "p50_ms": [interval.latency.percentile_ms(50.0) for interval in each],
        "p99_ms": [interval.latency.percentile_ms(99.0) for interval in each],
    }


def _conditions() -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_after": round(os.getloadavg()[0], 2),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
