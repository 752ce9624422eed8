"""Targets of this benchmark, and which of them a result meets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tesserank_bench.figures import Target
from tesserank_bench.index.plan import COMPACT, DATASETS

Result = Mapping[str, Any]
SHARE, AGREEMENT = 1 / 8, 0.98


def verdicts(result: Result) -> list[dict[str, Any]]:
    """Each target with the figure of this result and whether it is met; what was not measured is said too.

    Agreement is judged on users' histories, which is what is served. That of single items, each ranked for as if it
    were a history, stands beside it: one item's errors do not average out, so it is the lower one.
    """
    judged = []
    for dataset in dict.fromkeys([*DATASETS, *result["datasets"]]):
        own = find(result, dataset, COMPACT)
        agreement = own.get("agreement", {})
        figures = (
            (Target("bytes of an item / float32", SHARE, "", at_least=False), own.get("share_of_float32")),
            (Target("top-10 agreement, users' histories", AGREEMENT, ""), agreement.get("histories")),
            (Target("top-10 agreement, single items", AGREEMENT, ""), agreement.get("items")),
        )
        judged += [target.judge(value) | {"name": f"{dataset}, compact: {target.name}"} for target, value in figures]
    return judged


def find(result: Result, dataset: str, kind: str) -> Result:
    """The entry of a kind of vectors; empty if it was not measured."""
    entries = result["datasets"].get(dataset, {}).get("kinds", [])
    found: Result = next((entry for entry in entries if entry["vectors"] == kind), {})
    return found
