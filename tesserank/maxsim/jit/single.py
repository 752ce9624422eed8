"""Integer MaxSim with items of one vector each: of one there is no maximum, so each unit is a single query.

    Σ_t w_t · max_j <q_t, v_j> = Σ_t w_t · <q_t, v> = <Σ_t w_t · q_t, v>

Rounding is that of ``queries``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.jit import units
from tesserank.maxsim.jit.arithmetic import PACK, Arithmetic
from tesserank.maxsim.jit.arrays import frozen
from tesserank.maxsim.jit.kept import kept
from tesserank.maxsim.jit.queries import pack_queries
from tesserank.maxsim.jit.stores import Store
from tesserank.maxsim.jit.tile import make_product
from tesserank.maxsim.jit.transpose import transpose
from tesserank.threads import share

_STRIP = 64  # items whose vectors and products stay in the first cache


def unit_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    store: Store,
    items: int,
    rows: NDArray[np.int64] | None,
    pool: ThreadPoolExecutor | None,
) -> NDArray[np.float32]:
    """``maxsim.cpu.unit_scores`` of the items of a store, one vector each -> float32 [n, G], unit by unit in memory."""
    units.check(tokens, store, items, rows)
    summed = np.add.reduceat(tokens * token_weights[:, None], starts, axis=0)
    arithmetic, fill = store.reading()
    queries = pack_queries(store.arranged(summed), store.steps, store.peak, arithmetic)
    count = items if rows is None else len(rows)
    scores = np.empty((len(starts), count), dtype=np.float32)
    chosen = frozen(np.empty(0, dtype=np.int64) if rows is None else rows, np.int64)
    multiply = _kernel(fill, arithmetic)

    def score_range(begin: int, end: int) -> None:
        multiply(store.arrays, chosen, rows is None, begin, end, queries.steps, queries.sizes, scores)

    products = queries.steps.size * arithmetic.depth
    share(score_range, count, int(units.SECONDS_WORTH_A_THREAD * arithmetic.rate) // products, pool)
    return scores.T


@cache
def _kernel(fill: Callable[..., None], arithmetic: Arithmetic) -> Callable[..., None]:
    """The kernel for items that ``fill`` reads: see ``stores.Store``.

    It is ``multiply(arrays, rows, every, begin, end, queries, factors, scores)``; arguments as of the kernel in
    ``units``, but of queries that are units, so ``factors`` are float32 [G].
    """
    product4, product1 = make_product(arithmetic, 4), make_product(arithmetic, 1)
    depth, integer = arithmetic.depth, arithmetic.item_type

    @kept(fill, arithmetic)
    def multiply(
        arrays: Any, rows: Any, every: Any, begin: Any, end: Any, queries: Any, factors: Any, scores: Any
    ) -> None:
        groups, steps = queries.shape[0], queries.shape[1]
        block = np.zeros((_STRIP, steps * depth), dtype=integer)
        products = np.empty((_STRIP, PACK), dtype=np.int32)
        by_query = np.empty((PACK, _STRIP), dtype=np.int32)
        stride, apart = block.strides[0], products.strides[0]
        for first in range(begin, end, _STRIP):
            count = min(_STRIP, end - first)
            if every:
                fill(arrays, first, count, block, 0)
            else:
                for i in range(count):
                    fill(arrays, rows[first + i], 1, block, i)
            for group in range(groups):
                query, i = queries[group].ctypes.data, 0
                while i < count:
                    item, place = block.ctypes.data + np.uintp(i * stride), products.ctypes.data + np.uintp(i * apart)
                    if i + 4 <= count:
                        product4(query, item, place, steps, stride, apart)
                        i += 4
                    else:
                        product1(query, item, place, steps, stride, apart)
                        i += 1
                transpose(products, by_query)
                for unit in range(group * PACK, min((group + 1) * PACK, len(factors))):
                    own, factor, out = by_query[unit - group * PACK], factors[unit], scores[unit, first:]
                    for i in range(count):
                        out[i] = np.float32(own[i]) * factor

    compiled: Callable[..., None] = multiply
    return compiled
