"""What is evaluated: anything that scores the catalogue for users of whom a history is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tesserank.index import ItemIndex
from tesserank_evaluation.split import History
from tesserank_export.events import Events

Scores = NDArray[np.float32]  # [B, items], finite


class Recommender(Protocol):
    """Scores items for users. ``settings``: what it was fitted with, for the report."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def scores(self, histories: Sequence[History]) -> Scores:
        """A score of every item for each of B users; equal scores are ties. Items of a history may have any score."""
        ...


@dataclass(frozen=True)
class Training:
    """What baselines are fitted on: the log without the held-out items, the catalogue's texts, an artefact's index.

    ``protocol``: by which those are held out, and by which settings are to be chosen.
    """

    events: Events
    texts: Sequence[str]
    index: ItemIndex
    seed: int
    protocol: str

    @property
    def n_items(self) -> int:
        return len(self.texts)


Fit = Callable[[Training], Recommender]
