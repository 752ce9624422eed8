"""The size of the case study."""

from __future__ import annotations

from dataclasses import dataclass

TOP_K = 10
THREADS = 2


@dataclass(frozen=True)
class Plan:
    """``timed_pairs`` of (history, item) go through the cross-encoder; all others are extrapolated from them."""

    users: int
    items: int
    dim: int
    batches: int
    timed_pairs: int


FULL = Plan(users=1_000, items=100_000, dim=50, batches=5, timed_pairs=320)
QUICK = Plan(users=100, items=4_000, dim=50, batches=5, timed_pairs=32)
