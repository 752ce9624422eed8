"""Integer MaxSim: queries as int16, items as small integers, sums in int32, exact; one scale a query token afterwards.

    <q, v> with v = codes · step   is   <q · step, codes>            the steps move into the query
    q · step ≈ integers · size     with size = max |q · step| / R    one size a token, so max_j needs no floats
    y = Σ_t w_t · size_t · max_j <integers_t, codes_j>               int32 inside, float32 outside

R is as large as int16 holds and as no sum overflows (``query_range``): rounding a query to 16 bits costs 256 times
less than its items' 8 bits did. The order of the work:

    for a block of items, about BLOCK_TOKENS tokens:                 widened to int16, in the first cache
        for each group of 16 query tokens:                           4 KiB at d = 128, in the first cache
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

from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.jit.numbers import rounded
from tesserank.maxsim.jit.stores import Store
from tesserank.maxsim.jit.tile import PAIRS_MULTIPLE, QUERY_WIDTH, make_tile
from tesserank.maxsim.threads import share

BLOCK_TOKENS = 64
# Waking a thread takes about 50 µs, in which a core makes some 3 million products.
PRODUCTS_WORTH_A_THREAD = 8_000_000
_NOTHING = np.float32(1e-30)  # smaller tokens are 0: what they are scaled by would overflow
_LOWEST = np.int32(np.iinfo(np.int32).min)
_tile4, _tile3, _tile2, _tile1 = (make_tile(height) for height in (4, 3, 2, 1))


def unit_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    store: Store,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64] | None,
    pool: ThreadPoolExecutor | None,
) -> NDArray[np.float32]:
    """``maxsim.cpu.unit_scores`` of the items of a store -> float32 [n, G], unit by unit in memory.

    Raises IndexError for a row that is none, and ValueError for tokens of other dimensions than the items'.
    """
    items = len(offsets) - 1
    check(tokens, store, items, rows)
    queries, sizes = pack_queries(store.arranged(tokens), store.steps, store.peak)
    count = items if rows is None else len(rows)
    scores = np.empty((len(starts), count), dtype=np.float32)
    score = _kernel(store.fill)
    of_items = frozen(offsets, np.int64), frozen(np.empty(0) if rows is None else rows, np.int64), rows is None
    of_user = frozen(queries, np.int16), frozen(sizes * token_weights, np.float32), frozen(starts, np.int64)

    def score_range(begin: int, end: int) -> None:
        score(store.arrays, *of_items, begin, end, *of_user, scores)

    products = queries.size * max(int(offsets[-1]), 1) // max(items, 1)  # of an item, on average
    share(score_range, count, PRODUCTS_WORTH_A_THREAD // products, pool)
    return scores.T


def check(tokens: NDArray[np.float32], store: Store, items: int, rows: NDArray[np.int64] | None) -> None:
    """Raise what ``unit_scores`` says: compiled code does not look where it reads."""
    if tokens.shape[1] != len(store.steps):
        raise ValueError(f"query tokens of {tokens.shape[1]} dimensions, item vectors of {len(store.steps)}")
    if rows is not None and len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < items:
        raise IndexError(f"rows from {rows.min()} to {rows.max()}, but there are {items:,} items")


def query_range(peak: int, dim: int) -> int:
    """The largest |integer| of a query: int16, and ``dim`` products with integers up to ``peak`` add up to an int32."""
    return min(np.iinfo(np.int16).max, np.iinfo(np.int32).max // (peak * dim))


def pack_queries(
    tokens: NDArray[np.float32], steps: NDArray[np.float32], peak: int
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Quantise ``tokens`` [Q, d] times ``steps`` [d] -> int16 [Q / 16, d / 2, 16, 2], padded by 0; and sizes [Q].

    A token times the steps is its integers times its size, but for rounding; with a NaN or an infinity its size is NaN.
    """
    count, dim = tokens.shape
    groups, pairs = -(-count // QUERY_WIDTH), -(-dim // (2 * PAIRS_MULTIPLE)) * PAIRS_MULTIPLE
    packed = np.zeros((groups, pairs, QUERY_WIDTH), dtype=np.int32)
    sizes = np.empty(count, dtype=np.float32)
    limit = np.float32(query_range(peak, dim))
    _pack(frozen(tokens, np.float32), frozen(steps, np.float32), limit, packed, sizes)
    return packed.view(np.int16).reshape(groups, pairs, QUERY_WIDTH, 2), sizes


@njit(nogil=True)
def _pack(tokens: Any, steps: Any, limit: Any, packed: Any, sizes: Any) -> None:
    count, dim = tokens.shape
    stepped = np.empty(dim, dtype=np.float32)
    integers = np.zeros(2 * packed.shape[1], dtype=np.int16)
    pairs = integers.view(np.int32)
    for t in range(count):
        for c in range(dim):
            stepped[c] = tokens[t, c] * steps[c]
        if not np.isfinite(_total(stepped)):
            sizes[t] = np.nan
            continue
        peak = _peak(stepped)
        factor = limit / peak if peak > _NOTHING else np.float32(0)
        sizes[t] = peak / limit
        for c in range(dim):  # the largest comes out as the limit, a few units in the last place more or less
            integers[c] = np.int16(rounded(stepped[c] * factor))
        lanes = packed[t // QUERY_WIDTH, :, t % QUERY_WIDTH]
        for p in range(len(pairs)):
            lanes[p] = pairs[p]


@njit(nogil=True, fastmath={"reassoc"})
def _total(values: Any) -> Any:
    """The sum of magnitudes, in whatever order is fast: it is only asked whether it is finite."""
    total = np.float32(0)
    for c in range(len(values)):
        total += abs(values[c])
    return total


@njit(nogil=True, fastmath={"nnan", "nsz"})
def _peak(values: Any) -> Any:
    """The largest magnitude of numbers that are none of them NaN."""
    peak = np.float32(0)
    for c in range(len(values)):
        magnitude = abs(values[c])
        if magnitude > peak:
            peak = magnitude
    return peak


@njit(nogil=True)
def _match(queries: Any, block: Any, places: Any, count: int, best: Any) -> None:
    """Raise ``best[b]`` [16 · groups] to the maxima over item b's tokens ``places[b]`` on, in the block."""
    groups, pairs = queries.shape[0], queries.shape[1]
    stride = block.strides[0]
    tokens = block.ctypes.data
    for group in range(groups):
        query = queries[group].ctypes.data
        for b in range(count):
            token, end = places[b], places[b + 1]
            peaks = best[b, group * QUERY_WIDTH :].ctypes.data
            while token + 4 <= end:
                _tile4(query, tokens + np.uintp(token * stride), peaks, pairs, stride)
                token += 4
            if token + 3 == end:
                _tile3(query, tokens + np.uintp(token * stride), peaks, pairs, stride)
            elif token + 2 == end:
                _tile2(query, tokens + np.uintp(token * stride), peaks, pairs, stride)
            elif token + 1 == end:
                _tile1(query, tokens + np.uintp(token * stride), peaks, pairs, stride)


@njit(nogil=True, fastmath={"reassoc", "nsz"})
def _sum_units(best: Any, factors: Any, starts: Any, scores: Any, column: int) -> None:
    """``scores[g, column]``: the sum of maxima times factors over unit g's tokens."""
    units = len(starts)
    for unit in range(units):
        stop = starts[unit + 1] if unit + 1 < units else len(factors)
        total = np.float32(0)
        for token in range(starts[unit], stop):
            total += np.float32(best[token]) * factors[token]
        scores[unit, column] = total


@cache
def _kernel(fill: Callable[..., None]) -> Callable[..., None]:
    """The kernel for items that ``fill`` reads: see ``stores.Store``.

    It is ``score(arrays, offsets, rows, every, begin, end, queries, factors, starts, scores)``:

    * ``arrays`` of the store; ``offsets`` int64 [N + 1] of items; ``rows`` int64 [n] to score, or, if ``every``, all;
    * ``begin`` to ``end``: which of the n are done by this call;
    * ``queries`` int16 [groups, pairs, 16, 2]; ``factors`` float32 [Q], size times weight; ``starts`` int64 [G];
    * ``scores`` float32 [G, n], of which columns ``begin`` to ``end`` are written.
    """

    @njit(nogil=True)
    def score(
        arrays: Any, offsets: Any, rows: Any, every: Any, begin: Any, end: Any,
        queries: Any, factors: Any, starts: Any, scores: Any,
    ) -> None:  # fmt: skip
        block = np.zeros((BLOCK_TOKENS, 2 * queries.shape[1]), dtype=np.int16)
        best = np.empty((BLOCK_TOKENS, queries.shape[0] * QUERY_WIDTH), dtype=np.int32)
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
                _match(queries, block, places, count, best)
            else:  # one item that is longer than a block
                row = position if every else rows[position]
                for first in range(offsets[row], offsets[row + 1], BLOCK_TOKENS):
                    places[1] = min(BLOCK_TOKENS, offsets[row + 1] - first)
                    fill(arrays, first, places[1], block, 0)
                    _match(queries, block, places, 1, best)
                count = 1
            for b in range(count):
                _sum_units(best[b], factors, starts, scores, position + b)
            position += count

    compiled: Callable[..., None] = score
    return compiled
