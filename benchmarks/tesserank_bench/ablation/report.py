"""The table as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from tesserank_bench.ablation.rows import FULL
from tesserank_evaluation.markdown import value

_BY = "ndcg@10"


def markdown(result: Mapping[str, Any]) -> str:
    """Rows by group; ± is one standard error, of the users' differences in the last column."""
    data = result["dataset"]
    lines = [
        f"## {data['name']}: {data['items']:,} items, {data['users']:,} users, {data['events']:,} events",
        "",
        f"NDCG@10 of {result['of']['ranked_users']:,} users' items before the last, all of the catalogue ranked. Δ is "
        f"the mean of the users' differences from the {FULL}.",
        "",
        "| | NDCG@10 | Δ ± SE | Recall@10 | coverage@10 |",
        "|---|---|---|---|---|",
    ]
    for group, rows in groupby(result["rows"], key=lambda row: row["row"]["group"]):
        if group != FULL:
            lines.append(f"| **{group}** | | | | |")
        lines += [_row(row) for row in rows]
    return "\n".join([*lines, "", *_verdicts(result), ""])


def _row(row: Mapping[str, Any]) -> str:
    metrics = row["metrics"]
    change = "" if row["difference"] is None else value(row["difference"][_BY], "+")
    cells = [row["name"], f"{metrics[_BY]['mean']:.4f}", change, f"{metrics['recall@10']['mean']:.4f}"]
    cells.append(f"{metrics['coverage@10']:.3f}")
    return f"| {' | '.join(cells)} |"


def _verdicts(result: Mapping[str, Any]) -> Iterator[str]:
    for verdict in result["verdicts"]:
        found = "" if verdict["difference"] is None else f" ({value(verdict['difference'], '+')})"
        yield f"- {verdict['name']}: {verdict['verdict']}{found}"
