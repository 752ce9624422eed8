"""How much is measured: as much as fits a few minutes once the catalogue is there, or less than one with --quick."""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 2
TOP_K = 100  # of an answer; recall is measured on its first 10 and on all of it
LARGEST = 100_000


@dataclass(frozen=True)
class Plan:
    """Sizes and samples."""

    items: tuple[int, ...]  # of a catalogue; what is more than the real one has is made of copies, and encoded first
    candidates: tuple[int, ...]  # scored exactly, of the largest catalogue, beside the configured number
    users: int  # of each kind


FULL = Plan(
    items=(1_000, 2_500, 5_000, 10_000, 25_000, 50_000, LARGEST), candidates=(250, 500, 1_000, 2_000, 4_000), users=40
)
QUICK = Plan(items=(1_000, 2_500, 5_000, 10_000), candidates=(500,), users=6)
