"""What stands in for the item vectors of every space while the catalogue is looked through."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tesserank.index import ItemIndex, Space
from tesserank.search.centroids import CentroidVectors
from tesserank.search.pieces import PieceVectors

StandIn = CentroidVectors | PieceVectors
StandIns = Mapping[str, StandIn]  # by space


def has_one_vector_an_item(space: Space) -> bool:
    """Whether a maximum over an item's vectors is none: pieces stand in for those, centroids for others."""
    return int(space.items.offsets[-1]) == len(space.items)


def load_stand_ins(directory: Path, index: ItemIndex) -> dict[str, StandIn]:
    """Those of every space of the index in ``directory``. Raises ArtifactError if one is missing or corrupt."""
    return {
        name: PieceVectors.load(directory / name, len(space.items), space.dim)
        if has_one_vector_an_item(space)
        else CentroidVectors.load(directory / name, space.items.offsets)
        for name, space in index.spaces.items()
    }
