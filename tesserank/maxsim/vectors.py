"""What holds the token vectors of all items of a space: as floats, or quantised.

==========  ===================================================  =============
kind        stored                                               bytes a token
==========  ===================================================  =============
int8        ``codes`` int8, one step (``scale``) a dimension     d
int16       the same, sixteen times finer                        2·d
float16     the vectors                                          2·d
compact     codes, of vectors of length 1: ``maxsim.compact``    about d/2
==========  ===================================================  =============

A quantised index *is* the vectors that it decodes to: the float64 reference scores those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tesserank.maxsim.compact import CompactVectors
from tesserank.maxsim.ragged import Ragged, spans

if TYPE_CHECKING:
    from typing_extensions import Self

_ROWS_AT_ONCE = 1 << 14
Rows = NDArray[np.int64] | slice  # [n], or consecutive ones from slice.start to slice.stop


class ItemVectors(Protocol):
    """T token vectors of d dimensions, of N items; item i has those from ``offsets[i]`` to ``offsets[i + 1]``."""

    @property
    def kind(self) -> str:
        """Key of ``CLASSES``."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """int64 [N + 1], from 0 to T, never decreasing."""

    @property
    def dim(self) -> int: ...

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Vectors of each item, int64 [N]."""

    @property
    def nbytes(self) -> int:
        """Bytes of what is stored, offsets included."""

    def __len__(self) -> int:
        """Items."""

    def item(self, row: int) -> NDArray[np.float32]:
        """One item's vectors, float32 [M, d]."""

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """The token vectors at ``places`` [q] -> [q, d]."""

    def decode(self, rows: Rows | None = None) -> Ragged:
        """The vectors of the items of ``rows`` (None: of all) in that order, float32, copied if need be."""

    def take(self, rows: Rows) -> ItemVectors:
        """The items of ``rows``, in that order; see ``Ragged.take``."""

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What is stored beside ``offsets``, by name; the constructor's arguments."""


@dataclass(frozen=True)
class FloatVectors(Ragged):
    """``vectors`` [T, d], float16 (as stored) or float32 (for scoring: numpy converts float16 slowly)."""

    kind = "float16"

    @staticmethod
    def quantise(vectors: Ragged) -> FloatVectors:
        """``vectors`` [T, d] of any float type, rounded to float16."""
        return FloatVectors(vectors.vectors.astype(np.float16), vectors.offsets)

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes + self.offsets.nbytes

    def item(self, row: int) -> NDArray[np.float32]:
        return super().item(row).astype(np.float32, copy=False)

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.vectors[places].astype(np.float32, copy=False)

    def decode(self, rows: Rows | None = None) -> Ragged:
        taken = self if rows is None else super().take(rows)
        return Ragged(taken.vectors.astype(np.float32, copy=False), taken.offsets)

    def take(self, rows: Rows) -> FloatVectors:
        taken = super().take(rows)
        return FloatVectors(taken.vectors, taken.offsets)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {"vectors": self.vectors}

    def in_float32(self) -> FloatVectors:
        """The same values in memory as float32."""
        return FloatVectors(self.vectors.astype(np.float32, copy=False), self.offsets)


