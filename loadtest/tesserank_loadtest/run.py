"""One run, from its plan to its reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tesserank_loadtest.generator import Start, run_locust
from tesserank_loadtest.monitor import Monitor, read_readings
from tesserank_loadtest.plan import Plan
from tesserank_loadtest.recorder import Recorder
from tesserank_loadtest.report import write_reports
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.result import build_result
from tesserank_loadtest.schedule import compression, planned_times
from tesserank_loadtest.slo import Slo
from tesserank_loadtest.target import Target
from tesserank_loadtest.workload import Workload

Tick = Callable[[float], None]


def run_plan(
    plan: Plan, workload: Workload, target: Target, slo: Slo, reports: Reports, start: Start, on_tick: Tick
) -> dict[str, Any]:
    """Run the plan on the target, write the reports and return the result. Ctrl-C writes them too.

    Raises:
        LoadTestError: The load generator failed.
        KeyboardInterrupt: Ctrl-C during a run without web page.
    """
    planned = _planned(plan, workload)
    notes = [*_notes(plan, workload), *target.unmeasured()]
    plan.save(reports.plan)
    try:
        with Monitor(reports.server, target.metrics_url, target.pid):
            run_locust(plan, start, reports, on_tick)
    except KeyboardInterrupt:
        if reports.recorder.exists():
            _conclude(plan, slo, reports, planned, [*notes, "interrupted"])
        raise
    return _conclude(plan, slo, reports, planned, notes)


def _conclude(plan: Plan, slo: Slo, reports: Reports, planned: int | None, notes: Sequence[str]) -> dict[str, Any]:
    recorder = Recorder.from_dict(json.loads(reports.recorder.read_text(encoding="utf-8")))
    readings = read_readings(reports.server)
    result = build_result(plan, recorder, readings, slo, planned=planned, notes=notes)
    write_reports(result, reports)
    return result


def _planned(plan: Plan, workload: Workload) -> int | None:
    if plan.arrivals is None:
        return None
    times = planned_times(plan, workload)
    return int((times >= plan.warmup_s).sum())


def _notes(plan: Plan, workload: Workload) -> list[str]:
    factor = compression(plan, workload)
    return [] if factor is None else [f"the events' time was compressed {factor:,.1f} times"]
