"""Token vectors for the scorer of a device: where they lie, and nothing of them before they are needed there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.maxsim.ragged import spans
from tesserank.serving.lookup import Lookup, TokenForm


@dataclass(frozen=True)
class Resident:
    """Vectors of segments that lie in the scorer's index, at ``places`` int64 [q] of their space's."""

    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: Any) -> Resident:
        return Resident(self.places[which])


class ResidentLookup(Lookup):
    """A ``Lookup`` that says where vectors lie."""

    def _vectors(self, places: NDArray[np.int64]) -> Resident:
        return Resident(places)


@dataclass(frozen=True)
class Parts:
    """Token vectors one after the other: arrays or tensors, float32 [q, d] each, or Resident ones."""

    parts: tuple[Any, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, which: NDArray[np.bool_]) -> Parts:
        masks = np.split(which, np.cumsum([len(part) for part in self.parts])[:-1])
        # Picking from a tensor of a GPU waits for it.
        kept = (part if mask.all() else part[mask] for part, mask in zip(self.parts, masks, strict=True))
        return Parts(tuple(kept))


def _join(parts: Sequence[Any]) -> Parts:
    return Parts(tuple(parts))


PARTS = TokenForm(ResidentLookup, _join)


@dataclass(frozen=True)
class Pool:
    """Token vectors of many users by where they lie: ``places`` int64 of those in the index, then ``host`` float32
    [h, d] or None, then ``tensors`` of the device.

    ``order`` int64 [Q]: at which place of the pool each token is, in the users' order; None: at its own.
    """

    places: NDArray[np.int64]
    host: NDArray[np.float32] | None
    tensors: tuple[torch.Tensor, ...]
    order: NDArray[np.int64] | None

    @staticmethod
    def of(tokens: Sequence[Any]) -> Pool:
        """Of each user's: Parts, or an array or a tensor alone."""
        parts = [part for own in tokens for part in (own.parts if isinstance(own, Parts) else (own,))]
        kinds = np.array([_kind(part) for part in parts])
        by_kind = [[part for part, kind in zip(parts, kinds, strict=True) if kind == wanted] for wanted in range(3)]
        resident, arrays, tensors = by_kind
        places = np.concatenate([np.empty(0, dtype=np.int64), *(part.places for part in resident)])
        host = np.concatenate(arrays) if arrays else None
        return Pool(places, host, tuple(tensors), _order(parts, kinds) if (np.diff(kinds) < 0).any() else None)

    def pooled(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the tokens [Q] in the pool's order."""
        if self.order is None:
            return values
        found = np.empty_like(values)
        found[self.order] = values
        return found


def _kind(part: Any) -> int:
    """Where in the pool it comes: first what is resident, then arrays, then tensors."""
    return 0 if isinstance(part, Resident) else 2 if isinstance(part, torch.Tensor) else 1


def _order(parts: Sequence[Any], kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    lengths = np.array([len(part) for part in parts])
    pooled = np.argsort(kinds, kind="stable")
    begins = np.empty_like(lengths)
    begins[pooled] = np.cumsum(lengths[pooled]) - lengths[pooled]
    order, _ = spans(begins, lengths)
    return order
