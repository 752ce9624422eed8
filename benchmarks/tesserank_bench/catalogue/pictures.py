"""The picture of a result, and nothing but what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tesserank_bench import plots
from tesserank_bench.catalogue.material import FULL_WINDOWS
from tesserank_bench.catalogue.verdicts import find

NAME = "catalogue-size.svg"
Result = Mapping[str, Any]


def draw(result: Result, folder: Path) -> list[Path]:
    """Latency against the size of the catalogue, exhaustive and pruned; returns the files."""
    sizes = [entry["items"] for entry in result.get("searches", []) if _is_measured(entry)]
    if not sizes:
        return []
    path = folder / NAME
    with plots.picture(path, height=4.2) as (_, axes):
        for pruned, label, colour, marker in (
            (False, "exhaustive: every item scored", plots.BLUE, "o"),
            (True, f"pruned: {result['setup']['candidates']:,} items scored exactly", plots.VERMILION, "s"),
        ):
            entries = [found for size in sizes if (found := find(result, size, FULL_WINDOWS, pruned))]
            own = [entry for entry in entries if "p50_ms" in entry]
            xs, ys = [entry["items"] for entry in own], [entry["p50_ms"] for entry in own]
            axes.plot(xs, ys, label=label, color=colour, marker=marker)
            axes.annotate(
                plots.in_ms(ys[-1]), (xs[-1], ys[-1]), (0, 8), textcoords="offset points", ha="center", fontsize=9
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        plots.log_ticks(axes.xaxis, lambda value: f"{value:,.0f}")
        plots.log_ticks(axes.yaxis, plots.tick_ms)
        where, setup = result["conditions"], result["setup"]
        axes.set_xlabel(
            f"items of the catalogue, log scale\n{where['cores']} cores of {where['cpu']}; {setup['dataset']}, "
            f"from {setup['real_items']:,} items on copies with other words"
        )
        axes.set_ylabel("p50 of one search, log scale")
        axes.set_title("The best 100 of a whole catalogue, for a history of ten items")
        axes.legend(loc="upper left", fontsize=9)
    return [path]


def _is_measured(entry: Mapping[str, Any]) -> bool:
    return entry["kind"] == FULL_WINDOWS and entry["candidates"] is None and "p50_ms" in entry
