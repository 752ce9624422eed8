"""How much is measured: as much as fits a few minutes, or less than one with --quick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

THREADS = (1, 2)  # a core's own work, and what two of them do together
CONTEST_THREADS = 2
TOP = 10  # of a ranking, for recall and agreement


@dataclass(frozen=True)
class Shape:
    """One MaxSim: K segments of L tokens against N items of M tokens on average, all of d dimensions."""

    segments: int = 5
    tokens: int = 32
    items: int = 10_000
    item_tokens: int = 16
    dim: int = 128

    def __str__(self) -> str:
        sizes = (self.segments, self.tokens, self.items, self.item_tokens, self.dim)
        return " ".join(f"{letter}={size:,}" for letter, size in zip("KLNMd", sizes, strict=True))


BASE = Shape()


@dataclass(frozen=True)
class Plan:
    """Sizes and samples of each part."""

    rounds: int  # of ceilings and MaxSim
    shapes: tuple[Shape, ...]  # targets are judged at BASE
    shape_users: int  # whose answers are compared; they take turns to be timed
    gather: int  # candidates picked out of BASE's items
    sample_s: float  # a sample is the mean of as many calls as take about this long
    contest_rounds: int
    contest_users: int
    contest_items: tuple[int | None, ...]  # of the catalogue; None is all of it
    texts: int  # encoded by each contestant in a round
    encoder_rounds: int
    batches: tuple[int, ...]  # tried for onnxruntime, to find its best
    callers: int  # at the same time, of the served encoder


def varied(base: Shape, **sizes: tuple[int, ...]) -> Iterator[Shape]:
    """``base``, and then one size at a time changed to each of those given for it."""
    yield base
    for name, values in sizes.items():
        yield from (replace(base, **{name: value}) for value in values)


FULL = Plan(
    rounds=15,
    shapes=tuple(
        varied(
            BASE,
            segments=(1, 2, 10, 20),
            tokens=(8, 16, 64, 128),
            items=(100, 1_000, 50_000),
            item_tokens=(1, 4, 64),
            dim=(64, 256, 384),
        )
    ),
    shape_users=2,
    gather=1_000,
    sample_s=0.02,
    contest_rounds=10,
    contest_users=20,
    contest_items=(1_000, None),
    texts=960,
    encoder_rounds=9,
    batches=(1, 4, 8, 16, 32, 64),
    callers=8,
)
QUICK = Plan(
    rounds=3,
    shapes=(BASE, replace(BASE, segments=1), replace(BASE, items=100)),
    shape_users=1,
    gather=1_000,
    sample_s=0.005,
    contest_rounds=2,
    contest_users=3,
    contest_items=(500,),
    texts=80,
    encoder_rounds=2,
    batches=(4, 32),
    callers=8,
)
