"""Items by id, with their vectors in every space and their text's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ArtifactError
from tesserank.maxsim.ragged import Ragged


@dataclass(frozen=True)
class Space:
    """A space: every item's vectors in it, at least one each.

    ``vectors``: float16 [T, d] ragged by item; an item the space knows nothing of has one zero vector, whose
    similarity to everything is 0. ``weights`` float32 [T]: a vector's weight when its item is a segment (IDF in the
    text space). ``scale``: 1 / standard deviation of the segment score of random (segment, item) pairs, by which the
    scores of different spaces become comparable.
    """

    name: str
    items: Ragged
    weights: NDArray[np.float32]
    scale: float

    def __post_init__(self) -> None:
        if np.any(self.items.lengths == 0):
            row = int(np.flatnonzero(self.items.lengths == 0)[0])
            raise ArtifactError(f"item {row} has no vector in space {self.name!r}: rebuild the index with make export")
        if len(self.weights) != len(self.items.vectors):
            raise ArtifactError(
                f"{len(self.weights):,} weights but {len(self.items.vectors):,} vectors in space {self.name!r}"
            )

    @property
    def dim(self) -> int:
        return int(self.items.vectors.shape[1])

    def item_weights(self, row: int) -> NDArray[np.float32]:
        """The weights of one item's vectors, float32 [M], a view."""
        return self.weights[self.items.offsets[row] : self.items.offsets[row + 1]]

    def in_float32(self) -> Space:
        """The same with its vectors in memory as float32, for scoring: numpy converts float16 slowly."""
        return replace(self, items=Ragged(self.items.vectors.astype(np.float32), self.items.offsets))


@dataclass(frozen=True)
class ItemIndex:
    """The whole index. ``tokens`` are the items' token ids, int32 [T, 1] ragged; ``idf`` float32 [vocabulary]."""

    index_id: str
    encoder_id: str
    item_ids: tuple[str, ...]
    spaces: Mapping[str, Space]
    tokens: Ragged
    idf: NDArray[np.float32]
    _rows: dict[bytes, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for space in self.spaces.values():
            if len(space.items) != len(self.item_ids):
                raise ArtifactError(
                    f"{len(self.item_ids):,} item ids but {len(space.items):,} rows of vectors in space {space.name!r} "
                    f"of index {self.index_id}: rebuild it with make export"
                )
        if len(self.tokens) != len(self.item_ids):
            raise ArtifactError(
                f"{len(self.item_ids):,} item ids but {len(self.tokens):,} rows of tokens in index {self.index_id}: "
                "rebuild it with make export"
            )
        object.__setattr__(self, "_rows", {item.encode(): row for row, item in enumerate(self.item_ids)})
        if len(self._rows) != len(self.item_ids):
            twice = next(item for row, item in enumerate(self.item_ids) if self._rows[item.encode()] != row)
            raise ArtifactError(f"index {self.index_id} holds item id {twice!r} twice: rebuild it with make export")

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def dim(self) -> int:
        """Dimensions of the widest space."""
        return max(space.dim for space in self.spaces.values())

    def in_float32(self) -> ItemIndex:
        """The same with every space in float32, in memory."""
        return replace(self, spaces={name: space.in_float32() for name, space in self.spaces.items()})

    def rows(self, item_ids: Sequence[bytes]) -> NDArray[np.int64]:
        """Rows of items, by their ids in UTF-8; -1 for an unknown one."""
        get = self._rows.get
        return np.fromiter((get(item, -1) for item in item_ids), dtype=np.int64, count=len(item_ids))

    def token_ids(self, row: int) -> NDArray[np.int64]:
        """An item's token ids, int64 [n]; empty for an item without text."""
        return self.tokens.item(row)[:, 0].astype(np.int64)
