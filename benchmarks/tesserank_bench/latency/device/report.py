"""A result of the device benchmark as tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table

from tesserank_bench.latency.device.plan import CROSS, PATHS
from tesserank_bench.latency.device.verdicts import cache_gain, gap, hot_per_second
from tesserank_bench.latency.report import targets
from tesserank_bench.latency.verdicts import find
from tesserank_bench.plots import in_ms

Result = dict[str, Any]


def show(console: Console, result: Result) -> None:
    """Print every table that the result has numbers for."""
    console.print(_single(result), _loads(result), targets(result))


def _single(result: Result) -> Table:
    sizes = result["setup"]["candidates"]
    table = Table("backbone", "path", *(f"{size:,}" for size in sizes))
    table.title = "p50 by candidates, one caller (× against the cross-encoder)"
    for name, backbone in result["backbones"].items():
        for path in PATHS:
            table.add_row(name, path, *(_cell(backbone, path, size) for size in sizes))
        table.add_section()
    return table


def _cell(backbone: Result, path: str, size: int) -> str:
    entry = find(backbone.get("single", []), path=path, candidates=size)
    if entry is None:
        return ""
    times = None if path == CROSS else gap(backbone, path, size)
    return in_ms(entry["p50_ms"]) + (f" ({times:,.0f}×)" if times is not None else "")


def _loads(result: Result) -> Table:
    right = [Column(name, justify="right") for name in ("hot requests/s", "one interpreter/s", "of several processes")]
    table = Table("backbone", *right, "90% cached / cache off")
    table.title = "many callers"
    for name, backbone in result["backbones"].items():
        found = (
            hot_per_second(backbone),
            backbone.get("wall", {}).get("one_interpreter_per_second"),
            hot_per_second(backbone.get("several", {})),
            cache_gain(backbone),
        )
        table.add_row(name, *("" if value is None else f"{value:,.1f}" for value in found))
    return table
