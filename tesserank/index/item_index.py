"""Items by id, with their vectors in every space, their text's tokens and their categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ArtifactError
from tesserank.index.categories import Categories
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import ItemVectors


@dataclass(frozen=True)
class Space:
    """A space: every item's vectors in it, at least one each.

    ``items``: T vectors, quantised or not; an item the space knows nothing of has one zero vector, whose similarity
    to everything is 0. ``weights`` float32 [T] (float16 on disk): a vector's weight when its item is a segment, in
    the text space its token's. ``scale``: 1 / standard deviation of the segment score of random (segment, item) pairs,
    by which the scores of different spaces become comparable. ``queries``: an item's vectors when it is a segment, as
    many as of ``items``; None where they are the same.

    ``moments`` int64 [D], increasing: in a space that does not speak of the history but of when it is asked, the Unix
    seconds from which each of ``queries``, then D of one vector, is the request's segment.
    """

    name: str
    items: ItemVectors
    weights: NDArray[np.float32]
    scale: float
    queries: ItemVectors | None = None
    moments: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if np.any(self.items.lengths == 0):
            row = int(np.flatnonzero(self.items.lengths == 0)[0])
            raise ArtifactError(f"item {row} has no vector in space {self.name!r}: rebuild the index with make export")
        if len(self.weights) != self.items.offsets[-1]:
            raise ArtifactError(
                f"{len(self.weights):,} weights but {self.items.offsets[-1]:,} vectors in space {self.name!r}: "
                "rebuild the index with make export"
            )
        if self.moments is not None:
            self._check_moments(self.moments)
        elif self.queries is not None and (
            self.queries.dim != self.dim or not np.array_equal(self.queries.offsets, self.items.offsets)
        ):
            raise ArtifactError(
                f"{self.queries.offsets[-1]:,} vectors of {self.queries.dim} dimensions for segments, but "
                f"{self.items.offsets[-1]:,} of {self.dim} for items in space {self.name!r}: "
                "rebuild the index with make export"
            )

    def _check_moments(self, moments: NDArray[np.int64]) -> None:
        found, dim = (0, 0) if self.queries is None else (int(self.queries.offsets[-1]), self.queries.dim)
        if not len(moments) or found != len(moments) or dim != self.dim:
            raise ArtifactError(
                f"{len(moments):,} moments, but {found:,} vectors of them, of {dim} dimensions where items have "
                f"{self.dim}, in space {self.name!r}: rebuild the index with make export"
            )
        falls = np.flatnonzero(np.diff(moments) <= 0)
        if len(falls):
            before, after = moments[falls[0]], moments[falls[0] + 1]
            raise ArtifactError(
                f"moment {after} follows {before} in space {self.name!r}: rebuild the index with make export"
            )

    def moment(self, timestamp: int | None) -> int:
        """The row of ``queries`` that speaks at ``timestamp``; None, and whatever comes after the last: the last."""
        assert self.moments is not None
        if timestamp is None:
            return len(self.moments) - 1
        return max(int(np.searchsorted(self.moments, timestamp, side="right")) - 1, 0)

    @property
    def dim(self) -> int:
        return self.items.dim

    @property
    def segment_vectors(self) -> ItemVectors:
        """The vectors of segments: ``queries``, or ``items`` where it has none."""
        return self.items if self.queries is None else self.queries

    @property
    def segment_weights(self) -> NDArray[np.float32]:
        """What each vector of a segment weighs: as many as those of ``queries``, or of ``items`` where it has none."""
        if self.moments is None:
            return self.weights
        return np.ones(len(self.moments), dtype=np.float32)

    def item_weights(self, row: int) -> NDArray[np.float32]:
        """The weights of one item's vectors, float32 [M], a view."""
        return self.weights[self.items.offsets[row] : self.items.offsets[row + 1]]


@dataclass(frozen=True)
class ItemIndex:
    """The whole index.

    ``tokens``: the items' token ids, [T, 1] ragged, of an unsigned integer type that holds the vocabulary;
    ``token_weights`` float32 [vocabulary], what each token id weighs; ``categories`` None if the catalogue has none.
    """

    index_id: str
    encoder_id: str
    item_ids: tuple[str, ...]
    spaces: Mapping[str, Space]
    tokens: Ragged
    token_weights: NDArray[np.float32]
    categories: Categories | None = None
    _rows: dict[bytes, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for space in self.spaces.values():
            self._check_rows(len(space.items), f"rows of vectors in space {space.name!r}")
        self._check_rows(len(self.tokens), "rows of tokens")
        if self.categories is not None:
            self._check_rows(len(self.categories.codes), "categories")
        object.__setattr__(self, "_rows", {item.encode(): row for row, item in enumerate(self.item_ids)})
        if len(self._rows) != len(self.item_ids):
            twice = next(item for row, item in enumerate(self.item_ids) if self._rows[item.encode()] != row)
            raise ArtifactError(f"index {self.index_id} holds item id {twice!r} twice: rebuild it with make export")

    def _check_rows(self, found: int, what: str) -> None:
        if found != len(self.item_ids):
            raise ArtifactError(
                f"{len(self.item_ids):,} item ids but {found:,} {what} of index {self.index_id}: "
                "rebuild it with make export"
            )

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def dim(self) -> int:
        """Dimensions of the widest space."""
        return max(space.dim for space in self.spaces.values())

    def rows(self, item_ids: Sequence[bytes]) -> NDArray[np.int64]:
        """Rows of items, by their ids in UTF-8; -1 for an unknown one."""
        return np.array(list(map(self._rows.get, item_ids, repeat(-1))), dtype=np.int64)

    def token_ids(self, row: int) -> NDArray[np.int64]:
        """An item's token ids, int64 [n]; empty for an item without text."""
        return self.tokens.item(row)[:, 0].astype(np.int64)
