"""How a launch is divided: which sizes are compiled in, and how they are chosen."""

from __future__ import annotations

from dataclasses import dataclass

# Programs that keep a chip of about 130 multiprocessors busy: three each, since one has little to do.
BUSY = 396
TILE_BYTES = 64 << 10  # of items in shared memory: two programs fit a multiprocessor's 227 KB, with their queries
WIDEST, LEAST_TILE = 256, 32  # columns of a product
MOST_SLOTS = 128
# Items that are read in several passes, by one step of query rows: bound by memory, so short passes, several of them on
# their way. By more steps: bound by products, so longer ones.
PASS_BYTES, PASS_SLOTS, PASS_STAGES = 16 << 10, 16, 4
LONG_PASS_BYTES, LONG_PASS_SLOTS = 32 << 10, 64


@dataclass(frozen=True)
class Tile:
    """``items`` items of ``slots`` slots a program; powers of two, 32 slots or more in all."""

    items: int
    slots: int
    warps: int = 4
    stages: int = 2


def choose(longest: int, mean: float, steps: int, candidates: int, vector_bytes: int) -> Tile:
    """The tile for items of ``mean`` vectors, ``longest`` at most, the most ``steps`` of a job, and the
    ``candidates`` of all jobs.

    An item that has more vectors than slots goes through them several times; one that has fewer wastes products, but no
    memory traffic. So there are slots for the longest, unless that is much more than the mean. All sizes are what an
    H200 was fastest with (docs/log.md).
    """
    width = _width(TILE_BYTES, vector_bytes)
    slots = min(_power(longest if longest <= 2 * mean else 2 * mean), MOST_SLOTS, width)
    if slots < longest:
        if steps > 1:
            width = _width(LONG_PASS_BYTES, vector_bytes)
            slots = min(slots, LONG_PASS_SLOTS, width)
            return Tile(width // slots, slots)
        slots = min(slots, PASS_SLOTS)
        return Tile(_width(PASS_BYTES, vector_bytes) // slots, slots, stages=PASS_STAGES)
    while width > max(LEAST_TILE, slots) and -(-candidates // (width // slots)) < BUSY:
        width //= 2
    return Tile(width // slots, slots, stages=3 if width == WIDEST else 2)


def _width(tile_bytes: int, vector_bytes: int) -> int:
    """How many vectors fit, between LEAST_TILE and WIDEST."""
    return max(min(tile_bytes // vector_bytes, WIDEST), LEAST_TILE)


def _power(count: float) -> int:
    """The next power of two."""
    power = 1
    while power < count:
        power *= 2
    return power


# What `tesserank bench gpu --tune` tries beside ``choose``.
HOPPER = tuple(
    Tile(columns // slots, slots, warps, stages)
    for slots in (16, 32, 64, 128)
    for columns, warps in ((64, 4), (128, 4), (256, 4), (256, 8))
    if columns >= slots
    for stages in (2, 3, 4)
)
