"""MaxSim of a whole catalogue that computes each distinct unit once: a history's items are other users' items too.

A unit's scores with the catalogue depend on its own tokens and weights alone, so they may be kept for the next user
who has the same unit. What is kept is bounded in bytes; the longest unused goes first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim import cpu
from tesserank.maxsim.vectors import ItemVectors


class RememberedUnits:
    """``maxsim.cpu.unit_scores`` with a memory of ``limit_bytes``, for whole catalogues (``rows`` None) alone."""

    def __init__(self, limit_bytes: int, pool: ThreadPoolExecutor | None = None) -> None:
        self._limit = limit_bytes
        self._pool = pool
        self._rows: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self.held_bytes = 0
        self._items: dict[int, ItemVectors] = {}  # kept alive, so that their ids stay theirs
        self.computed = 0
        self.remembered = 0

    def __call__(
        self,
        tokens: NDArray[Any],
        token_weights: NDArray[Any],
        starts: NDArray[np.int64],
        items: ItemVectors,
        rows: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """See ``cpu.unit_scores`` -> [N, G]."""
        if rows is not None:
            raise ValueError("scores of some of the items are not remembered: ask for the whole catalogue")
        self._items[id(items)] = items
        stops = np.append(starts[1:], len(tokens))
        spans = [slice(start, stop) for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
        keys = [_key(items, tokens[span], token_weights[span]) for span in spans]
        scores = np.empty((len(keys), len(items)), dtype=np.float32)
        missing: dict[bytes, slice] = {}
        for key, span in zip(keys, spans, strict=True):
            if key in self._rows:
                self._rows.move_to_end(key)
            else:
                missing[key] = span
        fresh = self._compute(missing, tokens, token_weights, items)
        for row, key in enumerate(keys):
            scores[row] = fresh[key] if key in fresh else self._rows[key]
        for key, own in fresh.items():
            self._keep(key, own)
        self.computed += len(missing)
        self.remembered += len(keys) - len(missing)
        return scores.T

    def _compute(
        self, missing: dict[bytes, slice], tokens: NDArray[Any], token_weights: NDArray[Any], items: ItemVectors
    ) -> dict[bytes, NDArray[np.float32]]:
        if not missing:
            return {}
        places = np.concatenate([np.arange(span.start, span.stop) for span in missing.values()])
        lengths = np.array([span.stop - span.start for span in missing.values()])
        starts = np.cumsum(lengths) - lengths
        columns = cpu.unit_scores(tokens[places], token_weights[places], starts, items, None, self._pool)
        rows = np.ascontiguousarray(columns.T)
        return dict(zip(missing, (row.copy() for row in rows), strict=True))

    def _keep(self, key: bytes, row: NDArray[np.float32]) -> None:
        self._rows[key] = row
        self.held_bytes += row.nbytes
        while self.held_bytes > self._limit:
            _, oldest = self._rows.popitem(last=False)
            self.held_bytes -= oldest.nbytes


def _key(items: ItemVectors, tokens: NDArray[Any], weights: NDArray[Any]) -> bytes:
    content = hashlib.blake2b(id(items).to_bytes(8, "little"), digest_size=16)
    content.update(weights.tobytes())
    content.update(tokens.tobytes())
    return content.digest()
