"""Integer MaxSim: queries and items as small integers, sums in int32, exact; one scale a query token afterwards.

    y = Σ_t w_t · size_t · max_j <integers_t, codes_j>               int32 inside, float32 outside

``queries`` says what a query's integers and its size are. The order of the work:

    for a block of items, about BLOCK_TOKENS tokens:                 16-bit or 8-bit integers, in the first cache
        for so many packs of query tokens as a tile takes:           a pack is 4 KiB at d = 128, or 2
            for each item of the block: tiles of 4 of its tokens     maxima of the item's tokens in registers
        sums of maxima by unit                                       float32

An item's scores depend on nothing but the item and the query: not on the block, the rows asked for or the thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tesserank.maxsim.jit.arithmetic import PACK, PACK_BYTES, Arithmetic
from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.jit.kept import kept
from tesserank.maxsim.jit.queries import pack_queries, query_range
from tesserank.maxsim.jit.stores import Store
from tesserank.maxsim.jit.tile import make_tile
from tesserank.threads import share

BLOCK_TOKENS = 128
SECONDS_WORTH_A_THREAD = 120e-6  # waking one takes about 50 µs, which all of the server pays for
_ROUNDED = 1.001  # what float32 may make of a bound that is computed in it
_LOWEST = np.int32(np.iinfo(np.int32).min)


def unit_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    store: Store,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64] | None,
    pool: ThreadPoolExecutor | None,
    coarse: bool = False,
) -> NDArray[np.float32]:
    """``maxsim.cpu.unit_scores`` of the items of a store -> float32 [n, G], unit by unit in memory.

    ``coarse``: with queries in 8 bits, where the processor and the items allow it; see ``coarse_error``.
    Raises IndexError for a row that is none, and ValueError for tokens of other dimensions than the items'.
    """
    items = len(offsets) - 1
    check(tokens, store, items, rows)
    arithmetic, fill = store.reading(coarse)
    queries = pack_queries(store.arranged(tokens), store.steps, store.peak, arithmetic)
    count = items if rows is None else len(rows)
    scores = np.empty((len(starts), count), dtype=np.float32)
    score = _kernel(fill, arithmetic)
    of_items = frozen(offsets, np.int64), frozen(np.empty(0) if rows is None else rows, np.int64), rows is None
    factors = frozen(queries.sizes * token_weights, np.float32)
    of_user = queries.steps, queries.shifts, factors, frozen(starts, np.int64)

    def score_range(begin: int, end: int) -> None:
        score(store.arrays, *of_items, begin, end, *of_user, scores)

    products = (
        queries.steps.size * arithmetic.depth * max(int(offsets[-1]), 1) // max(items, 1)
    )  # of an item, on average
    share(score_range, count, int(SECONDS_WORTH_A_THREAD * arithmetic.rate) // products, pool)
    return scores.T


def coarse_error(
    tokens: NDArray[np.float32], token_weights: NDArray[np.float32], starts: NDArray[np.int64], store: Store
) -> float:
    """The most by which coarse and fine scores of a unit differ: each is off from the exact one by what rounding took
    from the query times the item's vector, and the lengths of the two bound that (Cauchy and Schwarz)."""
    coarse, dim = store.reading(coarse=True)[0], len(store.steps)
    queries = pack_queries(store.arranged(tokens), store.steps, store.peak, coarse)
    finer = query_range(coarse, store.peak, dim) / query_range(store.reading()[0], store.peak, dim)
    lost = queries.sizes * (queries.lost + 0.5 * np.sqrt(dim) * finer)
    return float(np.add.reduceat(lost * token_weights, starts).max()) * store.longest * _ROUNDED


def check(tokens: NDArray[np.float32], store: Store, items: int, rows: NDArray[np.int64] | None) -> None:
    """Raise what ``unit_scores`` says: compiled code does not look where it reads."""
    if tokens.shape[1] != len(store.steps):
        raise ValueError(f"query tokens of {tokens.shape[1]} dimensions, item vectors of {len(store.steps)}")
    if rows is not None and len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < items:
        raise IndexError(f"rows from {rows.min()} to {rows.max()}, but there are {items:,} items")


