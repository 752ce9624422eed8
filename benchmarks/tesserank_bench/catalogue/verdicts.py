"""Targets of this benchmark, and which of them a result meets; see docs/architecture/05-search.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tesserank_bench.catalogue.material import FULL_WINDOWS, KINDS
from tesserank_bench.catalogue.plan import LARGEST
from tesserank_bench.figures import Target

Result = Mapping[str, Any]


def verdicts(result: Result) -> list[dict[str, Any]]:
    """Each target with the figure of this result and whether it is met; what was not measured is said too."""
    judged = []
    for kind in KINDS:
        where = f"{LARGEST:,} items, {kind}"
        if kind == FULL_WINDOWS:  # the others have fewer tokens to score by, so exhaustive search takes them less time
            judged.append(Target(f"{where}: exhaustive / pruned p50", 20, "×").judge(speedup(result, LARGEST, kind)))
        for depth, bound in ((10, 0.98), (100, 0.95)):
            figure = recall(result, LARGEST, kind, depth)
            judged.append(Target(f"{where}: recall@{depth}", bound, "").judge(figure))
    return judged


def find(result: Result, items: int, kind: str, pruned: bool, candidates: int | None = None) -> Result | None:
    """The entry of a search; ``candidates`` None is the configured number."""
    wanted = (candidates or result["setup"]["candidates"]) if pruned else None
    key = {"items": items, "kind": kind, "candidates": wanted}
    return next((entry for entry in result.get("searches", []) if key.items() <= entry.items()), None)


def speedup(result: Result, items: int, kind: str) -> float | None:
    """How many times the pruned search's p50 the exhaustive one's is."""
    exhaustive, pruned = (find(result, items, kind, pruned) for pruned in (False, True))
    if not exhaustive or not pruned or "p50_ms" not in exhaustive or "p50_ms" not in pruned:
        return None
    return float(exhaustive["p50_ms"] / pruned["p50_ms"])


def recall(result: Result, items: int, kind: str, depth: int) -> float | None:
    """Recall of the pruned search."""
    entry = find(result, items, kind, pruned=True)
    found = (entry or {}).get("recall", {}).get(f"at_{depth}")
    return None if found is None else float(found)
