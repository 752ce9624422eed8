"""How a launch is divided: which sizes are compiled in, and how they are chosen."""

from __future__ import annotations

from dataclasses import dataclass

# Of a multiprocessor of Hopper there are about 130; a tile for half of them keeps most of the chip busy.
BUSY = 66
TILE_BYTES = 64 << 10  # of items in shared memory: two programs fit a multiprocessor's 227 KB, with their queries
MOST_SLOTS, LEAST_TILE = 128, 32


@dataclass(frozen=True)
class Tile:
    """``rows`` query rows and ``items`` items of ``slots`` slots a step of a program; all powers of two."""

    rows: int
    items: int
    slots: int
    warps: int = 4
    stages: int = 2


def choose(longest: int, mean: float, rows: int, candidates: int, vector_bytes: int) -> Tile:
    """The tile for items of ``mean`` vectors, ``longest`` at most, and the most ``rows`` and ``candidates`` of a job.

    An item that has more vectors than slots goes through them several times; one that has fewer wastes products, but no
    memory traffic. So there are slots for the longest, unless that is much more than the mean.
    """
    width = max(min(TILE_BYTES // vector_bytes, 256), LEAST_TILE)
    slots = min(_power(longest if longest <= 2 * mean else 2 * mean), MOST_SLOTS, width)
    if slots < longest:  # shared memory then holds the first slots of a tile, and those that are loaded after them
        width = max(width // 2, LEAST_TILE)
        slots = min(slots, width)
    while width > max(LEAST_TILE, slots) and -(-candidates // (width // slots)) < BUSY:
        width //= 2
    return Tile(
        rows=min(max(_power(rows), 16), 64, TILE_BYTES // vector_bytes), items=max(width // slots, 1), slots=slots
    )


def _power(count: float) -> int:
    """The next power of two."""
    power = 1
    while power < count:
        power *= 2
    return power


# What `tesserank bench gpu` tries beside ``choose``; none has been measured yet.
HOPPER = tuple(
    Tile(rows, tile // slots, slots, warps, stages)
    for slots in (16, 32, 128)
    for rows, tile, warps in ((64, 128, 4), (64, 256, 4), (128, 128, 4), (128, 256, 8))
    for stages in (2, 3)
)
