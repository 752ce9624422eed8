"""Texts and candidates that are made up, by a request's number or a text's name alone.

Every request needs some, and while they are made nothing is sent: to seed a numpy generator takes 15 µs, a hash one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

# The index has no texts, and what one costs the server depends on its length and on whether it was seen before alone.
WORDS = (
    "soft", "daily", "blue", "cotton", "classic", "large", "night", "cream",
    "red", "leather", "long", "story", "garden", "silver", "warm", "paper",
)  # fmt: skip
DRAWN_AT_ONCE = 4096  # candidates, of several requests: 0.2 ms


def make_up_text(name: str, lengths: tuple[int, int]) -> str:
    """From ``lengths[0]`` to ``lengths[1]`` words, uniformly. Equal names give equal texts."""
    fewest, most = lengths
    drawn = hashlib.shake_128(name.encode()).digest(4 + most)
    count = fewest + int.from_bytes(drawn[:4], "little") % (most - fewest + 1)
    return " ".join([WORDS[byte % len(WORDS)] for byte in drawn[4 : 4 + count]])  # a byte has whole 16ths


class Candidates:
    """``count`` different items for each request, uniformly drawn. Equal arguments and numbers give equal candidates.

    They are drawn for several requests in a row at once, and no item twice among these.
    """

    def __init__(self, item_ids: Sequence[str], count: int, seed: int) -> None:
        self._item_ids = np.array(item_ids, dtype=np.object_)
        self._count = count
        self._seed = seed
        self._requests = max(1, min(DRAWN_AT_ONCE, len(item_ids)) // count)  # that are drawn at once
        self._block = lru_cache(maxsize=4)(self._draw)

    def of(self, number: int) -> tuple[str, ...]:
        """Of the request of a number."""
        block, place = divmod(number, self._requests)
        return self._block(block)[place]

    def _draw(self, block: int) -> list[tuple[str, ...]]:
        rng = np.random.default_rng([self._seed, 0xCA2D, block])
        rows = rng.choice(len(self._item_ids), (self._requests, self._count), replace=False)
        return list(map(tuple, self._item_ids[rows].tolist()))
