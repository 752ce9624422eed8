"""How much is measured: as much as fits a quarter of an hour once the exports are there, or less with --quick."""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 2
TOP_K = 10
KINDS = ("float16", "int16", "int8", COMPACT := "compact")
DATASETS = ("amazon_beauty", "mlsmall")  # those of them that lie beside the checkout are measured


@dataclass(frozen=True)
class Plan:
    """Sizes and samples."""

    users: int  # of each catalogue
    candidates: tuple[int, ...]  # of the requests that are timed; fewer where a catalogue has fewer items
    rounds: int  # of these requests


FULL = Plan(users=200, candidates=(100, 1_000), rounds=100)
QUICK = Plan(users=20, candidates=(100, 1_000), rounds=10)
