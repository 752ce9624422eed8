"""Service level objectives: ``p99<50ms,errors<0.1%``."""

from __future__ import annotations

import operator
import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tesserank_loadtest.metrics import BY_SLO_NAME

_CLAUSE = re.compile(
    r"\s*(?P<name>[a-z0-9.]+)\s*(?P<operator><=|>=|<|>)\s*(?P<number>\d+(\.\d+)?)\s*(?P<unit>[a-zµ%/]*)\s*"
)
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# What a unit is in the result's own unit.
_UNITS: Mapping[str, Mapping[str, float]] = {
    "ms": {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3},
    "share": {"%": 1e-2, "": 1.0},
    "requests/s": {"": 1.0, "/s": 1.0},
}
NO_ERRORS = "errors<=0%"


@dataclass(frozen=True)
class Clause:
    """One objective: the figure ``metric`` of a result compared with ``bound``, in the result's unit."""

    text: str
    metric: str
    comparison: str
    bound: float

    def met(self, figures: Mapping[str, Any]) -> bool:
        """Whether the figures meet it; a figure that is missing, as a percentile of no answer, does not."""
        value = figures[self.metric]
        return value is not None and _COMPARE[self.comparison](value, self.bound)


@dataclass(frozen=True)
class Slo:
    """All clauses; each is to be met."""

    clauses: tuple[Clause, ...]

    def __str__(self) -> str:
        return ",".join(clause.text for clause in self.clauses)

    @property
    def latency_bound_ms(self) -> float | None:
        """The longest that a request may take to be good: the smallest bound on latency; None without one."""
        bounds = [c.bound for c in self.clauses if c.metric.endswith("_ms") and c.comparison.startswith("<")]
        return min(bounds, default=None)

    def missed(self, figures: Mapping[str, Any]) -> list[Clause]:
        """The clauses that the figures do not meet."""
        return [clause for clause in self.clauses if not clause.met(figures)]


def parse_slo(text: str) -> Slo:
    """The objectives of an expression. Without one on ``errors``, no request may fail.

    Raises ArgumentTypeError naming the part that is none.
    """
    clauses = [_parse_clause(part) for part in text.split(",")]
    if not any(clause.metric == "error_ratio" for clause in clauses):
        clauses.append(_parse_clause(NO_ERRORS))
    return Slo(tuple(clauses))


def _parse_clause(text: str) -> Clause:
    found = _CLAUSE.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not like p99<50ms or errors<0.1%")
    metric = BY_SLO_NAME.get(found["name"])
    if metric is None:
        raise ArgumentTypeError(f"{text!r}: {found['name']!r} is none of {', '.join(BY_SLO_NAME)}")
    units = _UNITS[metric.unit]
    if found["unit"] not in units:
        wanted = " or ".join(unit or "a bare number" for unit in units)
        raise ArgumentTypeError(f"{text!r}: {found['name']} is in {wanted}, not {found['unit'] or 'a bare number'}")
    return Clause(text.strip(), metric.name, found["operator"], float(found["number"]) * units[found["unit"]])
