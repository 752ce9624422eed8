"""The vectors of a space of one vector an item, each cut into pieces and each piece one of 256: a row of lookups.

Product quantisation (Jégou, Douze and Schmid, 2011, doi:10.1109/TPAMI.2010.57): an inner product is the sum of those of
the pieces, which a query has 256 times as many of as a vector has pieces, however many items there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tesserank.errors import ArtifactError
from tesserank.maxsim.ragged import Ragged
from tesserank.maxsim.vectors import Rows
from tesserank.search.centroids import FOLDER

CODES = 256  # pieces to choose from: codes are uint8
MAX_PIECES = 256  # of a vector, so that a sum of levels stays below 2 ** 16
LEAST_WIDTH = 4  # dimensions of a piece: half a byte a dimension leaves a cosine of 0.92


def piece_width(dim: int) -> int:
    """Dimensions of a piece of vectors of ``dim`` dimensions; of the last, what is beyond them is 0."""
    return max(LEAST_WIDTH, -(-dim // MAX_PIECES))


@dataclass(frozen=True)
class PieceVectors:
    """Item vectors (see ``maxsim.vectors``), one an item, put together from pieces.

    ``books`` float32 [P, CODES, w], which float16 holds as they are; ``codes`` uint8 [N, P], a piece of each book.
    """

    books: NDArray[np.float32]
    codes: NDArray[np.uint8]
    dim: int  # at most P·w

    kind = "pieces"

    def __post_init__(self) -> None:
        pieces, codes, width = self.books.shape
        if (self.codes.shape[1], codes) != (pieces, CODES) or not 0 <= pieces * width - self.dim < width:
            raise ValueError(
                f"codes {self.codes.shape} and books {self.books.shape} do not make vectors of {self.dim} dimensions"
            )

    @property
    def offsets(self) -> NDArray[np.int64]:
        return np.arange(len(self) + 1)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.ones(len(self), dtype=np.int64)

    @property
    def nbytes(self) -> int:
        return self.books.nbytes + self.codes.nbytes

    def __str__(self) -> str:
        return f"{len(self.books)} pieces of {CODES}"

    def __len__(self) -> int:
        return len(self.codes)

    def item(self, row: int) -> NDArray[np.float32]:
        return self._joined(self.codes[row : row + 1])

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._joined(self.codes[places])

    def decode(self, rows: Rows | None = None) -> Ragged:
        codes = self.codes if rows is None else self.codes[rows]
        return Ragged(self._joined(codes), np.arange(len(codes) + 1))

    def take(self, rows: Rows) -> PieceVectors:
        return PieceVectors(self.books, self.codes[rows], self.dim)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {"books": self.books.astype(np.float16), "codes": self.codes}

    def save(self, space: Path) -> None:
        """Write into the directory of a space, beside the vectors that they stand in for."""
        folder = space / FOLDER
        folder.mkdir(parents=True)
        for name, array in self.arrays().items():
            np.save(folder / f"{name}.npy", array)

    @staticmethod
    def load(space: Path, items: int, dim: int) -> PieceVectors:
        """Read what ``save`` wrote, the codes memory-mapped.

        Raises ArtifactError if it is missing, corrupt or not of so many items and dimensions.
        """
        folder = space / FOLDER
        try:
            books = np.load(folder / "books.npy", allow_pickle=False).astype(np.float32)
            codes = np.asarray(np.load(folder / "codes.npy", mmap_mode="r", allow_pickle=False))
            if len(codes) != items:
                raise ValueError(f"codes of {len(codes):,} items, the space has {items:,}")
            return PieceVectors(books, codes, dim)
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise ArtifactError(f"{folder} cannot be read ({error}): rebuild it with make export") from error

    def _joined(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        pieces = self.books[np.arange(len(self.books)), codes]
        return np.asarray(pieces.reshape(len(codes), -1)[:, : self.dim])