@dataclass(frozen=True)
class SteppedVectors:
    """A vector is ``codes * scale``: ``codes`` [T, d] whole numbers within ±peak, ``scale`` float32 [d] above 0."""

    codes: NDArray[Any]
    scale: NDArray[np.float32]
    offsets: NDArray[np.int64]

    kind: ClassVar[str]
    peak: ClassVar[int]  # the range is symmetric: the lowest number that the type holds is not used
    code_type: ClassVar[type[np.signedinteger[Any]]]

    def __post_init__(self) -> None:
        Ragged(self.codes, self.offsets)  # raises ValueError if they do not fit
        if self.codes.dtype != self.code_type or self.scale.shape != self.codes.shape[1:]:
            raise ValueError(
                f"codes {self.codes.dtype} {self.codes.shape} and scales {self.scale.shape}: "
                f"{self.code_type.__name__} [T, d] and [d] are needed"
            )

    @classmethod
    def quantise(cls, vectors: Ragged) -> Self:
        """``vectors`` [T, d] of any float type; a component is rounded to a step of its dimension.

        2·peak + 1 steps lie between ± the largest component of the dimension. A step a dimension costs nothing (it is
        folded into the query) and follows the dimensions' spreads, which after a projection differ ten times over. A
        dimension whose step float32 could hold only as a subnormal number, or not at all, is nought: a factorisation of
        fewer ranks than dimensions leaves such.
        """
        step = np.abs(vectors.vectors).max(axis=0, initial=0).astype(np.float32) / np.float32(cls.peak)
        scale = np.where(step >= np.finfo(np.float32).tiny, step, np.float32(1))
        codes = np.rint(vectors.vectors.astype(np.float32) / scale).astype(cls.code_type)
        return cls(codes, scale, vectors.offsets)

    @property
    def dim(self) -> int:
        return int(self.codes.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scale.nbytes + self.offsets.nbytes

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def longest(self) -> float:
        """Length of the longest vector of codes: the root of a sum of squares; 0 without any."""
        largest = 0
        for first in range(0, len(self.codes), _ROWS_AT_ONCE):
            rows = self.codes[first : first + _ROWS_AT_ONCE].astype(np.int32)
            largest = max(largest, int(np.einsum("td,td->t", rows, rows).max()))
        return float(np.sqrt(largest))

    def item(self, row: int) -> NDArray[np.float32]:
        codes = self.codes[self.offsets[row] : self.offsets[row + 1]]
        return np.multiply(codes, self.scale, dtype=np.float32)

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.multiply(self.codes[places], self.scale, dtype=np.float32)

    def decode(self, rows: Rows | None = None) -> Ragged:
        taken = self if rows is None else self.take(rows)
        return Ragged(np.multiply(taken.codes, self.scale, dtype=np.float32), taken.offsets)

    def take(self, rows: Rows) -> Self:
        if isinstance(rows, slice):
            offsets = self.offsets[rows.start : rows.stop + 1]
            return replace(self, codes=self.codes[offsets[0] : offsets[-1]], offsets=offsets - offsets[0])
        # Not by way of a Ragged of all items, which would look through their offsets: this is done in every request.
        places, offsets = spans(self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows])
        return replace(self, codes=self.codes[places], offsets=offsets)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {"codes": self.codes, "scale": self.scale}


class Int8Vectors(SteppedVectors):
    """255 steps: for spaces of many vectors an item."""

    kind = "int8"
    peak = 127
    code_type = np.int8


class Int16Vectors(SteppedVectors):
    """4,095 steps: for spaces of one vector an item, whose scores lie closer and whose vectors take little room.

    More would leave a query fewer, as sums of products must fit 32 bits.
    """

    kind = "int16"
    peak = 2047
    code_type = np.int16


# kind -> how float vectors become it, with nothing known of them
KINDS: Mapping[str, Callable[[Ragged], ItemVectors]] = {
    "int8": Int8Vectors.quantise,
    "int16": Int16Vectors.quantise,
    "float16": FloatVectors.quantise,
}
# kind -> the class that the stored arrays are given to; compact vectors are fitted by the export
CLASSES: Mapping[str, Callable[..., ItemVectors]] = {
    "int8": Int8Vectors,
    "int16": Int16Vectors,
    "float16": FloatVectors,
    "compact": CompactVectors,
}
DEFAULT_KIND = "int8"


def quantise(kind: str, vectors: Ragged) -> ItemVectors:
    """Item vectors of a kind from float vectors [T, d]."""
    return KINDS[kind](vectors)


def from_arrays(kind: str, arrays: Mapping[str, NDArray[Any]], offsets: NDArray[np.int64]) -> ItemVectors:
    """What ``arrays`` came from. Raises ValueError or TypeError if they do not fit together."""
    return CLASSES[kind](**arrays, offsets=offsets)
