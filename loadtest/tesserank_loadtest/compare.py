"""Two results side by side: what got worse, by more than a run may differ from the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tesserank_loadtest.errors import LoadTestError
from tesserank_loadtest.metrics import COMPARED, Metric

SMALLEST_RATIO = 0.001  # an error ratio is worse when it grew by this much at least: it is 0 in most runs

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """A figure in both results; ``change`` is its growth as a share of the first, None where one has no value."""

    endpoint: str
    metric: Metric
    before: float | None
    after: float | None
    change: float | None
    worse: bool


def compare(before: Result, after: Result, tolerance: float) -> list[Difference]:
    """The figures of all endpoints that both have. One is worse when it moved the wrong way by more than ``tolerance``,
    as a share, or when it is there no more.

    Raises LoadTestError when a run was invalid, or when they have no endpoint in common.
    """
    for name, result in (("first", before), ("second", after)):
        if reasons := result["verdicts"]["reasons"]:
            raise LoadTestError(f"the {name} result cannot be compared: its run was invalid, {reasons[0]}")
    common = [name for name in before["figures"] if name in after["figures"]]
    return [
        _difference(name, metric, before["figures"][name][metric.name], after["figures"][name][metric.name], tolerance)
        for name in common
        for metric in COMPARED
    ]


def unlike(before: Result, after: Result) -> list[str]:
    """The options of the plans that differ: what the comparison may be of, rather than of the server."""
    first, second = dict(_flat(before["plan"])), dict(_flat(after["plan"]))
    return [
        f"{key}: {first.get(key)} and {second.get(key)}"
        for key in sorted(first.keys() | second.keys())
        if not key.startswith("urls") and first.get(key) != second.get(key)
    ]


def _difference(endpoint: str, metric: Metric, before: Any, after: Any, tolerance: float) -> Difference:
    if before is None or after is None:
        return Difference(endpoint, metric, before, after, None, before is not None)
    growth = after - before if metric.better == "lower" else before - after
    change = (after - before) / before if before else None
    if metric.name == "error_ratio":
        return Difference(endpoint, metric, before, after, change, growth > SMALLEST_RATIO)
    return Difference(endpoint, metric, before, after, change, growth > tolerance * before)


def _flat(plan: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in plan.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found
