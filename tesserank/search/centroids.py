"""A space's token vectors, each by the nearest of a few thousand centroids: what the pruned search looks at first.

As in PLAID (Santhanam et al., 2022, arXiv:2205.09707, section 4.2, "centroid interaction"): a query token's similarity
to an item token is that to its centroid, which is looked up instead of computed.
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

MAX_CENTROIDS = 1 << 16  # codes are uint16
FOLDER = "search"  # in a space's directory


@dataclass(frozen=True)
class CentroidVectors:
    """Item vectors (see ``maxsim.vectors``) that are centroids: those nearest to the vectors that they stand in for.

    ``centroids`` float32 [C, d], which float16 holds as they are; ``codes`` uint16 [T], the centroid of each token;
    ``offsets`` int64 [N + 1].
    """

    centroids: NDArray[np.float32]
    codes: NDArray[np.uint16]
    offsets: NDArray[np.int64]

    kind = "centroids"

    def __post_init__(self) -> None:
        Ragged(self.codes, self.offsets)  # raises ValueError if they do not fit
        if len(self.codes) and int(self.codes.max()) >= len(self.centroids):
            raise ValueError(f"code {self.codes.max()} of a token, but there are {len(self.centroids)} centroids")

    @property
    def dim(self) -> int:
        return int(self.centroids.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        return self.centroids.nbytes + self.codes.nbytes + self.offsets.nbytes

    def __str__(self) -> str:
        return f"{len(self.centroids):,} centroids"

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def item(self, row: int) -> NDArray[np.float32]:
        return self.at(np.arange(self.offsets[row], self.offsets[row + 1]))

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self.centroids[self.codes[places]]
        return vectors

    def decode(self, rows: Rows | None = None) -> Ragged:
        taken = self if rows is None else self.take(rows)
        return Ragged(self.centroids[taken.codes], taken.offsets)

    def take(self, rows: Rows) -> CentroidVectors:
        taken = Ragged(self.codes, self.offsets).take(rows)
        return CentroidVectors(self.centroids, taken.vectors, taken.offsets)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {"centroids": self.centroids.astype(np.float16), "codes": self.codes}

    def save(self, space: Path) -> None:
        """Write into the directory of a space, beside the vectors that they stand in for."""
        folder = space / FOLDER
        folder.mkdir(parents=True)
        for name, array in self.arrays().items():
            np.save(folder / f"{name}.npy", array)

    @staticmethod
    def load(space: Path, offsets: NDArray[np.int64]) -> CentroidVectors:
        """Read what ``save`` wrote, the codes memory-mapped.

        Raises ArtifactError if it is missing, corrupt or of other items than ``offsets`` int64 [N + 1] are.
        """
        folder = space / FOLDER
        try:
            centroids = np.load(folder / "centroids.npy", allow_pickle=False).astype(np.float32)
            codes = np.asarray(np.load(folder / "codes.npy", mmap_mode="r", allow_pickle=False))
            return CentroidVectors(centroids, codes, offsets)
        except (OSError, EOFError, ValueError) as error:
            raise ArtifactError(f"{folder} cannot be read ({error}): rebuild it with make export") from error