@cache
def _matcher(arithmetic: Arithmetic) -> Callable[..., None]:
    """``match(queries, block, places, count, best)``, compiled.

    It raises ``best[b]`` [PACK · groups] to the maxima over item b's tokens ``places[b]`` on, in the block.
    """
    widest = arithmetic.packs
    wide, two, one = (_column(arithmetic, min(packs, widest)) for packs in (widest, 2, 1))

    @njit(nogil=True)
    def match(queries: Any, block: Any, places: Any, count: Any, best: Any) -> None:
        groups, steps = queries.shape[0], queries.shape[1]
        query, peaks, group = queries.ctypes.data, best.ctypes.data, 0
        while group + widest <= groups:
            wide(query, block, places, count, peaks, best.strides[0], steps)
            query += np.uintp(widest * steps * PACK_BYTES)
            peaks += np.uintp(widest * PACK_BYTES)
            group += widest
        if widest > 2 and group + 2 <= groups:
            two(query, block, places, count, peaks, best.strides[0], steps)
            query += np.uintp(2 * steps * PACK_BYTES)
            peaks += np.uintp(2 * PACK_BYTES)
            group += 2
        if group < groups:
            one(query, block, places, count, peaks, best.strides[0], steps)

    compiled: Callable[..., None] = match
    return compiled


@cache
def _column(arithmetic: Arithmetic, packs: int) -> Callable[..., None]:
    """``match`` for so many packs, at the address ``query``, with all items of the block."""
    tile4, tile3, tile2, tile1 = (make_tile(arithmetic, height, packs) for height in (4, 3, 2, 1))

    @njit(nogil=True)
    def column(query: Any, block: Any, places: Any, count: Any, peaks: Any, apart: Any, steps: Any) -> None:
        tokens, stride = block.ctypes.data, block.strides[0]
        for b in range(count):
            token, end = places[b], places[b + 1]
            own = peaks + np.uintp(b * apart)
            while token + 4 <= end:
                tile4(query, tokens + np.uintp(token * stride), own, steps, stride)
                token += 4
            if token + 3 == end:
                tile3(query, tokens + np.uintp(token * stride), own, steps, stride)
            elif token + 2 == end:
                tile2(query, tokens + np.uintp(token * stride), own, steps, stride)
            elif token + 1 == end:
                tile1(query, tokens + np.uintp(token * stride), own, steps, stride)

    compiled: Callable[..., None] = column
    return compiled


@njit(nogil=True, fastmath={"reassoc", "nsz"})
def _sum_units(best: Any, shifts: Any, factors: Any, starts: Any, scores: Any, column: int) -> None:
    """``scores[g, column]``: the sum of shifted maxima times factors over unit g's tokens."""
    units = len(starts)
    for unit in range(units):
        stop = starts[unit + 1] if unit + 1 < units else len(factors)
        total = np.float32(0)
        for token in range(starts[unit], stop):
            total += np.float32(np.int32(best[token] + shifts[token])) * factors[token]
        scores[unit, column] = total


@cache
def _kernel(fill: Callable[..., None], arithmetic: Arithmetic) -> Callable[..., None]:
    """The kernel for items that ``fill`` reads: see ``stores.Store``.

    It is ``score(arrays, offsets, rows, every, begin, end, queries, shifts, factors, starts, scores)``:

    * ``arrays`` of the store; ``offsets`` int64 [N + 1] of items; ``rows`` int64 [n] to score, or, if ``every``, all;
    * ``begin`` to ``end``: which of the n are done by this call;
    * ``queries`` and ``shifts`` of ``PackedQueries``; ``factors`` float32 [Q], size times weight; ``starts`` int64 [G];
    * ``scores`` float32 [G, n], of which columns ``begin`` to ``end`` are written.
    """
    match, depth, integer = _matcher(arithmetic), arithmetic.depth, arithmetic.item_type

    @kept(fill, arithmetic)
    def score(
        arrays: Any, offsets: Any, rows: Any, every: Any, begin: Any, end: Any,
        queries: Any, shifts: Any, factors: Any, starts: Any, scores: Any,
    ) -> None:  # fmt: skip
        block = np.zeros((BLOCK_TOKENS, queries.shape[1] * depth), dtype=integer)
        best = np.empty((BLOCK_TOKENS, queries.shape[0] * PACK), dtype=np.int32)
        places = np.zeros(BLOCK_TOKENS + 1, dtype=np.int64)
        position = begin
        while position < end:
            count = 0
            while position + count < end and count < BLOCK_TOKENS:
                row = position + count if every else rows[position + count]
                length = offsets[row + 1] - offsets[row]
                if places[count] + length > BLOCK_TOKENS:
                    break
                fill(arrays, offsets[row], length, block, places[count])
                count += 1
                places[count] = places[count - 1] + length
            best[: max(count, 1)] = _LOWEST
            if count:
                match(queries, block, places, count, best)
            else:  # one item that is longer than a block
                row = position if every else rows[position]
                for first in range(offsets[row], offsets[row + 1], BLOCK_TOKENS):
                    places[1] = min(BLOCK_TOKENS, offsets[row + 1] - first)
                    fill(arrays, first, places[1], block, 0)
                    match(queries, block, places, 1, best)
                count = 1
            for b in range(count):
                _sum_units(best[b], shifts, factors, starts, scores, position + b)
            position += count

    compiled: Callable[..., None] = score
    return compiled
