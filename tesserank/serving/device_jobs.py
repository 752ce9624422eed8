"""What a GPU works on and what it finds: an index in its memory, and users whose best items are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank.maxsim.gpu.items import DeviceItems
from tesserank.maxsim.gpu.query import PLACES
from tesserank.serving.aggregation import LiveChannel
from tesserank.serving.segments import UserSegments
from tesserank.serving.selection import Selected


@dataclass(frozen=True)
class ResidentIndex:
    """An index in a device's memory, by space: its items, and what they are as segments, where they are looked up."""

    device: torch.device
    items: Mapping[str, DeviceItems]
    segments: Mapping[str, DeviceItems]
    size: int

    @staticmethod
    def upload(index: ItemIndex, device: torch.device, looked_up: Iterable[str] = ()) -> ResidentIndex:
        """``looked_up``: the spaces of which segments will be. Raises ValueError as ``DeviceItems.upload``."""
        items = {name: DeviceItems.upload(space.items, device) for name, space in index.spaces.items()}
        segments = {}
        for name in looked_up:
            space = index.spaces[name]
            shared = space.segment_vectors is space.items
            segments[name] = items[name] if shared else DeviceItems.upload(space.segment_vectors, device)
        return ResidentIndex(device, items, segments, len(index))

    @property
    def nbytes(self) -> int:
        """Bytes of device memory."""
        held = {id(part): part for part in (*self.items.values(), *self.segments.values())}
        return sum(part.nbytes for part in held.values())


@dataclass(frozen=True)
class Job:
    """A user of a request, at its place there; the best ``k`` of ``selected`` are wanted."""

    place: int
    user: UserSegments
    selected: Selected
    k: int
    channels: Sequence[LiveChannel]

    @property
    def score_rows(self) -> int:
        """Rows of scores that it takes, at most: of its units, and of the pieces that they are put together from."""
        return sum(2 * len(space.starts) + PLACES - 1 for space in self.user.spaces.values())


@dataclass(frozen=True)
class Found:
    """Of a user: positions [c] of the best items and their scores [c], and by space their units' scores [c, G]."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    units: dict[str, NDArray[np.float32]]
