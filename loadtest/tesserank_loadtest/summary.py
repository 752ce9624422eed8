"""A result for the terminal: figures, errors and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tesserank_loadtest.compare import Difference
from tesserank_loadtest.report import number, sentences
from tesserank_loadtest.result import ALL

COLUMNS = {
    "requests": "requests",
    "failed": "failed",
    "throughput_per_s": "req/s",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "p999_ms": "p99.9 ms",
}


def show(console: Console, result: Mapping[str, Any]) -> None:
    """Print what a run found."""
    for table in tables(result):
        console.print(table)
    for good, text in sentences(result):
        console.print(escape(text) if good else f"[bold red]{escape(text)}[/]")
    for note in result["notes"]:
        console.print(f"note: {escape(note)}")


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The endpoints and, if there were any, the errors."""
    figures = _table("", *COLUMNS.values())
    for name, row in result["figures"].items():
        figures.add_row(name, *(number(row[column]) for column in COLUMNS))
    if not result["errors"]:
        return [figures]
    errors = _table("", "failed", "error")
    for each in result["errors"]:
        errors.add_row(each["endpoint"], number(each["count"]), escape(f"{each['error']} (first: {each['first']})"))
    return [figures, errors]


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        left = column in ("", "error")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table


def sweep_table(what: str, results: Mapping[str, Mapping[str, Any]]) -> Table:
    """All endpoints together, a line a run."""
    table = _table(what, *COLUMNS.values(), "verdict")
    for name, result in results.items():
        verdicts = result["verdicts"]
        verdict = "invalid" if not verdicts["valid"] else "met" if verdicts["slo"]["met"] else "missed"
        table.add_row(name, *(number(result["figures"][ALL][column]) for column in COLUMNS), verdict)
    return table


def difference_table(differences: Sequence[Difference]) -> Table:
    """What two results have in common."""
    table = _table("", "figure", "unit", "before", "after", "change")
    for each in differences:
        change = "–" if each.change is None else f"{each.change:+.1%}"
        style = "bold red" if each.worse else None
        cells = (each.endpoint, each.metric.name, each.metric.unit, number(each.before), number(each.after), change)
        table.add_row(*cells, style=style)
    return table
