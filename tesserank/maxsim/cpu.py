"""MaxSim on the CPU: one blocked matrix product, the maximum over an item's tokens, the weighted sum over a unit's.

All segments of a user are scored in one pass over the items. Blocks hold whole items and are sized so that a block's
similarities stay in a core's cache between the product and the maximum; they are spread over threads, so the BLAS
itself must run on one (``threadpoolctl.threadpool_limits(1, "blas")``, as segmented_maxsim does).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.ragged import Ragged

# 1 MiB of L2 is common; 1,024 item tokens × 150 query tokens × 4 bytes = 600 KB. Measured best of about 1,000 to 8,000.
_BLOCK_TOKENS = 1024
# Handing a block to a thread costs about as much as a tenth of scoring it: a hundred candidates are faster without.
_BLOCKS_WORTH_THREADS = 4


def unit_scores(
    tokens: NDArray[np.float32],
    token_weights: NDArray[np.float32],
    starts: NDArray[np.int64],
    items: Ragged,
    pool: ThreadPoolExecutor | None = None,
) -> NDArray[np.float32]:
    """MaxSim of G units with N items -> float32 [N, G]; see ``reference.unit_scores``.

    ``tokens`` [Q, d], ``token_weights`` [Q], ``starts`` [G] strictly increasing from 0. ``items`` must be float32 (or
    float16, converted block by block) and each must have at least one vector: the index sees to that.
    """
    scores = np.empty((len(items), len(starts)), dtype=np.float32)
    transposed = np.ascontiguousarray(tokens.T)

    def score_block(block: slice) -> None:
        offsets = items.offsets[block.start : block.stop + 1]
        vectors = np.asarray(items.vectors[offsets[0] : offsets[-1]], dtype=np.float32)
        maxima = np.maximum.reduceat(vectors @ transposed, offsets[:-1] - offsets[0], axis=0)
        maxima *= token_weights
        np.add.reduceat(maxima, starts, axis=1, out=scores[block])

    blocks = list(_blocks(items.offsets))
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
