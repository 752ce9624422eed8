"""A result as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tesserank_bench.plots import in_ms

Result = Mapping[str, Any]


def show(console: Console, result: Result) -> None:
    """Print what was measured, and the targets."""
    for name, dataset in result["datasets"].items():
        _show_dataset(console, name, dataset)
    targets = Table("target", "wanted", "measured", "", title="targets")
    for verdict in result["targets"]:
        value = "" if verdict["value"] is None else f"{verdict['value']:,g} {verdict['unit']}".rstrip()
        targets.add_row(verdict["name"], verdict["target"], value, verdict["verdict"])
    console.print(targets)


def _show_dataset(console: Console, name: str, dataset: Result) -> None:
    sizes = [timed["candidates"] for timed in dataset["kinds"][-1].get("rank", [])] if dataset["kinds"] else []
    columns = ["vectors", "bytes an item", "of float32", "cosine", "top-10 agreement: histories", "single items"]
    table = Table(*columns, "NDCG@10", *(f"{size:,} candidates" for size in sizes), title=f"{name}, text space")
    for entry in dataset["kinds"]:
        agreement = entry.get("agreement", {})
        cells = [entry["vectors"], f"{entry['item_bytes']:,.1f}", _number(entry.get("share_of_float32"), 4)]
        cells += [_number(entry.get("mean_cosine"), 5), _number(agreement.get("histories"), 3)]
        cells += [_number(agreement.get("items"), 3), _number(entry["ndcg_at_10"], 4)]
        table.add_row(*cells, *(in_ms(timed["p50_ms"]) for timed in entry.get("rank", [])))
    console.print(table)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
