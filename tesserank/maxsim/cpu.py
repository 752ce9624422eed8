"""MaxSim and aggregation on the CPU, the fast path; ``reference`` and ``aggregate`` say what is computed.

Integer vectors run a kernel that numba compiles (``maxsim.jit``). Float vectors, and all vectors where numba or AVX2
is missing, run a blocked matrix product, the maximum over an item's tokens and the weighted sum over a unit's: blocks
of whole items, so sized that a block's similarities stay in a core's cache between the product and the maximum.

Either way all segments of a user are scored in one pass over the items, which threads share; so the BLAS itself must
run on one (``threadpoolctl.threadpool_limits(1, "blas")``, as the models of the server do).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim import jit
from tesserank.maxsim.aggregate import aggregate as aggregate_in_numpy
from tesserank.maxsim.vectors import FloatVectors, ItemVectors

if TYPE_CHECKING:
    from tesserank.maxsim.jit.stores import Store

# 1 MiB of L2 is common; 1,024 item tokens × 150 query tokens × 4 bytes = 600 KB. Measured best of about 1,000 to 8,000.
_BLOCK_TOKENS = 1024
# Handing a block to a thread costs about as much as a tenth of scoring it: a hundred candidates are faster without.
_BLOCKS_WORTH_THREADS = 4


def prepared(items: ItemVectors) -> ItemVectors:
    """The same items in the form that scores fastest: float16 vectors as float32, which numpy converts slowly."""
    return items.in_float32() if isinstance(items, FloatVectors) else items


def unit_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    items: ItemVectors,
    rows: NDArray[np.int64] | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> NDArray[np.float32]:
    """MaxSim of G units with the items of ``rows`` [n] (None: all) -> float32 [n, G]; see ``reference.unit_scores``.

    ``tokens`` float32 [Q, d], ``token_weights`` float32 [Q], ``starts`` [G] strictly increasing from 0. Every item
    must have at least one vector: the index sees to that. With integer vectors an item's scores are the same to the bit
    whichever other items are asked for; with either, on however many threads.
    """
    store = _store_of(items)
    if store is None:
        return _float_scores(tokens, token_weights, starts, items, rows, pool)
    from tesserank.maxsim.jit import single, units

    if _one_each(items):
        return single.unit_scores(tokens, token_weights, starts, store, len(items), rows, pool)
    return units.unit_scores(tokens, token_weights, starts, store, items.offsets, rows, pool)


def has_coarse(items: ItemVectors) -> bool:
    """Whether ``coarse_unit_scores`` of these items are faster than exact ones, on this processor."""
    store = None if _one_each(items) else _store_of(items)
    return store is not None and store.has_coarse


def coarse_unit_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    items: ItemVectors,
    rows: NDArray[np.int64] | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> NDArray[np.float32]:
    """``unit_scores`` in about half the time, off by at most ``coarse_error``; where there is no such way, exact."""
    store = _store_of(items)
    if store is None or not has_coarse(items):
        return unit_scores(tokens, token_weights, starts, items, rows, pool)
    from tesserank.maxsim.jit import units

    return units.unit_scores(tokens, token_weights, starts, store, items.offsets, rows, pool, coarse=True)


def coarse_error(
    tokens: NDArray[np.float32], token_weights: NDArray[np.float32], starts: NDArray[np.int64], items: ItemVectors
) -> float:
    """The most by which a score of ``coarse_unit_scores`` differs from that of ``unit_scores``, but for the roundings
    of float32; NaN if a token is no number."""
    store = _store_of(items)
    if store is None or not has_coarse(items):
        return 0.0
    from tesserank.maxsim.jit import units

    return units.coarse_error(tokens, token_weights, starts, store)


def aggregate(
    scores: NDArray[Any],
    weights: NDArray[Any],
    method: str,
    temperature: float,
    pool: ThreadPoolExecutor | None = None,
) -> NDArray[Any]:
    """``maxsim.aggregate.aggregate`` of ``scores`` [n, K] -> [n]; compiled for float32, where that is possible."""
    if scores.dtype != np.float32 or not jit.available():
        return aggregate_in_numpy(scores, weights, method, temperature)
    from tesserank.maxsim.jit import aggregate as compiled

    return compiled.aggregate(scores, weights, method, temperature, pool)


def _one_each(items: ItemVectors) -> bool:
    """Whether every item has a single vector: there is a kernel for those, without a maximum."""
    return bool(items.offsets[-1] == len(items))


def _store_of(items: ItemVectors) -> Store | None:
    """How the compiled kernels read these items; None where there are none, or they cannot."""
    if not jit.available():
        return None
    from tesserank.maxsim.jit.stores import store_of

    return store_of(items)


def _float_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    items: ItemVectors,
    rows: NDArray[np.int64] | None,
    pool: ThreadPoolExecutor | None,
) -> NDArray[np.float32]:
    lengths = items.lengths if rows is None else items.lengths[rows]
    scores = np.empty((len(lengths), len(starts)), dtype=np.float32)
    transposed = np.ascontiguousarray(tokens.T)

    def score_block(block: slice) -> None:
        decoded = items.decode(block if rows is None else rows[block])
        maxima = np.maximum.reduceat(decoded.vectors @ transposed, decoded.offsets[:-1], axis=0)
        maxima *= token_weights
        np.add.reduceat(maxima, starts, axis=1, out=scores[block])

    blocks = list(_blocks(np.concatenate([[0], np.cumsum(lengths)])))
    if pool is None or len(blocks) < _BLOCKS_WORTH_THREADS:
        for block in blocks:
            score_block(block)
    else:
        list(pool.map(score_block, blocks))
    return scores


def _blocks(offsets: NDArray[Any]) -> Iterator[slice]:
    """Whole items, about _BLOCK_TOKENS vectors at a time."""
    start, items = 0, len(offsets) - 1
    while start < items:
        stop = int(np.searchsorted(offsets, offsets[start] + _BLOCK_TOKENS, side="right")) - 1
        stop = min(max(stop, start + 1), items)
        yield slice(start, stop)
        start = stop
