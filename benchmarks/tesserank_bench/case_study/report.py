"""A result as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Result = Mapping[str, Any]


def show(console: Console, result: Result) -> None:
    """Print what each step took, what the pairs would, and what each ranking is worth."""
    world = result["world"]
    steps = Table("step", "seconds", "of", title=f"{world['users']:,} users, {world['items']:,} items")
    for entry in result["features"]:
        steps.add_row(f"1 {entry['name']}", f"{entry['seconds']:,.2f}", f"{entry['non_zero']:,} non-zero")
    for entry in result["embeddings"]:
        steps.add_row(f"2 {entry['name']}", f"{entry['seconds']:,.2f}", f"{entry['items']:,} items, {entry['dim']} d")
    ranking = result["segments"]
    of = {"cut": f"{ranking['segments']:,} segments", "encode": f"{ranking['encoded_tokens']:,} tokens"}
    for number, entry in enumerate(ranking["steps"], 3):
        steps.add_row(f"{number} {entry['name']}", f"{entry['seconds']:,.2f}", of.get(entry["name"], ""))
    pairs = result["pairs"]
    steps.add_row("3 to 8 together", f"{result['ratio']['segments_seconds']:,.2f}", "")
    steps.add_row(
        "instead: pairs, extrapolated",
        f"{pairs['extrapolated_seconds']:,.0f}",
        f"{pairs['all_pairs']:,} pairs ({pairs['timed_pairs']:,} timed): {result['ratio']['times']:,.0f} times",
    )
    console.print(steps)
    quality = Table("ranked by", "users", "NDCG@10", "Recall@10", "of the top 10, to taste", title="quality")
    for name, entry in result["quality"].items():
        figures = (f"{entry['ndcg_at_10']:.4f} ± {entry['ndcg_standard_error']:.4f}", f"{entry['recall_at_10']:.4f}")
        quality.add_row(name, f"{entry['users']:,}", *figures, f"{entry['to_taste_at_10']:.3f}")
    console.print(quality)
