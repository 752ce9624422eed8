"""A result as tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table

from tesserank_bench.latency.paths import CROSS_FP32, CROSS_INT8, PATHS
from tesserank_bench.latency.single import IN_PROCESS, SERVED
from tesserank_bench.latency.verdicts import find
from tesserank_bench.plots import in_ms

Result = dict[str, Any]


def show(console: Console, result: Result) -> None:
    """Print every table that the result has numbers for."""
    for title, table in (
        ("single", _single),
        ("stages", _stages),
        ("throughput", _throughput),
        ("histories", _histories),
        ("targets", targets),
    ):
        if result.get(title):
            console.print(table(result))


def _single(result: Result) -> Table:
    sizes = result["setup"]["candidates"]
    table = Table("path", "where", *(f"{size:,}" if size != "catalogue" else size for size in sizes))
    table.title = "p50 by candidates, one caller (× against the int8 cross-encoder)"
    for where in (SERVED, IN_PROCESS):
        for path in PATHS:
            entries = [find(result["single"], path=path, where=where, candidates=size) for size in sizes]
            if any(entries):
                table.add_row(path, where, *(_gap(result, entry) for entry in entries))
        table.add_section()
    return table


def _gap(result: Result, entry: Result | None) -> str:
    if entry is None:
        return ""
    baseline = find(result["single"], path=CROSS_INT8, where=SERVED, candidates=entry["candidates"])
    if baseline is None or entry["path"] in (CROSS_FP32, CROSS_INT8):
        return in_ms(entry["p50_ms"])
    return f"{in_ms(entry['p50_ms'])} ({baseline['p50_ms'] / entry['p50_ms']:,.0f}×)"


def _stages(result: Result) -> Table:
    names = [name for name in result["stages"][0] if name.endswith("_ms")]
    first = Column("stage, mean ms", no_wrap=True)
    table = Table(first, *(f"{e['path']}\n{e['candidates']}" for e in result["stages"]))
    table.title = "what a request is made of"
    for name in names:
        table.add_row(name.removesuffix("_ms"), *(f"{entry[name]:.2f}" for entry in result["stages"]))
    return table


def _throughput(result: Result) -> Table:
    callers = sorted({entry["callers"] for entry in result["throughput"]})
    table = Table("path", "candidates", *map(str, callers), title="requests a second, by callers")
    for kind in dict.fromkeys((entry["path"], entry["candidates"]) for entry in result["throughput"]):
        found = [find(result["throughput"], path=kind[0], candidates=kind[1], callers=count) for count in callers]
        table.add_row(kind[0], str(kind[1]), *(f"{entry['per_second']:,.0f}" if entry else "" for entry in found))
    return table


def _histories(result: Result) -> Table:
    lengths = sorted({entry["events"] for entry in result["histories"]})
    table = Table("cut by", *(f"{length:,}" for length in lengths), title="p50 by events of the history, one appended")
    for cut in dict.fromkeys(entry["cut"] for entry in result["histories"]):
        found = [find(result["histories"], cut=cut, events=length) for length in lengths]
        table.add_row(cut, *(in_ms(entry["p50_ms"]) if entry else "" for entry in found))
    return table


def targets(result: Result) -> Table:
    """Each target, what was found of it and the verdict."""
    table = Table(Column("target", ratio=1), "wanted", "measured", "", title="targets")
    for verdict in result["targets"]:
        value = "" if verdict["value"] is None else f"{verdict['value']:,g} {verdict['unit']}"
        table.add_row(verdict["name"], verdict["target"], value, verdict["verdict"])
    return table
