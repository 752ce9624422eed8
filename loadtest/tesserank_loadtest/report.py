"""The reports of a result: two CSV files, and one HTML file that needs nothing else."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tesserank_loadtest.charts import embedded, page
from tesserank_loadtest.metrics import METRICS, Metric
from tesserank_loadtest.reports import Reports
from tesserank_loadtest.result import save_result

Result = Mapping[str, Any]
SHOWN = ("requests", "failed", "dropped", "throughput_per_s", "goodput_per_s", "p50_ms", "p95_ms", "p99_ms", "p999_ms")


def write_reports(result: Result, reports: Reports) -> None:
    """All reports of a run, into its folder."""
    save_result(reports.result, result)
    _write_csv(reports.figures, ("of", "figure", "unit", "value"), _figure_rows(result))
    series = result["series"]
    _write_csv(reports.intervals, tuple(series), zip(*series.values(), strict=True))
    reports.html.write_text(html(result), encoding="utf-8")


def number(value: Any) -> str:
    """A figure for people: three or four digits that count."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def sentences(result: Result) -> list[tuple[bool, str]]:
    """The verdicts in words, and whether each is good."""
    verdicts = result["verdicts"]
    said = [(False, f"invalid: {reason}") for reason in verdicts["reasons"]] or [(True, "valid")]
    stability = verdicts["stability"]
    if stability["stable"] is not None:
        spread = ", ".join(f"{name} {_percent(value)}" for name, value in stability["spread"].items())
        said.append(
            (stability["stable"], f"{'stable' if stability['stable'] else 'not stable'}: thirds differ by {spread}")
        )
    for clause in verdicts["slo"]["clauses"]:
        verdict = "met" if clause["met"] else "missed"
        said.append((clause["met"], f"SLO {clause['clause']}: {verdict}, {clause['metric']} {number(clause['value'])}"))
    return said


def html(result: Result) -> str:
    """One page with verdicts, figures and charts, and with all data and code in it."""
    parts = ["<h1>Load test</h1>", f"<p>{escape(_headline(result))}</p>", "<h2>Verdicts</h2><ul>"]
    parts += [f'<li class="{"good" if good else "bad"}">{escape(text)}</li>' for good, text in sentences(result)]
    parts += [f"<li>{escape(note)}</li>" for note in result["notes"]] + ["</ul>"]
    names = list(result["figures"])
    rows = [[m.name, m.unit, *(number(result["figures"][n][m.name]) for n in names)] for m in _scoped("endpoint")]
    parts += ["<h2>Figures</h2>", _table(["figure", "unit", *names], rows)]
    if result["errors"]:
        errors = [[e["endpoint"], e["error"], number(e["count"]), e["first"]] for e in result["errors"]]
        parts += ["<h2>Errors</h2>", _table(["endpoint", "error", "requests", "first message"], errors)]
    parts.append('<h2>Over time</h2><div id="client" class="charts"></div>')
    for scope in ("generator", "server"):
        rows = [[*row] for metric in _scoped(scope) for row in _flat(metric, result[scope][metric.name])]
        parts += [f"<h2>The {scope}</h2>", _table(["figure", "unit", "value"], rows)]
    parts.append('<div id="server" class="charts"></div>')
    script = (
        f'clientCharts(document.getElementById("client"), {embedded(result["series"])});\n'
        f'serverCharts(document.getElementById("server"), {embedded(result["server_series"])});'
    )
    return page("tesserank: load test", "\n".join(parts), script)


def _headline(result: Result) -> str:
    plan, conditions = result["plan"], result["conditions"]
    arrivals = plan["arrivals"]
    load = (
        f"{plan['users']} users" if arrivals is None else f"{arrivals['kind']} arrivals, {arrivals['rate']:g} a second"
    )
    where = ", ".join(f"{protocol}://{url}" for protocol, url in plan["urls"].items())
    scenario = plan["workload"]["scenario"]["description"]
    return f"{conditions['date']} · {plan['model']} at {where} · {load} for {plan['duration_s']} s · {scenario}"


def _scoped(scope: str) -> list[Metric]:
    return [metric for metric in METRICS if metric.scope == scope]


def _flat(metric: Metric, value: Any) -> Iterable[tuple[str, str, str]]:
    if not isinstance(value, Mapping):
        return [(metric.name, metric.unit, number(value))]
    return [(f"{metric.name} {part}", metric.unit, number(each)) for part, each in value.items()]


def _figure_rows(result: Result) -> Iterable[tuple[Any, ...]]:
    units = {metric.name: metric.unit for metric in METRICS}
    for name, figures in result["figures"].items():
        yield from ((name, figure, units[figure], value) for figure, value in figures.items())
    for scope in ("generator", "server"):
        for metric in _scoped(scope):
            value = result[scope][metric.name]
            each = value if isinstance(value, Mapping) else {"": value}
            yield from ((scope, f"{metric.name} {part}".strip(), metric.unit, one) for part, one in each.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(head)
        writer.writerows(rows)


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"
