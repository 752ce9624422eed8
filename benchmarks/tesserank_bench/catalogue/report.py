"""A result as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tesserank_bench.catalogue.verdicts import find
from tesserank_bench.plots import in_ms

Result = Mapping[str, Any]


def show(console: Console, result: Result) -> None:
    """Print what was measured, and the targets."""
    table = Table("query", "items", "scored exactly", "p50", "faster", "recall@10", "recall@100", title="one search")
    for entry in result.get("searches", []):
        if "p50_ms" not in entry:
            continue
        exhaustive = find(result, entry["items"], entry["kind"], pruned=False)
        faster = "" if exhaustive is entry or not exhaustive else f"{exhaustive['p50_ms'] / entry['p50_ms']:.1f}×"
        shares = [f"{entry['recall'][f'at_{depth}']:.3f}" if entry.get("recall") else "" for depth in (10, 100)]
        scored = "all" if entry["candidates"] is None else f"{entry['candidates']:,}"
        table.add_row(entry["kind"], f"{entry['items']:,}", scored, in_ms(entry["p50_ms"]), faster, *shares)
    console.print(table)
    targets = Table("target", "wanted", "measured", "", title="targets")
    for verdict in result["targets"]:
        value = "" if verdict["value"] is None else f"{verdict['value']:,g} {verdict['unit']}".rstrip()
        targets.add_row(verdict["name"], verdict["target"], value, verdict["verdict"])
    console.print(targets)
