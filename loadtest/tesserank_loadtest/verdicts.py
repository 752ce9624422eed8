"""Whether a run may be believed, whether it was steady, and whether it was good enough: in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tesserank_loadtest.arrivals import EVEN
from tesserank_loadtest.plan import Plan
from tesserank_loadtest.slo import Slo

LARGEST_LAG_MS = 10.0  # 99% of requests are sent at most this late
BUSIEST_CPU = 0.95  # cores; a closed loop of a process above it measures the process
STEADY = 0.10  # each window within this share of their mean
ZERO_HITS = 0.01  # share of segments that a zero-hit run may find cached

Figures = Mapping[str, Any]


def validity(plan: Plan, total: Figures, generator: Figures) -> list[str]:
    """Why what was measured is not what was planned; empty for a run that may be believed."""
    reasons = []
    if not total["requests"]:
        reasons.append("no request was sent")
    if generator["unsent"]:
        reasons.append(
            f"{generator['unsent']:,} of {generator['planned']:,} requests were not sent: the run was stopped, or the "
            "generator could not keep up"
        )
    if plan.arrivals is not None and (generator["lag_p99_ms"] or 0.0) > LARGEST_LAG_MS:
        reasons.append(
            f"the generator lagged: 1% of requests were sent {generator['lag_p99_ms']:.1f} ms late or more, at most "
            f"{LARGEST_LAG_MS:g} ms is allowed. Give a lower --rate, or more --processes"
        )
    if plan.users is not None and (generator["generator_cpu"] or 0.0) > BUSIEST_CPU:
        reasons.append(
            f"a process of the generator used {generator['generator_cpu']:.2f} cores, above {BUSIEST_CPU:g}: it, and "
            "not the server, was measured. Give more --processes"
        )
    if plan.workload.zero_hit and (total["segments_cached"] or 0.0) > ZERO_HITS:
        reasons.append(f"{total['segments_cached']:.1%} of segments were found cached, in a run that was to find none")
    return reasons


def stability(plan: Plan, windows: Sequence[Figures]) -> dict[str, Any]:
    """Whether the windows agree: in a closed loop in answers a second, in an open one in answers of what was to be
    sent, and in both in the mean latency: a median does not see a stall. ``stable`` is None for an unsteady load."""
    if plan.arrivals is not None and plan.arrivals.kind not in EVEN:
        return {"stable": None, "spread": {}, "windows": list(windows)}
    flow = "throughput_per_s" if plan.arrivals is None else "answered_ratio"
    spread = {name: _spread([window[name] for window in windows]) for name in (flow, "mean_ms")}
    stable = all(value is not None and value <= STEADY for value in spread.values())
    return {"stable": stable, "spread": spread, "windows": list(windows)}


def judge(slo: Slo, figures: Figures) -> dict[str, Any]:
    """The SLO's clauses, each with its figure."""
    missed = {clause.text for clause in slo.missed(figures)}
    return {
        "slo": str(slo),
        "met": not missed,
        "clauses": [
            {
                "clause": clause.text,
                "metric": clause.metric,
                "bound": clause.bound,
                "value": figures[clause.metric],
                "met": clause.text not in missed,
            }
            for clause in slo.clauses
        ],
    }


def _spread(values: Sequence[float | None]) -> float | None:
    """The largest distance from the mean, as a share of it; None where a window has no value."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not sum(known):
        return None
    mean = sum(known) / len(known)
    return max(abs(value - mean) for value in known) / mean
